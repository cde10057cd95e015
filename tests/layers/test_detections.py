from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.detections import Detections

SIZES = np.float32([[100, 80]])
PROPOSALS = np.float32([[(10, 10, 30, 30), (11, 10, 31, 30), (50, 50, 90, 90), (0, 0, 0, 0)]])


def scores_of(*probabilities):
    """Numbers whose softmax is given; the last of each row is the background."""
    return np.log(np.float32([probabilities]))


def test_hand_computed_case():
    scores = scores_of((0.6, 0.1, 0.3), (0.5, 0.4, 0.1), (0.02, 0.9, 0.08), (0.9, 0.05, 0.05))
    deltas = np.zeros((1, 4, 12), "float32")
    deltas[0, 2, 4:8] = [-1, 0, 0, 0]  # of class 1: to the left by a tenth of its width
    deltas[0, :, 8:] = 100  # the background's are not used
    found = Detections(max_detections=5)(scores, deltas, PROPOSALS, np.int32([3]), SIZES)
    # of class 0 the second overlaps the first; of class 1 the first is its double; 0.02 is too little; the fourth pads
    assert found["num_detections"].numpy().tolist() == [3]
    np.testing.assert_array_equal(found["detection_classes"], [[1, 0, 1, 0, 0]])
    np.testing.assert_allclose(found["detection_scores"], [[0.9, 0.6, 0.4, 0, 0]], rtol=1e-5)
    boxes = [(46, 50, 80, 90), (10, 10, 30, 30), (11, 10, 31, 30), (0, 0, 0, 0), (0, 0, 0, 0)]  # 86 is cut at 80
    np.testing.assert_allclose(found["detection_boxes"], [boxes], rtol=1e-5)


def test_nothing_found_and_a_batch_in_a_graph():
    layer = Detections(score_threshold=0.3, max_detections=3)
    signature = [tf.TensorSpec((None, None, size)) for size in (3, 12, 4)]
    signature += [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 2))]
    function = tf.function(layer, input_signature=signature)
    scores = np.concatenate([scores_of(*[(0.1, 0.1, 0.8)] * 4), scores_of(*[(0.7, 0.2, 0.1)] * 4)])
    deltas, proposals = np.zeros((2, 4, 12), "float32"), np.repeat(PROPOSALS, 2, axis=0)
    found = function(scores, deltas, proposals, np.int32([4, 4]), np.repeat(SIZES, 2, axis=0))
    assert found["num_detections"].numpy().tolist() == [0, 2]  # the box without area goes, too
    assert not found["detection_boxes"][0].numpy().any()
    assert found["detection_boxes"].shape == (2, 3, 4)


def test_the_most_are_kept():
    layer = Detections(iou_threshold=1.0, max_detections=2)
    found = layer(scores_of(*[(0.4, 0.5, 0.1)] * 4), np.zeros((1, 4, 12), "float32"), PROPOSALS, np.int32([4]), SIZES)
    assert found["num_detections"].numpy().tolist() == [2]
    np.testing.assert_array_equal(found["detection_classes"], [[1, 1]])


def test_config_and_wrong_arguments():
    layer = Detections(0.1, 0.4, 7, (1.0, 1.0, 2.0, 2.0))
    assert Detections.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(
        ValueError, match="thresholds must be 0 to 1, max_detections at least 1 and weights four numbers"
    ):
        Detections(score_threshold=1.5)

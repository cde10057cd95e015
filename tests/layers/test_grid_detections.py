from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.grid_detections import GridDetections, grid_boxes, split_answers

SIZES = np.float32([[40, 80]])  # two rows of 20 pixels, two columns of 40


def grid(*cells):
    """Answers [1, 2, 2, 12] of 2 boxes and 2 classes: row, column -> numbers."""
    answers = np.zeros((1, 2, 2, 12), "float32")
    for row, column, numbers in cells:
        answers[0, row, column] = numbers
    return answers


# Around (20, 10), 20 wide and 10 high: the roots of a quarter; and the same, 40 wide and high.
SMALL = (0.5, 0.5, 0.5, 0.5)
LARGE = (0.5, 0.5, np.sqrt(0.5), 1.0)


def test_numbers_of_a_cell():
    places, confidence, classes = split_answers(np.arange(24, dtype="float32").reshape(2, 1, 12), 2)
    np.testing.assert_array_equal(places[1, 0], [(12, 13, 14, 15), (17, 18, 19, 20)])
    np.testing.assert_array_equal(confidence[1, 0], [16, 21])
    np.testing.assert_array_equal(classes[1, 0], [22, 23])


def test_boxes_by_hand():
    places = np.zeros((2, 2, 1, 4), "float32")
    places[:, :, 0] = (0.5, 0.25, 0.5, -1.0)  # a root below 0 is as good as its opposite
    found = grid_boxes(places)[:, :, 0]
    np.testing.assert_allclose(found[0, 0], (0.125, -0.375, 0.375, 0.625))
    np.testing.assert_allclose(found[0, 1] - found[0, 0], (0.5, 0, 0.5, 0))  # columns go to the right
    np.testing.assert_allclose(found[1, 0] - found[0, 0], (0, 0.5, 0, 0.5))


def test_hand_computed_case():
    answers = grid(
        (0, 0, [*SMALL, 0.9, *LARGE, 0.6, 0.5, 1.2]),  # 1.2 counts as 1
        (0, 1, [*SMALL, -3, *SMALL, 1.0, 0.3, 0.2]),
    )
    layer = GridDetections(score_threshold=0.25, max_detections=6)
    found = layer(answers, SIZES)
    small, large, other = (10, 5, 30, 15), (0, 0, 40, 30), (50, 5, 70, 15)  # large is cut at 0
    # of class 1: 0.9 and 0.6; of class 0: 0.45, 0.3 (both of the first cell) and 0.3; small and large overlap by 1/6
    assert found["num_detections"].numpy().tolist() == [5]
    np.testing.assert_allclose(found["detection_scores"], [[0.9, 0.6, 0.45, 0.3, 0.3, 0]], rtol=1e-5)
    np.testing.assert_array_equal(found["detection_classes"], [[1, 1, 0, 0, 0, 0]])
    np.testing.assert_allclose(
        found["detection_boxes"], [[small, large, small, large, other, (0, 0, 0, 0)]], rtol=1e-5, atol=1e-5
    )
    # with less room between boxes, large goes in both classes
    found = GridDetections(score_threshold=0.25, iou_threshold=0.1, max_detections=6)(answers, SIZES)
    np.testing.assert_allclose(found["detection_scores"], [[0.9, 0.45, 0.3, 0, 0, 0]], rtol=1e-5)


def test_nothing_found_and_a_batch_in_a_graph():
    layer = GridDetections(score_threshold=0.25, max_detections=3)
    function = tf.function(layer, input_signature=[tf.TensorSpec((None, 2, 2, 12)), tf.TensorSpec((None, 2))])
    point = grid((1, 1, [0.5, 0.5, 0, 1, 1.0, *SMALL, 0, 1, 1]))  # without width
    one = grid((1, 1, [*SMALL, 1.0, *SMALL, 0, 1, 0]))
    found = function(np.concatenate([point, one]), np.repeat(SIZES, 2, axis=0))
    assert found["num_detections"].numpy().tolist() == [0, 1]
    assert not found["detection_boxes"][0].numpy().any()
    np.testing.assert_allclose(found["detection_boxes"][1, 0], (50, 25, 70, 35))
    assert found["detection_boxes"].shape == (2, 3, 4)


def test_config_and_wrong_arguments():
    layer = GridDetections(3, 0.1, 0.4, 7)
    assert GridDetections.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="boxes and max_detections must be at least 1 and thresholds 0 to 1"):
        GridDetections(boxes=0)
    with pytest.raises(ValueError, match=r"expected answers \[N, S, S, 10 \+ classes\]"):
        GridDetections()(keras.Input((7, 7, 10)), keras.Input((2,)))

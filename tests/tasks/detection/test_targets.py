from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from kapps.tasks.detection.targets import anchor_targets, proposal_targets

CANDIDATES = np.float32([(0, 0, 10, 10), (0, 0, 10, 5), (20, 20, 30, 30), (0, 0, 10, 8)])
BOXES = np.float32([[(0, 0, 10, 10), (0, 0, 0, 0)], [(0, 0, 0, 0), (0, 0, 0, 0)]])
VALID = np.array([[True, False], [False, False]])


def test_anchors_by_hand():
    labels, deltas = anchor_targets(CANDIDATES, BOXES, VALID)
    # overlaps with the only box: 1, 0.5, 0 and 0.8; the second image has no box
    np.testing.assert_array_equal(labels, [[1, -1, 0, 1], [0, 0, 0, 0]])
    expected = np.zeros((2, 4, 4))
    expected[0, 3] = (0, 1 / 8, 0, math.log(10 / 8))
    np.testing.assert_allclose(deltas, expected, atol=1e-6)
    labels, deltas = anchor_targets(CANDIDATES, BOXES[:, :0], VALID[:, :0])
    assert not labels.numpy().any()
    assert not deltas.numpy().any()


def proposals(boxes, valid, classes, count=4, counts=(3, 3)):
    candidates = np.float32([[*CANDIDATES[:3], (0, 0, 0, 0)]] * 2)
    function = tf.function(
        lambda *tensors: proposal_targets(
            *tensors, num_classes=5, seed=(0, 1), count=count, positive_fraction=0.5, weights=(1.0,) * 4
        ),
        input_signature=[
            tf.TensorSpec((None, None, 4)),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((None, None, 4)),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, None), tf.bool),
        ],
    )
    return [each.numpy() for each in function(candidates, np.int32(counts), boxes, classes, valid)]


def test_proposals_by_hand():
    chosen, labels, deltas = proposals(BOXES, VALID, np.int32([[2, 0], [0, 0]]))
    # three overlap the box by at least a half, the box itself being one; half of four are taken. One is background.
    assert labels.tolist() == [[2, 2, 5, -1], [5, 5, 5, -1]]
    np.testing.assert_array_equal(chosen[0, 2:], [CANDIDATES[2], np.zeros(4)])
    for place in range(2):
        height = chosen[0, place, 3]
        assert height in (5, 10)
        np.testing.assert_allclose(
            deltas[0, place], (0, (5 - height / 2) / height, 0, math.log(10 / height)), atol=1e-6
        )
    assert not deltas[0, 2:].any()
    assert not deltas[1].any()


def test_images_with_neither_boxes_nor_proposals():
    chosen, labels, deltas = proposals(BOXES[:, :0], VALID[:, :0], np.zeros((2, 0), "int32"), counts=(0, 1))
    assert labels.tolist() == [[-1] * 4, [5, -1, -1, -1]]
    assert not chosen[0].any()
    assert not deltas.any()

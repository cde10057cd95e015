from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from kapps.tasks.detection.losses import anchor_losses, region_losses, smooth_l1


def test_smooth_l1_by_hand():
    # below 1/9 a parabola: 0.05^2 * 9 / 2; from there on a line: 1 - 1/18
    found = smooth_l1(np.float32([[0.05, 0, 0, 0], [-1, 0, 0, 0], [1 / 9, 0, 0, 1]]))
    np.testing.assert_allclose(found, [0.01125, 17 / 18, 1 / 18 + 17 / 18], rtol=1e-5)


def test_anchor_losses_by_hand():
    scores = np.float32([[0, 2, -1]])
    targets = np.float32([[(0.05, 0, 0, 1), (9, 9, 9, 9), (9, 9, 9, 9)]])
    numbers, taken = np.int32([[0, 2, 0]]), np.array([[True, True, False]])
    objectness, boxes = anchor_losses(
        scores, np.zeros((1, 3, 4), "float32"), np.int32([[1, 0, 0]]), targets, numbers, taken
    )
    assert float(objectness) == pytest.approx((math.log(2) + math.log(1 + math.exp(-1))) / 2, rel=1e-5)
    assert float(boxes) == pytest.approx((0.01125 + 17 / 18) / 2, rel=1e-5)


def test_region_losses_by_hand():
    scores = np.float32([[(0, 0, 0), (2, 0, 0), (5, 5, 5)]])
    deltas = np.zeros((1, 3, 12), "float32")
    deltas[0, 0] = [7] * 4 + [1, 0, 0, 0] + [7] * 4  # an object of class 1: only its own four numbers count
    deltas[0, 1:] = 7  # background, and an empty place
    classes, boxes = region_losses(scores, deltas, np.int32([[1, 2, -1]]), np.zeros((1, 3, 4), "float32"))
    assert float(classes) == pytest.approx((math.log(3) + math.log(math.exp(2) + 2)) / 2, rel=1e-5)
    assert float(boxes) == pytest.approx(17 / 18 / 2, rel=1e-5)


def test_nothing_drawn_is_no_loss_and_no_nan():
    scores, deltas = tf.Variable(tf.zeros((1, 3))), tf.Variable(tf.ones((1, 3, 4)))
    with tf.GradientTape() as tape:
        losses = anchor_losses(
            scores, deltas, np.int32([[0, 0, 0]]), np.zeros((1, 3, 4), "float32"), np.int32([[0]]), np.array([[False]])
        )
        total = tf.add_n(losses)
    assert float(total) == 0
    assert not any(tf.convert_to_tensor(gradient).numpy().any() for gradient in tape.gradient(total, [scores, deltas]))
    empty = region_losses(
        np.zeros((1, 2, 3), "float32"),
        np.zeros((1, 2, 12), "float32"),
        -np.ones((1, 2), "int32"),
        np.zeros((1, 2, 4), "float32"),
    )
    assert [float(loss) for loss in empty] == [0, 0]

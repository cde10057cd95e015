from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from kapps.boxes.coder import decode, encode


def test_hand_computed_case():
    anchor = np.float32([(0, 0, 10, 20)])  # centre (5, 10)
    box = np.float32([(5, 5, 25, 15)])  # centre (15, 10), 20 wide and 10 high
    expected = [(1.0, 0.0, math.log(2), math.log(0.5))]
    np.testing.assert_allclose(encode(box, anchor), expected, rtol=1e-6)
    np.testing.assert_allclose(encode(box, anchor, (10, 10, 5, 5)), np.multiply(expected, (10, 10, 5, 5)), rtol=1e-6)
    np.testing.assert_allclose(decode(np.float32(expected), anchor), box, rtol=1e-6)


def test_decoding_undoes_encoding():
    random = np.random.default_rng(0)
    corner, size = random.uniform(-20, 300, (2, 4, 50, 2)), random.uniform(5, 200, (2, 4, 50, 2))
    boxes, anchors = np.concatenate([corner, corner + size], axis=-1).astype("float32")
    weights = (10.0, 10.0, 5.0, 5.0)
    both = tf.function(lambda a, b: decode(encode(a, b, weights), b, weights))
    np.testing.assert_allclose(both(boxes, anchors), boxes, atol=1e-3)


def test_a_box_of_each_class_from_one_anchor():
    deltas = np.random.default_rng(1).normal(size=(5, 3, 4)).astype("float32")
    anchors = np.float32([(0, 0, 8, 6)] * 5)
    found = decode(deltas, anchors[:, None])
    for number in range(3):
        np.testing.assert_allclose(found[:, number], decode(deltas[:, number], anchors), rtol=1e-6)


def test_growth_has_a_limit():
    box = decode(np.float32([(0, 0, 50, 1000)]), np.float32([(0, 0, 16, 16)])).numpy()[0]
    np.testing.assert_allclose(box, (8 - 500, 8 - 500, 8 + 500, 8 + 500), rtol=1e-5)


def test_boxes_without_area_stay_finite():
    box, point = np.float32([(0, 0, 4, 4)]), np.float32([(2, 2, 2, 2)])
    for pair in ((point, box), (box, point), (point, point)):
        assert np.isfinite(encode(*pair)).all()
    assert encode(box[:0], box[:0]).shape == decode(box[:0], box[:0]).shape == (0, 4)

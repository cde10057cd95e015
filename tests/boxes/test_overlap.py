from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.boxes.overlap import giou, iou


def oracle(first, second):
    """IoU and generalised IoU of one pair, number by number."""
    x = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    y = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = sum(sizes) - x * y
    hull = (max(first[2], second[2]) - min(first[0], second[0])) * (max(first[3], second[3]) - min(first[1], second[1]))
    return x * y / union, x * y / union - (hull - union) / hull


def test_hand_computed_cases():
    a = np.float32([(0, 0, 4, 4)])
    b = np.float32([(0, 0, 4, 4), (2, 0, 6, 4), (4, 0, 8, 4), (6, 0, 10, 4), (1, 1, 3, 3)])
    # the second shares 8 of 24; the third touches; between the fourth and a is a gap of 8 in a hull of 40
    np.testing.assert_allclose(iou(a, b), [[1, 8 / 24, 0, 0, 4 / 16]], rtol=1e-6)
    np.testing.assert_allclose(giou(a, b), [[1, 8 / 24, 0, -8 / 40, 4 / 16]], rtol=1e-6)


def test_against_an_oracle_in_a_batch():
    random = np.random.default_rng(0)
    corner, size = random.uniform(0, 50, (2, 3, 12, 2)), random.uniform(1, 40, (2, 3, 12, 2))
    first, second = np.concatenate([corner, corner + size], axis=-1).astype("float32")
    for place, function in enumerate((iou, giou)):
        found = tf.function(function)(first, second[:, :7])
        assert found.shape == (3, 12, 7)
        for b, n, m in np.ndindex(3, 12, 7):
            expected = oracle(first[b, n].astype("float64"), second[b, m].astype("float64"))[place]
            assert float(found[b, n, m]) == pytest.approx(expected, abs=1e-5)


def test_boxes_without_area_and_no_boxes():
    point, box = np.float32([(3, 3, 3, 3)]), np.float32([(0, 0, 4, 4)])
    assert float(iou(point, point)[0, 0]) == float(iou(point, box)[0, 0]) == 0
    assert float(giou(point, point)[0, 0]) == 0
    inverted = np.float32([(4, 4, 0, 0)])
    assert float(iou(inverted, box)[0, 0]) == 0
    nothing = np.zeros((0, 4), "float32")
    assert iou(nothing, box).shape == (0, 1)
    assert giou(box, nothing).shape == (1, 0)

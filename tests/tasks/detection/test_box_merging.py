from __future__ import annotations

import numpy as np
import pytest

from kapps.tasks.detection.box_merging import match_score, merge_boxes

BOX = (10, 10, 30, 30)


def test_match_scores_by_hand():
    others = [
        BOX,
        (14, 10, 34, 30),  # a fifth to the right: 4 / 20 and 1 - 16 * 20 / 400
        (13, 14, 33, 34),  # 5 pixels away, 17 * 16 shared
        (30, 10, 50, 30),  # side by side
        (10, 10, 50, 30),  # twice as wide: the mean area is 600, the centres are 10 apart
    ]
    expected = [0, 0.2 + 0.2, 0.25 + 1 - 17 * 16 / 400, 1 + 1, 10 / np.sqrt(600) + 1 - 400 / 600]
    found = match_score([BOX], others)
    assert found.shape == (1, 5)
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    np.testing.assert_allclose(match_score(others, [BOX])[:, 0], expected, atol=1e-9)
    # objects of all sizes are treated alike
    np.testing.assert_allclose(match_score([np.multiply(BOX, 7)], np.multiply(others, 7)), found, atol=1e-9)


def test_merging_by_hand():
    boxes = [(10, 10, 30, 30), (100, 0, 120, 20), (12, 10, 32, 30), (17, 10, 37, 30)]
    scores = [0.5, 0.9, 0.25, 0.125]
    # 0 and 2 match by 0.2; their mean (11 .. 31) and 3 by 0.6; 1 stays alone
    merged, sums = merge_boxes(boxes, scores, 0.61)
    np.testing.assert_allclose(merged, [(100, 0, 120, 20), (13, 10, 33, 30)], rtol=1e-6)  # (10 + 12 + 17) / 3
    np.testing.assert_allclose(sums, [0.9, 0.875])
    assert merged.dtype == sums.dtype == np.float32
    # with a lower threshold 3 stays, too
    merged, sums = merge_boxes(boxes, scores, 0.5)
    np.testing.assert_allclose(merged, [(100, 0, 120, 20), (11, 10, 31, 30), (17, 10, 37, 30)])
    np.testing.assert_allclose(sums, [0.9, 0.75, 0.125])
    # and with a very high one all are one
    merged, sums = merge_boxes(boxes, scores, 1e9)
    np.testing.assert_allclose(merged, np.mean(boxes, axis=0, keepdims=True))
    np.testing.assert_allclose(sums, [1.775])


def test_the_best_match_is_merged_first():
    # 1 matches 2 better than 0: after that, 0 is too far from their mean
    boxes = [(0, 0, 20, 20), (5, 0, 25, 20), (8, 0, 28, 20)]
    merged, sums = merge_boxes(boxes, [1, 1, 1], 0.5)
    np.testing.assert_allclose(merged, [(6.5, 0, 26.5, 20), (0, 0, 20, 20)])
    np.testing.assert_allclose(sums, [2, 1])


def test_invariants():
    random = np.random.default_rng(0)
    corner, size = random.uniform(0, 60, (80, 2)), random.uniform(5, 30, (80, 2))
    boxes, scores = np.concatenate([corner, corner + size], axis=1), random.uniform(size=80)
    before = boxes.copy(), scores.copy()
    merged, sums = merge_boxes(boxes, scores, 0.7)
    assert 1 < len(merged) < 80
    assert sums.sum() == pytest.approx(scores.sum(), rel=1e-5)
    assert (np.diff(sums) <= 0).all()
    apart = match_score(merged, merged) + np.diag(np.full(len(merged), np.inf))
    assert apart.min() > 0.7 - 1e-4
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_merge(count):
    merged, sums = merge_boxes(np.float32([BOX] * count).reshape(-1, 4), np.float32([0.5] * count), 1.0)
    assert merged.shape == (count, 4)
    assert sums.tolist() == [0.5] * count


def test_boxes_without_area():
    point = (5, 5, 5, 5)
    merged, sums = merge_boxes([point, point, (0, 0, 9, 9)], [1, 1, 1], 1.0)
    # two points share no area, but are no distance apart: 1 is not above the threshold
    np.testing.assert_allclose(merged, [point, (0, 0, 9, 9)])
    np.testing.assert_allclose(sums, [2, 1])

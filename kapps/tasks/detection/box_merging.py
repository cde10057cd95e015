"""Greedy merging: many boxes that mean the same object become one that they all speak for.

Suppression takes the surest box and throws the others away. Here nothing is thrown away: boxes that match are averaged,
and what each of them was sure of adds up. A wrong answer is seldom repeated by the windows around it, so it stays
alone, and weak.

Paper: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun: "OverFeat: integrated recognition, localization and detection
using convolutional networks", ICLR 2014, section 4.3.
"""

from __future__ import annotations

import numpy as np

SMALLEST = 1e-9  # square pixels: two boxes without area are not divided by zero


def match_score(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How badly two boxes match: 0 for the same box, at least 1 for two that share nothing.

    The paper takes "the sum of the distance between centers of the two bounding boxes and the intersection area of the
    boxes" and merges the pair with the smallest. Read as a formula, boxes would match the better the less they share;
    so here what they do not share is added. Both parts are relative to the boxes' mean area A, so that they can be
    added and objects of all sizes are treated alike: distance / sqrt(A) + 1 - intersection / A.

    Args:
        first: [N, 4], `"xyxy"`.
        second: [M, 4].

    Returns:
        [N, M].
    """
    first, second = np.asarray(first)[:, None], np.asarray(second)[None]
    area = (_area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:])) / 2
    area = np.maximum(area, SMALLEST)
    shared = _area(np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:]))
    between = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    return np.hypot(between[..., 0], between[..., 1]) / np.sqrt(area) + 1 - shared / area


def merge_boxes(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Merge the two boxes that match best until none match well enough.

    Args:
        boxes: [N, 4], `"xyxy"`; N may be 0.
        scores: [N].
        threshold: of `match_score`; a pair that is above it is not merged.

    Returns:
        float32 [M, 4], each the mean of all boxes that were merged into it, and float32 [M], the sum of their scores;
        the largest sum first.
    """
    boxes, sums = np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64)
    counts, left = np.ones(len(boxes)), np.ones(len(boxes), bool)
    badness = match_score(boxes, boxes)
    np.fill_diagonal(badness, np.inf)
    for _ in range(len(boxes) - 1):
        stays, goes = np.unravel_index(np.argmin(badness), badness.shape)
        if badness[stays, goes] > threshold:
            break
        both = counts[stays] + counts[goes]
        boxes[stays] = (counts[stays] * boxes[stays] + counts[goes] * boxes[goes]) / both
        counts[stays] = both
        sums[stays] += sums[goes]
        left[goes] = False
        badness[goes] = badness[:, goes] = np.inf
        row = np.where(left, match_score(boxes[stays : stays + 1], boxes)[0], np.inf)
        row[stays] = np.inf
        badness[stays] = badness[:, stays] = row
    order = np.argsort(-sums[left], kind="stable")
    return boxes[left][order].astype(np.float32), sums[left][order].astype(np.float32)


def _area(top_left: np.ndarray, bottom_right: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(bottom_right - top_left, 0), axis=-1)

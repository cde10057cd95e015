"""`kapps.tasks.detection.box_merging` in operations of TensorFlow, for a detector that is exported with its merging."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kapps.tasks.detection.box_merging import SMALLEST


def match_score(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """As `box_merging.match_score`: [N, M] of boxes [N, 4] and [M, 4], `"xyxy"`."""
    first, second = first[:, None], second[None]
    mean = tf.maximum((_area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:])) / 2, SMALLEST)
    shared = _area(tf.maximum(first[..., :2], second[..., :2]), tf.minimum(first[..., 2:], second[..., 2:]))
    between = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    return tf.norm(between, axis=-1) / tf.sqrt(mean) + 1 - shared / mean


def merge_boxes(boxes: tf.Tensor, scores: tf.Tensor, threshold: float) -> tuple[tf.Tensor, tf.Tensor]:
    """As `box_merging.merge_boxes`, but for the order of what is left, which is that of the given boxes.

    Args:
        boxes: [N, 4], `"xyxy"`; N may be 0.
        scores: [N].
        threshold: of `match_score`; a pair that is above it is not merged.

    Returns:
        float32 [M, 4], each the mean of all boxes that were merged into it, and float32 [M], the sum of their scores.
    """
    infinite = tf.constant(float("inf"), tf.float64)
    boxes, sums = tf.cast(boxes, tf.float64), tf.cast(scores, tf.float64)
    total = tf.shape(boxes, tf.int64)[0]
    itself = tf.range(total)[:, None] == tf.range(total)[None]
    badness = tf.where(itself, infinite, match_score(boxes, boxes))

    def go_on(boxes: Any, sums: Any, counts: Any, left: Any, badness: Any) -> tf.Tensor:
        return tf.reduce_min(badness) <= threshold

    def merge(boxes: Any, sums: Any, counts: Any, left: Any, badness: Any) -> tuple[tf.Tensor, ...]:
        best = tf.argmin(tf.reshape(badness, [-1]))
        stays, goes = best // total, best % total
        stays_here, goes_here = tf.range(total) == stays, tf.range(total) == goes
        both = counts[stays] + counts[goes]
        merged = (counts[stays] * boxes[stays] + counts[goes] * boxes[goes]) / both
        boxes = tf.where(stays_here[:, None], merged, boxes)
        counts = tf.where(stays_here, both, counts)
        sums = tf.where(stays_here, sums[stays] + sums[goes], sums)
        left &= ~goes_here
        row = tf.where(left & ~stays_here, match_score(merged[None], boxes)[0], infinite)
        badness = tf.where(goes_here[:, None] | goes_here[None], infinite, badness)
        badness = tf.where(stays_here[:, None], row[None], tf.where(stays_here[None], row[:, None], badness))
        return boxes, sums, counts, left, badness

    counts = tf.ones_like(sums)
    boxes, sums, _, left, _ = tf.while_loop(go_on, merge, (boxes, sums, counts, counts > 0, badness))
    return tf.cast(boxes[left], tf.float32), tf.cast(sums[left], tf.float32)


def _area(top_left: tf.Tensor, bottom_right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.maximum(bottom_right - top_left, 0), axis=-1)

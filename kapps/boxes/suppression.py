"""Non-maximum suppression: of boxes that overlap, the one with the highest score."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def suppress(
    boxes: Any,
    scores: Any,
    classes: Any = None,
    *,
    iou_threshold: float,
    max_outputs: Any,
    score_threshold: float = float("-inf"),
) -> tuple[tf.Tensor, tf.Tensor]:
    """Greedy: the best box stays, all that overlap it by more than the threshold go, and so on with the rest.

    Of equal scores the first comes first. By TensorFlow's kernel, which decides as torchvision's does: a box goes where
    its IoU is above the threshold. A box without area overlaps nothing.

    Args:
        boxes: float32 [N, 4], `"xyxy"`; N may be 0.
        scores: float32 [N]; a box with minus infinity never stays.
        classes: integers [N]: boxes of different classes leave each other alone, as they are moved apart first. None =
            all are of one class.
        iou_threshold: 0 to 1.
        max_outputs: the number of places in the answer: an integer or a scalar tensor.
        score_threshold: boxes must have more.

    Returns:
        int32 [max_outputs], the numbers of the boxes that stay, best first, then zeros; and a scalar, how many stay.
    """
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    scores = tf.convert_to_tensor(scores, tf.float32)
    if classes is not None:
        with_origin = tf.concat([boxes, tf.zeros((1, 4))], axis=0)  # so that there is a largest coordinate
        span = tf.reduce_max(with_origin) - tf.reduce_min(with_origin) + 1
        boxes += (tf.cast(classes, tf.float32) * span)[:, None]
    return tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,  # the kernel has y before x, which changes no overlap
        scores=scores,
        max_output_size=tf.cast(max_outputs, tf.int32),
        iou_threshold=float(iou_threshold),
        score_threshold=float(score_threshold),
        pad_to_max_output_size=True,
    )

"""What anchors and proposals should say, given the true boxes: the targets of Faster R-CNN's two heads.

True boxes come as a batch: `boxes` [B, M, 4], `"xyxy"` in pixels of the prepared image, `classes` int [B, M] from 0,
and `valid` bool [B, M], False where the batch is only padded. Images without boxes, also M = 0, are legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kapps.boxes.coder import encode
from kapps.boxes.matcher import BACKGROUND, match
from kapps.boxes.overlap import iou
from kapps.boxes.sampler import sample


def anchor_targets(
    anchors: Any, boxes: Any, valid: Any, *, high: float = 0.7, low: float = 0.3
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which anchors are objects, and how they should move.

    Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, section 3.1.2; see `kapps.boxes.matcher.match`.

    Args:
        anchors: [N, 4], `"xyxy"`.
        boxes: see the top of this file.
        valid: likewise.
        high: the least IoU of an object.
        low: the least IoU that is not background.

    Returns:
        int32 [B, N]: 1 = object, 0 = background, -1 = neither; and float32 [B, N, 4], deltas of the objects, zeros
        elsewhere.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    matches = match(iou(boxes, anchors), high, low, allow_low_quality_matches=True, valid=valid)
    labels = _labels(matches)
    return labels, _deltas(matches, boxes, anchors, (1.0, 1.0, 1.0, 1.0))


def proposal_targets(
    proposals: Any,
    counts: Any,
    boxes: Any,
    classes: Any,
    valid: Any,
    *,
    num_classes: int,
    seed: Any,
    count: int = 512,
    positive_fraction: float = 0.25,
    threshold: float = 0.5,
    weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A sample of each image's proposals, and what the box head should say about them.

    Girshick: "Fast R-CNN", ICCV 2015, section 2.3. The true boxes are among the proposals, so that there is something
    to learn before the proposals are good (as in Detectron and torchvision).

    Args:
        proposals: [B, N, 4], `"xyxy"`.
        counts: [B]: how many of the N are proposals.
        boxes: see the top of this file.
        classes: likewise.
        valid: likewise.
        num_classes: without the background, whose number this is.
        seed: two integers; the same seed draws the same sample.
        count: of the sample.
        positive_fraction: the largest share of objects in it.
        threshold: the least IoU of an object.
        weights: of the box coder.

    Returns:
        Boxes float32 [B, count, 4]; int32 [B, count], their classes, `num_classes` for background, -1 where the place
        is empty and the box zeros; and float32 [B, count, 4], deltas of the objects, zeros elsewhere.
    """
    boxes, valid = tf.convert_to_tensor(boxes, tf.float32), tf.convert_to_tensor(valid)
    real = tf.range(tf.shape(proposals)[1])[None] < tf.cast(counts, tf.int32)[:, None]
    proposals, real = tf.concat([proposals, boxes], axis=1), tf.concat([real, valid], axis=1)
    matches = match(iou(boxes, proposals), threshold, threshold, valid=valid)
    numbers, taken = sample(tf.where(real, _labels(matches), -1), count, positive_fraction, seed)

    # One more row, so that there is something to take where an image has nothing.
    proposals = tf.pad(proposals, [[0, 0], [0, 1], [0, 0]])
    matches = tf.pad(matches, [[0, 0], [0, 1]], constant_values=BACKGROUND)
    chosen = tf.where(taken[..., None], tf.gather(proposals, numbers, batch_dims=1), 0.0)
    matches = tf.gather(matches, numbers, batch_dims=1)
    classes = tf.pad(tf.cast(classes, tf.int32), [[0, 0], [0, 1]])
    labels = tf.where(matches >= 0, tf.gather(classes, tf.maximum(matches, 0), batch_dims=1), num_classes)
    matches = tf.where(taken, matches, BACKGROUND)
    return chosen, tf.where(taken, labels, -1), _deltas(matches, boxes, chosen, weights)


def _labels(matches: tf.Tensor) -> tf.Tensor:
    """1 for a match, 0 for background, -1 for the ignored."""
    return tf.where(matches >= 0, 1, tf.where(matches == BACKGROUND, 0, -1))


def _deltas(matches: tf.Tensor, boxes: Any, anchors: tf.Tensor, weights: Sequence[float]) -> tf.Tensor:
    """[B, N, 4]: from each anchor to the box that it is matched with; zeros where there is none."""
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])  # there may be none
    deltas = encode(tf.gather(boxes, tf.maximum(matches, 0), batch_dims=1), anchors, weights)
    return tf.where((matches >= 0)[..., None], deltas, 0.0)

"""The losses of Faster R-CNN's two heads, as in torchvision; 0, never NaN, where nothing was drawn."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Where the smooth L1 loss goes from a parabola to a line: Detectron's for Faster R-CNN with a pyramid.
BETA = 1 / 9


def anchor_losses(
    scores: Any, deltas: Any, labels: Any, targets: Any, numbers: Any, taken: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of the region proposal network, over the anchors that were drawn.

    Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, equation 1, where both parts are divided by the number of anchors
    that were drawn, as the authors' later code does.

    Args:
        scores: [B, N], before the sigmoid.
        deltas: [B, N, 4].
        labels: [B, N], 1 or 0, as `anchor_targets` gives them.
        targets: [B, N, 4], likewise.
        numbers: int [B, S]: the anchors that `kapps.boxes.sampler.sample` has drawn.
        taken: bool [B, S], likewise.

    Returns:
        Two scalars: the cross-entropy of object or not, and the smooth L1 loss of the objects' deltas.
    """
    scores, deltas, labels, targets = (
        tf.gather(values, numbers, batch_dims=1) for values in (scores, deltas, labels, targets)
    )
    share = _share(taken)
    labels = tf.cast(labels, tf.float32)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, scores)
    objects = share * tf.cast(labels > 0, tf.float32)
    return tf.reduce_sum(share * entropy), tf.reduce_sum(objects * smooth_l1(targets - deltas))


def region_losses(scores: Any, deltas: Any, labels: Any, targets: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Of the box head, over the proposals that were drawn: Girshick: "Fast R-CNN", ICCV 2015, equation 1.

    Args:
        scores: [B, S, classes + 1], before the softmax; the background is last.
        deltas: [B, S, 4 (classes + 1)].
        labels: int [B, S], as `proposal_targets` gives them: -1 where a place is empty.
        targets: [B, S, 4], likewise.

    Returns:
        Two scalars: the cross-entropy of the classes, and the smooth L1 loss of the deltas that an object's own class
        gives it.
    """
    scores = tf.convert_to_tensor(scores)
    background = scores.shape[-1] - 1
    share, labels = _share(labels >= 0), tf.maximum(labels, 0)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
    deltas = tf.reshape(deltas, tf.concat([tf.shape(scores), [4]], axis=0))
    own = tf.gather(deltas, labels, batch_dims=2)
    objects = share * tf.cast(labels < background, tf.float32)
    return tf.reduce_sum(share * entropy), tf.reduce_sum(objects * smooth_l1(targets - own))


def smooth_l1(difference: Any) -> tf.Tensor:
    """[...] of [..., 4]: `d^2 / (2 beta)` below beta, `|d| - beta / 2` from there on, summed over the four numbers."""
    size = tf.abs(difference)
    return tf.reduce_sum(tf.where(size < BETA, 0.5 * size**2 / BETA, size - 0.5 * BETA), axis=-1)


def _share(taken: Any) -> tf.Tensor:
    """What each place counts in the mean over those that are taken."""
    taken = tf.cast(taken, tf.float32)
    return taken / tf.maximum(tf.reduce_sum(taken), 1.0)

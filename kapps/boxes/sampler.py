"""A few candidates of an image to learn from, so that the many of the background do not drown the others."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kapps.errors import DataError


def sample(labels: Any, count: int, positive_fraction: float, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Up to `count` candidates of each image at random, at most `positive_fraction` of them positive.

    Where positives lack, negatives fill up; where both lack, the rest is not valid. Ren, He, Girshick, Sun: "Faster
    R-CNN", NIPS 2015, section 3.1.3 (256 anchors, half of them positive); Girshick: "Fast R-CNN", ICCV 2015, section
    2.3 (64 proposals an image, a quarter).

    Args:
        labels: integers [B, N]: above 0 = positive, 0 = negative, below 0 = never drawn. N may be 0.
        count: how many an image.
        positive_fraction: 0 to 1.
        seed: two integers; the same seed draws the same candidates.

    Returns:
        int32 [B, count], numbers of candidates, positives first, and bool [B, count], whether the place is taken; where
        it is not, the number is 0.

    Raises:
        DataError: a count or a fraction that cannot be meant.
    """
    if count < 1 or not 0 <= positive_fraction <= 1:
        raise DataError(
            f"sample: expected a count of at least 1 and a positive_fraction of 0 to 1, found {count} and "
            f"{positive_fraction}"
        )
    labels = tf.convert_to_tensor(labels)
    labels = tf.pad(labels, [[0, 0], [0, count]], constant_values=-1)  # so that there are `count` to choose from
    lottery = tf.random.stateless_uniform(tf.shape(labels), seed)

    def draw(wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`count` numbers of candidates, the wanted ones first, and how many are wanted at all: [B, 1]."""
        chosen = tf.math.top_k(tf.where(wanted, lottery, -1.0), count).indices
        return chosen, tf.reduce_sum(tf.cast(wanted, tf.int32), axis=1, keepdims=True)

    positive, positives = draw(labels > 0)
    negative, negatives = draw(labels == 0)
    positives = tf.minimum(positives, int(count * positive_fraction))
    place = tf.range(count)[None]
    behind = tf.broadcast_to(tf.maximum(place - positives, 0), tf.shape(positive))
    chosen = tf.where(place < positives, positive, tf.gather(negative, behind, batch_dims=1))
    valid = place < positives + negatives
    return tf.where(valid, chosen, 0), valid

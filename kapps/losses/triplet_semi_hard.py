"""The triplet loss with semi-hard negatives, mined inside the mini-batch."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class TripletSemiHard(keras.losses.Loss):
    """Mean over all pairs (anchor a, positive p) of one class of max(0, d(a, p) - d(a, n) + margin).

    d is the squared Euclidean distance. The negative n, an example of another class, is the semi-hard one: the nearest
    to the anchor that is still farther away than the positive (the hardest negatives of all make the embedding
    collapse early in training). Where no negative is farther than the positive, it is the farthest.

    Paper: Schroff, Kalenichenko, Philbin: "FaceNet", CVPR 2015: eq. 3 (the loss), section 3.2 and eq. 4 (semi-hard);
    all anchor-positive pairs of a mini-batch, margin 0.2.

    Takes integer labels [B] or [B, 1] and embeddings [B, D], usually of length 1. Returns one number for each anchor,
    the sum over its positives, times B over the number of pairs, so that their mean over the batch is the mean over
    the pairs. A batch with no pair or with one class only has the loss 0.

    Args:
        margin: how much farther a negative shall be than a positive, as a squared distance; above 0.

    Raises:
        ValueError: the margin is not above 0.
    """

    def __init__(
        self,
        margin: float = 0.2,
        reduction: str = "sum_over_batch_size",
        name: str = "triplet_semi_hard",
        dtype=None,
    ):
        if not margin > 0:
            raise ValueError(f"TripletSemiHard: margin must be above 0, got {margin!r}: 0.2 is the paper's")
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = margin

    def call(self, y_true, y_pred):
        labels = ops.reshape(y_true, (-1,))
        same = ops.equal(labels[:, None], labels[None, :])  # [B, B]
        distances = squared_distances(y_pred)
        count = ops.shape(distances)[0]
        positive = ops.logical_and(same, ops.logical_not(ops.eye(count, dtype="bool")))
        negative = ops.logical_not(same)

        # [anchor, positive, negative]: the nearest negative beyond the positive, or the farthest of all
        beyond = ops.logical_and(negative[:, None, :], distances[:, None, :] > distances[:, :, None])
        infinity = ops.cast(float("inf"), distances.dtype)
        nearest = ops.min(ops.where(beyond, distances[:, None, :], infinity), axis=-1)
        farthest = ops.max(ops.where(negative, distances, -infinity), axis=-1, keepdims=True)
        chosen = ops.where(ops.any(beyond, axis=-1), nearest, farthest)  # [anchor, positive]

        counted = ops.logical_and(positive, ops.any(negative, axis=-1, keepdims=True))
        # where nothing is counted the distances may be infinite, and their gradient would not be a number
        difference = ops.where(counted, distances - ops.where(counted, chosen, 0.0), -self.margin)
        losses = ops.maximum(difference + self.margin, 0.0)
        pairs = ops.maximum(ops.sum(ops.cast(counted, distances.dtype)), 1.0)
        return ops.sum(losses, axis=-1) * ops.cast(count, distances.dtype) / pairs

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


def squared_distances(x):
    """[B, D] to the squared Euclidean distances of all pairs [B, B], exactly 0 on the diagonal."""
    squares = ops.sum(ops.square(x), axis=-1)
    distances = ops.maximum(squares[:, None] - 2 * ops.matmul(x, ops.transpose(x)) + squares[None, :], 0.0)
    return distances * (1 - ops.eye(ops.shape(x)[0], dtype=distances.dtype))

"""Deep CORAL: how far the covariances of two sets of features are apart."""

from __future__ import annotations

from keras import ops


def coral(source, target):
    """|C_S - C_T|^2 / (4 d^2): the squared Frobenius distance of the covariances of two batches of features.

    It asks that the features vary alike together in both domains; their means may differ.

    Paper: Sun, Saenko: "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", ECCV 2016 workshops, eq. 1 (the
    loss), eq. 2 and 3 (the covariances, with n - 1).

    Args:
        source: features [N, d], N at least 2.
        target: features [M, d], M at least 2.

    Returns:
        A scalar.
    """
    d = ops.cast(ops.shape(source)[1], source.dtype)
    return ops.sum(ops.square(covariance(source) - covariance(target))) / (4 * d * d)


def covariance(features):
    """[N, d] to the covariance [d, d], divided by N - 1."""
    centred = features - ops.mean(features, axis=0, keepdims=True)
    count = ops.cast(ops.shape(features)[0], features.dtype)
    return ops.matmul(ops.transpose(centred), centred) / (count - 1)

"""Maximum mean discrepancy: how far two sets of features are apart as distributions, by several kernels."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from kapps.losses.triplet_semi_hard import squared_distances

# Widths of the kernels, in parts of the mean squared distance between two features of the batch.
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def maximum_mean_discrepancy(source, target, widths: Sequence[float] = WIDTHS):
    """The squared distance of two batches' means in the space of a mean of Gaussian kernels; 0 for the same set.

    MMD^2 = E k(s, s') + E k(t, t') - 2 E k(s, t), over all pairs of the batch (the biased estimate, never negative),
    k(x, y) = mean over the widths w of exp(-|x - y|^2 / (w m)), m = the mean squared distance of all pairs of different
    rows of both batches. So the loss does not change when all features are multiplied by a number. No gradient flows
    through m: features that shrink together would not help.

    Papers: Gretton et al.: "A Kernel Two-Sample Test", JMLR 13, 2012, eq. 5; Long, Cao, Wang, Jordan: "Learning
    Transferable Features with Deep Adaptation Networks", ICML 2015, section 3.2 (several kernels). There the kernels'
    shares are learned; here all are equal.

    Args:
        source: features [N, d].
        target: features [M, d].
        widths: of the kernels.

    Returns:
        A scalar from 0 to 2.
    """
    count = ops.shape(source)[0]
    features = ops.concatenate([source, target], axis=0)
    distances = squared_distances(features)  # [N + M, N + M]
    rows = ops.cast(ops.shape(features)[0], distances.dtype)
    mean = ops.stop_gradient(ops.sum(distances) / (rows * (rows - 1)))
    scaled = distances / ops.maximum(mean, 1e-12)
    kernel = sum(ops.exp(-scaled / width) for width in widths) / len(widths)
    within = ops.mean(kernel[:count, :count]) + ops.mean(kernel[count:, count:])
    return within - 2 * ops.mean(kernel[:count, count:])

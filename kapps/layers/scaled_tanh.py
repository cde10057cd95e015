"""LeCun's squashing function."""

from __future__ import annotations

import keras
from keras import ops

AMPLITUDE = 1.7159  # A
SLOPE = 2 / 3  # S


@keras.saving.register_keras_serializable("kapps")
def scaled_tanh(x):
    """`A tanh(S x)` with A = 1.7159 and S = 2/3 (LeCun et al. 1998, eq. 6 and appendix A).

    f(1) = 1 and f(-1) = -1, where the second derivative is largest: targets of +-1 are reached without saturation, and
    the gain around 0 is about 1.

    Args:
        x: a tensor of any shape.

    Returns:
        A tensor of the same shape, within +-1.7159.
    """
    return AMPLITUDE * ops.tanh(SLOPE * x)

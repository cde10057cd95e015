"""The all-or-none activation."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
def step(x):
    """1 where x > 0, else 0. Its gradient is 0 everywhere: nothing behind it learns by back-propagation.

    Args:
        x: a tensor of any shape.

    Returns:
        A tensor of the same shape and dtype.
    """
    return ops.cast(x > 0, x.dtype)

"""The initialisation of LeCun's networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class FanInUniform(keras.initializers.Initializer):
    """Uniform within +-`bound` / F_i, F_i the number of inputs of unit i (LeCun et al. 1998, appendix A: +-2.4 / F_i).

    Args:
        bound: 2.4 in the paper.
        fan_in: F_i, one number or one an output (last axis); None = all axes of the shape but the last, multiplied,
            which is right for dense and convolution kernels.
        seed: None for the seed of `keras.utils.set_random_seed`.
    """

    def __init__(self, bound: float = 2.4, fan_in: float | Sequence[float] | None = None, seed: int | None = None):
        self.bound = bound
        self.fan_in = fan_in
        self.seed = seed

    def __call__(self, shape, dtype=None):
        fan_in = math.prod(shape[:-1]) if self.fan_in is None else np.asarray(self.fan_in, "float32")
        dtype = dtype or keras.config.floatx()
        return keras.random.uniform(shape, -self.bound, self.bound, dtype=dtype, seed=self.seed) / ops.cast(
            fan_in, dtype
        )

    def get_config(self) -> dict[str, Any]:
        fan_in = list(self.fan_in) if isinstance(self.fan_in, Sequence) else self.fan_in
        return {"bound": self.bound, "fan_in": fan_in, "seed": self.seed}

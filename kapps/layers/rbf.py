"""Euclidean radial basis functions: LeNet-5's output layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class RBF(keras.layers.Layer):
    """`y_i = sum_j (x_j - w_ij)^2`, the squared distance to each unit's centre (LeCun et al. 1998, eq. 7).

    A penalty: at least 0, and small where the input fits. The centres are given, and fixed unless `trainable`.

    Args:
        centres: [units, d]; the parameter vectors w_i.
        trainable: whether the centres learn.

    Call arguments:
        inputs: `[B, d]`.

    Returns:
        `[B, units]`.

    Raises:
        ValueError: the centres are not a matrix, or the inputs do not have d components.
    """

    def __init__(self, centres: Sequence[Sequence[float]] | np.ndarray, trainable: bool = False, **kwargs: Any):
        super().__init__(trainable=trainable, **kwargs)
        self._initial = np.array(centres, dtype="float32")
        if self._initial.ndim != 2:
            raise ValueError(f"RBF: centres should be a matrix [units, d], got shape {self._initial.shape}")
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: self._initial.shape[1]})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.centres = self.add_weight(
            name="centres", shape=self._initial.shape, initializer=lambda shape, dtype: ops.cast(self._initial, dtype)
        )

    def call(self, inputs):
        # not as |x|^2 - 2 x.w + |w|^2: that would cancel, and could turn negative, just where the fit is good
        differences = ops.expand_dims(inputs, 1) - self.centres  # [B, units, d]
        return ops.sum(ops.square(differences), axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self._initial.shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "centres": self._initial.tolist()}

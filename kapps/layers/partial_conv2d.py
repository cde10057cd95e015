"""A convolution whose output maps each see only some of the input maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class PartialConv2D(keras.layers.Layer):
    """2-D convolution by a connection table (LeCun et al. 1998, table I: the layer C3 of LeNet-5).

    Only the kernels of connected pairs exist: `kernel` is [size, size, pairs]. A product with a constant 0-1 matrix
    [pairs, inputs * outputs] puts them into an ordinary kernel with zeros elsewhere, so that the work is one fast
    convolution, and the gradient of the absent kernels is not computed, stored or counted.

    Args:
        table: for each output map the input maps that it sees, e.g. `((0, 1, 2), (1, 2, 3))`.
        size: side of the kernel; stride 1, valid padding.
        activation: None for the identity.
        kernel_initializer: is asked for the full kernel [size, size, inputs, outputs], of which the pairs are kept.
        bias_initializer: for the biases [outputs].

    Call arguments:
        inputs: `[B, H, W, inputs]`.

    Returns:
        `[B, H - size + 1, W - size + 1, len(table)]`.

    Raises:
        ValueError: a row of the table is empty, has a map twice, or names a map that the inputs do not have.
    """

    def __init__(
        self,
        table: Sequence[Sequence[int]],
        size: int,
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.table = tuple(tuple(row) for row in table)
        for output, row in enumerate(self.table):
            if not row or len(set(row)) != len(row):
                raise ValueError(f"PartialConv2D: row {output} of the table should name different maps, got {row}")
        self.size = size
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        inputs, outputs = input_shape[-1], len(self.table)
        for output, row in enumerate(self.table):
            if not all(0 <= seen < inputs for seen in row):
                raise ValueError(f"PartialConv2D: row {output} of the table should name maps below {inputs}, got {row}")
        # the place of each pair among the inputs x outputs kernels of a full convolution
        places = np.array([seen * outputs + output for output, row in enumerate(self.table) for seen in row])
        self._full_shape = (self.size, self.size, inputs, outputs)
        self._scatter = np.eye(inputs * outputs, dtype="float32")[places]  # [pairs, inputs * outputs]

        def pairs_of_full_kernel(shape, dtype=None):
            full = self.kernel_initializer(self._full_shape, dtype=dtype)
            return ops.take(ops.reshape(full, (self.size, self.size, inputs * outputs)), places, axis=-1)

        self.kernel = self.add_weight(
            name="kernel", shape=(self.size, self.size, len(places)), initializer=pairs_of_full_kernel
        )
        self.bias = self.add_weight(name="bias", shape=(outputs,), initializer=self.bias_initializer)

    def full_kernel(self):
        """The kernel of the equal full convolution: [size, size, inputs, outputs], zero where nothing is connected."""
        # Two axes, as a product of more is far slower to differentiate.
        pairs = ops.reshape(self.kernel, (self.size**2, -1))
        return ops.reshape(ops.matmul(pairs, ops.cast(self._scatter, self.compute_dtype)), self._full_shape)

    def call(self, inputs):
        z = ops.conv(inputs, self.full_kernel(), padding="valid", data_format="channels_last")
        return self.activation(z + self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        shrink = [None if side is None else side - self.size + 1 for side in (height, width)]
        return (batch, *shrink, len(self.table))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "table": self.table,
            "size": self.size,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }

"""The maxout layer: a unit learns its own convex activation function as the maximum of a few affine pieces."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class Maxout(keras.layers.Layer):
    """Dense maxout layer: `h_i(x) = max_j (x . W_ij + b_ij)`, j = 1 .. `pieces`.

    Goodfellow, Warde-Farley, Mirza, Courville, Bengio: "Maxout Networks", ICML 2013, section 3.

    The `pieces` affine maps of all units are one matrix, so that the layer costs one matrix product. Column
    `j * units + i` of `kernel` is piece j of unit i: the units lie side by side and the maximum over the pieces runs
    over whole vectors (more than twice as fast on a CPU as pieces that lie side by side).

    The paper limits the norm of each piece's weight vector: `kernel_constraint=keras.constraints.MaxNorm(2.0, axis=0)`.

    Args:
        units: number of outputs, m in the paper.
        pieces: affine pieces a unit, k in the paper; 1 makes a linear layer, 2 can already represent |x| and ReLU.
        use_bias: whether the pieces have biases; b in the paper.
        kernel_initializer: for the kernel `[d, pieces * units]`.
        bias_initializer: for the bias `[pieces * units]`.
        kernel_regularizer, bias_regularizer, activity_regularizer: as in `keras.layers.Dense`.
        kernel_constraint, bias_constraint: as in `keras.layers.Dense`.

    Call arguments:
        inputs: `[..., d]`, at least two dimensions.

    Returns:
        `[..., units]`.

    Raises:
        ValueError: `units` or `pieces` is not a positive integer.
    """

    def __init__(
        self,
        units: int,
        pieces: int = 2,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        for name, value in {"units": units, "pieces": pieces}.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"Maxout: {name} must be an integer of at least 1, got {value!r}: give a positive count"
                )
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = units
        self.pieces = pieces
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.pieces * self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.pieces * self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs):
        z = ops.matmul(inputs, self.kernel)  # [..., pieces * units]
        if self.bias is not None:
            z = ops.add(z, self.bias)
        z = ops.reshape(z, (*ops.shape(z)[:-1], self.pieces, self.units))
        return ops.max(z, axis=-2)  # [..., units]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "pieces": self.pieces,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }

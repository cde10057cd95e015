"""LeNet's subsampling: one coefficient and one bias a map."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class Subsampling(keras.layers.Layer):
    """`f(w_c * (sum of the 2x2 inputs of map c) + b_c)`: S2 and S4 of LeNet-5 (LeCun et al. 1998, sec. II.B).

    The windows do not overlap; a row or column that does not fill a window is left out. 2 weights a map.

    Args:
        size: side of the window.
        activation: the squashing function f; None for the identity.
        coefficient_initializer: for the coefficients `[channels]`.
        bias_initializer: for the biases `[channels]`.

    Call arguments:
        inputs: `[B, H, W, channels]`.

    Returns:
        `[B, H // size, W // size, channels]`.
    """

    def __init__(
        self,
        size: int = 2,
        activation: Any = None,
        coefficient_initializer: Any = "ones",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size = size
        self.activation = keras.activations.get(activation)
        self.coefficient_initializer = keras.initializers.get(coefficient_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = (input_shape[-1],)
        self.coefficient = self.add_weight(name="coefficient", shape=channels, initializer=self.coefficient_initializer)
        self.bias = self.add_weight(name="bias", shape=channels, initializer=self.bias_initializer)

    def call(self, inputs):
        # the sum is the mean times the window's area: the pooling kernel is the fast way to it
        total = ops.average_pool(inputs, self.size, self.size, "valid", "channels_last") * self.size**2
        return self.activation(self.coefficient * total + self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        shrink = [None if side is None else side // self.size for side in (height, width)]
        return (batch, *shrink, channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "activation": keras.activations.serialize(self.activation),
            "coefficient_initializer": keras.initializers.serialize(self.coefficient_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }

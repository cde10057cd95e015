"""The C-cells of the neocognitron: the same feature, wherever in a small field it is."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kapps.layers.s_cells import centre, distance_weights


@keras.saving.register_keras_serializable("kapps")
class CCells(keras.layers.Layer):
    """One plane of cells for each plane of S-cells, with fixed synapses and inhibition by all planes' mean.

    Fukushima 1980 (see `SCells`). For plane k, place n and the offsets o of the input field:

        v(n) = mean over k of sum_o d(o) s_k(n + o)
        x = (1 + sum_o d(o) s_k(n + o)) / (1 + v(n)) - 1;   c_k(n) = x / (alpha + x) where x is above 0, else 0

    d falls with the distance from the centre and adds up to 1. No weights.

    Args:
        side: cells in a row and in a column of a plane, in the middle of the inputs; zeros are around them.
        field: side of the input field.
        decay: d(o) is proportional to decay ** |o|.
        saturation: alpha, above 0; the answer is under 1.

    Call arguments:
        inputs: `[B, H, W, planes]` with known H and W, at least 0.

    Returns:
        `[B, side, side, planes]`, from 0 to 1.

    Raises:
        ValueError: H, W or the number of planes is not known.
    """

    def __init__(self, side: int, field: int = 5, decay: float = 0.8, saturation: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        self.side, self.field = side, field
        self.decay, self.saturation = float(decay), float(saturation)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if None in input_shape[1:]:
            raise ValueError(f"CCells: the size of the inputs must be known, got shape {tuple(input_shape)}")
        self.d = distance_weights(self.field, self.decay).astype("float32")

    def call(self, inputs):
        x = centre(inputs, self.side, self.field)
        kernel = ops.cast(ops.tile(self.d[:, :, None, None], (1, 1, x.shape[-1], 1)), x.dtype)  # [f, f, planes, 1]
        excitation = ops.depthwise_conv(x, kernel, padding="valid")
        x = ops.relu((1 + excitation) / (1 + ops.mean(excitation, axis=-1, keepdims=True)) - 1)
        return x / (self.saturation + x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.side, self.side, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "side": self.side,
            "field": self.field,
            "decay": self.decay,
            "saturation": self.saturation,
        }

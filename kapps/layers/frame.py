"""A frame of background around an image."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class Frame(keras.layers.Layer):
    """Puts the image into the middle of a larger field of one value. (Keras' own ZeroPadding2D knows only zero.)

    Args:
        height, width: of the field; a side of the image that is as large or larger stays as it is.
        value: of the field.

    Call arguments:
        inputs: `[B, H, W, C]` with known H and W.

    Raises:
        ValueError: H or W is not known.

    Returns:
        `[B, max(H, height), max(W, width), C]`; the odd pixel of an uneven border is at the bottom or right.
    """

    def __init__(self, height: int, width: int, value: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.height, self.width, self.value = height, width, float(value)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if None in input_shape[1:3]:
            raise ValueError(f"Frame: height and width of the inputs must be known, got shape {tuple(input_shape)}")

    def call(self, inputs):
        borders = [
            max(0, field - side) for field, side in zip((self.height, self.width), inputs.shape[1:3], strict=True)
        ]
        padding = [(0, 0), *((border // 2, border - border // 2) for border in borders), (0, 0)]
        return ops.pad(inputs, padding, constant_values=self.value)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        return (batch, max(height, self.height), max(width, self.width), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width, "value": self.value}

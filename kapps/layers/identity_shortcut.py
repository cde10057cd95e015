"""The shortcut without weights over a change of size: every second pixel, and zeros for the channels that are new."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class IdentityShortcut(keras.layers.Layer):
    """Option A of He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016, section 3.3.

    The identity where it can be one: every `stride`-th pixel, beginning with the first; the channels that the input
    does not have are zeros, behind those that it has.

    Args:
        channels: of the output; at least as many as the input has.
        stride: in both directions.

    Call arguments:
        inputs: `[B, H, W, C]`.

    Returns:
        `[B, ceil(H / stride), ceil(W / stride), channels]`.

    Raises:
        ValueError: the input has more channels than the output, or an unknown number.
    """

    def __init__(self, channels: int, stride: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels, self.stride = channels, stride
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if input_shape[-1] is None or input_shape[-1] > self.channels:
            raise ValueError(
                f"IdentityShortcut: expected inputs of at most {self.channels} channels, got shape "
                f"{tuple(input_shape)}: an identity cannot lose channels, use a 1x1 convolution"
            )

    def call(self, inputs):
        x = inputs[:, :: self.stride, :: self.stride]
        return ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, self.channels - inputs.shape[-1])])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, *sides, _ = input_shape
        return (batch, *(None if side is None else -(-side // self.stride) for side in sides), self.channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels, "stride": self.stride}

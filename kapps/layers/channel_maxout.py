"""Maxout across channels: what turns a convolution into a convolutional maxout layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class ChannelMaxout(keras.layers.Layer):
    """The maximum over groups of `pieces` channels; no weights.

    Goodfellow, Warde-Farley, Mirza, Courville, Bengio: "Maxout Networks", ICML 2013, section 3: a convolutional maxout
    feature map is the maximum of k affine feature maps. So `Conv2D(m * k, ...)` without activation, then
    `ChannelMaxout(k)`, then (or before) the pooling over space.

    Output channel i is the maximum of the input channels i, i + m, i + 2m, ... where m = channels / pieces: the same
    order as in `kapps.layers.maxout.Maxout`, so `Dense(k * m)` followed by this layer equals `Maxout(m, k)`.

    Args:
        pieces: channels in a group, k in the paper; must divide the number of channels.

    Call arguments:
        inputs: `[..., channels]`, channels last.

    Returns:
        `[..., channels / pieces]`.

    Raises:
        ValueError: `pieces` is not a positive integer, or does not divide the number of channels.
    """

    def __init__(self, pieces: int = 2, **kwargs: Any):
        if not isinstance(pieces, int) or isinstance(pieces, bool) or pieces < 1:
            raise ValueError(
                f"ChannelMaxout: pieces must be an integer of at least 1, got {pieces!r}: give a positive count"
            )
        super().__init__(**kwargs)
        self.pieces = pieces

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs):
        *leading, channels = ops.shape(inputs)
        groups = ops.reshape(inputs, (*leading, self.pieces, channels // self.pieces))
        return ops.max(groups, axis=-2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        channels = input_shape[-1]
        if channels is None or channels % self.pieces:
            raise ValueError(
                f"ChannelMaxout: the number of channels must be known and a multiple of pieces={self.pieces}, "
                f"got inputs of shape {tuple(input_shape)}: give the layer before it units x pieces channels"
            )
        return (*input_shape[:-1], channels // self.pieces)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pieces": self.pieces}

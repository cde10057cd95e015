"""Average pooling to a grid of a fixed size, whatever the size of the maps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kapps.layers.spatial_pyramid_pooling import bin_edges


@keras.saving.register_keras_serializable("kapps")
class GridAveragePooling(keras.layers.Layer):
    """The mean in each bin of a grid laid over the maps; PyTorch calls it adaptive average pooling.

    Bin i of n over h rows covers `floor(i h / n)` to `ceil((i + 1) h / n)`, the last one excluded, as in spatial
    pyramid pooling. Maps that have the grid's size already pass unchanged. (Keras' own layer for it needs to know the
    size of the maps beforehand.)

    Args:
        height, width: of the grid.

    Call arguments:
        inputs: `[B, H, W, C]`; H and W need not be known before the image comes.

    Returns:
        `[B, height, width, C]`.

    Raises:
        ValueError: a side of the grid is not a positive integer.
    """

    def __init__(self, height: int, width: int, **kwargs: Any):
        if not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in (height, width)):
            raise ValueError(
                f"GridAveragePooling: expected a height and a width of at least 1, got {height!r} and {width!r}"
            )
        super().__init__(**kwargs)
        self.height, self.width = height, width
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs):
        if inputs.shape[1:3] == (self.height, self.width):
            return inputs
        _, height, width, channels = ops.shape(inputs)
        # A mean over a rectangle is a product with one matrix for the rows and one for the columns.
        x = ops.matmul(
            _shares(height, self.height, inputs.dtype), ops.reshape(inputs, (-1, height, width * channels))
        )  # [B, grid height, W * C]
        x = ops.matmul(
            _shares(width, self.width, inputs.dtype), ops.reshape(x, (-1, self.height, width, inputs.shape[-1]))
        )  # [B, grid height, grid width, C]
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


def _shares(size, bins: int, dtype: str):
    """[bins, size]: what each position adds to the mean of each bin."""
    start, end = bin_edges(size, bins)
    position = ops.arange(size, dtype="int32")[None]
    inside = ops.logical_and(position >= start[:, None], position < end[:, None])
    return ops.cast(inside, dtype) / ops.cast(end - start, dtype)[:, None]

"""Cutting a window out of a map that is as large as another one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class CropLike(keras.layers.Layer):
    """The window of a map that starts at (offset, offset) and has the height and width of a reference.

    As the crop layer of FCN's Caffe networks, which brings maps of different strides to the same pixels; works with
    sizes that are known only when the network runs.

    Args:
        offset: rows and columns left out before the window.

    Call arguments:
        inputs: `[B, H, W, C]`.
        reference: `[B, h, w, ...]`, h at most H - offset and w at most W - offset.

    Returns:
        `[B, h, w, C]`.

    Raises:
        ValueError: a negative offset, or a map that is too small for the window.
    """

    def __init__(self, offset: int = 0, **kwargs: Any):
        if offset < 0:
            raise ValueError(f"CropLike: offset must be at least 0, got {offset}")
        super().__init__(**kwargs)
        self.offset = offset

    def call(self, inputs, reference):
        height, width = ops.shape(reference)[1:3]
        end = self.offset + height, self.offset + width
        return inputs[:, self.offset : end[0], self.offset : end[1]]

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        for have, want in zip(inputs_shape[1:3], reference_shape[1:3], strict=True):
            if have is not None and want is not None and have < self.offset + want:
                raise ValueError(
                    f"CropLike: expected at least {self.offset} + {want} rows and columns for the window, got {have}"
                )
        return (inputs_shape[0], *reference_shape[1:3], inputs_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "offset": self.offset}

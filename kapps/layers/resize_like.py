"""Bilinear resizing of a map to the size of another one."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class ResizeLike(keras.layers.Layer):
    """A map resized by bilinear interpolation to the height and width of a reference.

    A pixel is an area: output pixel i looks at `(i + 0.5) H / h - 0.5`, and the border continues outwards, as
    `torch.nn.functional.interpolate` with `align_corners=False` and `tf.image.resize` do. Works with sizes that are
    known only when the network runs.

    Call arguments:
        inputs: `[B, H, W, C]`.
        reference: `[B, h, w, ...]`.

    Returns:
        `[B, h, w, C]`.
    """

    def call(self, inputs, reference):
        height, width = ops.shape(reference)[1:3]
        return ops.image.resize(inputs, (height, width), interpolation="bilinear")

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (inputs_shape[0], *reference_shape[1:3], inputs_shape[-1])

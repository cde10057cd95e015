"""Enlarging a map to the size of another one by repeating its pixels."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class RepeatLike(keras.layers.Layer):
    """A map resized to the height and width of a reference; each pixel of it is a copy of one that was there.

    Row i of h is row `floor(i H / h)` of H, columns likewise: where the reference is twice as large, every pixel is
    there four times. It is what `torch.nn.functional.interpolate` calls "nearest", and unlike
    `keras.layers.UpSampling2D` it fits maps whose odd size was rounded up on the way down, as in a feature pyramid.

    Call arguments:
        inputs: `[B, H, W, C]`.
        reference: `[B, h, w, ...]`.

    Returns:
        `[B, h, w, C]`.
    """

    def call(self, inputs, reference):
        for axis in (1, 2):
            ours, wanted = ops.shape(inputs)[axis], ops.shape(reference)[axis]
            inputs = ops.take(inputs, ops.arange(wanted) * ours // wanted, axis=axis)
        return inputs

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (inputs_shape[0], *reference_shape[1:3], inputs_shape[-1])

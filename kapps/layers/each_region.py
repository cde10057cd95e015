"""A network on every region of every image."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class EachRegion(keras.layers.Wrapper):
    """The same network on the maps of every region, as if all regions of all images were one batch.

    `keras.layers.TimeDistributed` does the same step by step; regions are many and small, so that would take far
    longer.

    Args:
        layer: takes `[K, H, W, C]`.

    Call arguments:
        inputs: `[B, N, H, W, C]`.

    Returns:
        `[B, N, ...]` of what the layer gives for one region.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not self.layer.built:
            self.layer.build((None, *input_shape[2:]))
        self.built = True

    def call(self, inputs, training=None):
        batch, count = ops.shape(inputs)[:2]
        outputs = self.layer(ops.reshape(inputs, (-1, *inputs.shape[2:])), training=training)
        return ops.reshape(outputs, (batch, count, *outputs.shape[1:]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:2], *self.layer.compute_output_shape((None, *input_shape[2:]))[1:])

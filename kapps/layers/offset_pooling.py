"""Pooling at every offset: a network that pools is evaluated as densely as one that does not."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class _OffsetLayer(keras.layers.Layer):
    """What both layers share: the size of the pooling window."""

    def __init__(self, size: int, **kwargs: Any):
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{type(self).__name__}: size must be an integer of at least 1, got {size!r}")
        super().__init__(**kwargs)
        self.size = size
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("kapps")
class OffsetMaxPooling2D(_OffsetLayer):
    """Max pooling over windows that do not overlap, repeated for each offset of the first window.

    Sermanet et al.: "OverFeat: integrated recognition, localization and detection using convolutional networks", ICLR
    2014, section 3.3 and figure 3 (b, c). All offsets get as many windows as the last one has room for.

    Args:
        size: s, side and stride of the windows; there are s * s offsets.

    Call arguments:
        inputs: `[B, H, W, C]`; H and W need not be known before the image comes.

    Returns:
        `[B * s * s, (H - s + 1) // s, (W - s + 1) // s, C]`: the offsets as parts of the batch, so that what comes next
        treats each as an image of its own. Image b with the offset (y, x) is at `(b * s + y) * s + x`.
    """

    def call(self, inputs):
        size = self.size
        batch, height, width, channels = ops.shape(inputs)
        high, wide = (height - size + 1) // size, (width - size + 1) // size
        pooled = [
            ops.max_pool(inputs[:, y : y + size * high, x : x + size * wide], size, size, "valid", "channels_last")
            for y in range(size)
            for x in range(size)
        ]
        return ops.reshape(ops.stack(pooled, axis=1), (batch * size * size, high, wide, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        sides = [None if side is None else (side - self.size + 1) // self.size for side in (height, width)]
        return (None if batch is None else batch * self.size**2, *sides, channels)


@keras.saving.register_keras_serializable("kapps")
class InterleaveOffsets(_OffsetLayer):
    """Puts the maps of all offsets of an `OffsetMaxPooling2D` together into one fine map (figure 3 (e)).

    Args:
        size: s of the pooling.

    Call arguments:
        inputs: `[B * s * s, h, w, C]`, the offsets in the pooling's order.

    Returns:
        `[B, h * s, w * s, C]`; place (i, j) of the offset (y, x) is at `(i * s + y, j * s + x)`.
    """

    def call(self, inputs):
        size = self.size
        _, height, width, channels = ops.shape(inputs)
        maps = ops.reshape(inputs, (-1, size, size, height, width, channels))
        maps = ops.transpose(maps, (0, 3, 1, 4, 2, 5))  # [B, h, s, w, s, C]
        return ops.reshape(maps, (-1, height * size, width * size, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        sides = [None if side is None else side * self.size for side in (height, width)]
        return (None if batch is None else batch // self.size**2, *sides, channels)

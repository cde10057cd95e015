"""RoI pooling: the maximum in each bin of a grid that is laid over every box of a feature map."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kapps")
class RoIPooling(keras.layers.Layer):
    """Fast R-CNN's pooling: the box rounded to whole map pixels, `size` x `size` bins, the maximum of each.

    Girshick: "Fast R-CNN", ICCV 2015, section 2.1. As in its code (and torchvision's `roi_pool`) the pixels of the
    box's first and last corner both belong to it; bin i of a box of h rows has the rows `floor(i h / size)` to
    `ceil((i + 1) h / size)`, the last one excluded. Bins may share a row; one that lies outside the map is 0.

    The maximum over any rectangle is that of four windows whose sides are powers of 2, and such windows are computed
    once for all boxes. Gradients go to the map, not to the boxes.

    Args:
        stride: image pixels per map pixel.
        size: bins along each side: 6 or 7 in the paper.

    Call arguments:
        maps: `[B, H, W, C]`.
        boxes: `[B, N, 4]`, `"xyxy"` in image pixels; N may be 0.

    Returns:
        `[B, N, size, size, C]`.

    Raises:
        ValueError: an argument that cannot be used.
    """

    def __init__(self, stride: float = 16, size: int = 7, **kwargs: Any):
        if stride <= 0 or size < 1:
            raise ValueError(f"RoIPooling: stride must be positive and size at least 1, got {stride} and {size}")
        super().__init__(autocast=False, **kwargs)  # float16 cannot hold a place in a large image
        self.supports_jit = False  # the number of window sizes depends on the boxes
        self.stride = stride
        self.size = size

    def call(self, maps, boxes):
        channels = maps.shape[-1]
        batch, height, width = tf.unstack(tf.shape(maps)[:3])
        count = tf.shape(boxes)[1]
        flat = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
        top, bottom = self._bins(flat[:, 1], flat[:, 3], height)  # [K, size]
        left, right = self._bins(flat[:, 0], flat[:, 2], width)
        rows, columns = _exponent(bottom - top), _exponent(right - left)  # of the windows that cover each bin

        windows = _windows(maps, axis=-3, exponents=_most(rows))  # [R, B, H, W, C]
        windows = _windows(windows, axis=-2, exponents=_most(columns))  # [S, R, B, H, W, C]
        image = tf.repeat(tf.range(batch), count)[:, None, None]
        levels = columns[:, None, :] * _most(rows) + rows[:, :, None]
        first = (levels * batch + image) * height * width  # [K, size, size]
        pixels = tf.reshape(windows, [-1, channels])
        pooled = None
        for y in (top, bottom - 2**rows):
            for x in (left, right - 2**columns):
                y_inside, x_inside = tf.clip_by_value(y, 0, height - 1), tf.clip_by_value(x, 0, width - 1)
                window = tf.gather(pixels, first + y_inside[:, :, None] * width + x_inside[:, None, :])
                pooled = window if pooled is None else tf.maximum(pooled, window)

        some = (bottom > top)[:, :, None] & (right > left)[:, None, :]
        pooled = tf.where(some[..., None], pooled, tf.zeros((), maps.dtype))
        return tf.reshape(pooled, [batch, count, self.size, self.size, channels])

    def _bins(self, start, end, extent):
        """First position and end (excluded) of each bin along one axis, within the map: int32 [K, size] each."""
        start, end = (_rounded(edge / self.stride)[:, None] for edge in (start, end))
        length = tf.maximum(end - start + 1, 1)
        number = tf.range(self.size)
        # In integers: in float32, where `size * (length / size)` may be above length, a bin gets a row too many.
        first = start + number * length // self.size
        behind = start + ((number + 1) * length + self.size - 1) // self.size
        return tf.clip_by_value(first, 0, extent), tf.clip_by_value(behind, 0, extent)

    def compute_output_shape(
        self, maps_shape: tuple[int | None, ...], boxes_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*boxes_shape[:2], self.size, self.size, maps_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride, "size": self.size}


def _rounded(x):
    """int32: the nearest whole number, halves away from zero as in C; TensorFlow's `round` takes the even one."""
    return tf.cast(tf.sign(x) * tf.floor(tf.abs(x) + 0.5), tf.int32)


def _exponent(length):
    """The largest e with 2^e <= length, for lengths from 1 up; 0 below."""
    powers = tf.constant([2**exponent for exponent in range(1, 31)])
    return tf.reduce_sum(tf.cast(length[..., None] >= powers, tf.int32), axis=-1)


def _most(exponents):
    """How many window sizes these exponents need."""
    return tf.reduce_max(tf.concat([tf.reshape(exponents, [-1]), [0]], axis=0)) + 1


def _windows(maps, axis: int, exponents):
    """[exponents, *maps.shape]: for each place along an axis the maximum over 2^e places from it on.

    Windows that reach over the end go on at the beginning; nobody asks for them.
    """
    windows = tf.TensorArray(maps.dtype, size=exponents, element_shape=maps.shape)

    def double(exponent, current, windows):
        windows = windows.write(exponent, current)
        return exponent + 1, tf.maximum(current, tf.roll(current, -(2**exponent), axis)), windows

    start = (tf.constant(0), maps, windows)
    _, _, windows = tf.while_loop(lambda exponent, *_: exponent < exponents, double, start)
    return windows.stack()

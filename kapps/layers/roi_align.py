"""RoI align: a grid of fixed size out of every box of a feature map, or of the fitting map of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kapps.boxes.formats import area


@keras.saving.register_keras_serializable("kapps")
class RoIAlign(keras.layers.Layer):
    """Each box is cut into `size` x `size` bins; a bin is the mean of a few points in it, bilinearly interpolated.

    He, Gkioxari, Dollar, Girshick: "Mask R-CNN", ICCV 2017, section 3; nothing is rounded, unlike in RoI pooling. With
    several maps each box is taken from one: of equation 1 in Lin et al.: "Feature Pyramid Networks", CVPR 2017, `k =
    floor(4 + log2(sqrt(w h) / 224))`, which is the map of stride 2^k, or the nearest there is.

    The numbers are those of torchvision's `roi_align` and `MultiScaleRoIAlign`: a point up to one pixel outside the map
    has the value of the border, one farther out is 0.

    Gradients go to the maps, not to the boxes.

    Args:
        strides: image pixels per map pixel, for each map: powers of 2 where there are several.
        size: bins along each side.
        sampling_ratio: points along each side of a bin; 0 = as many as the bin has map pixels, rounded up, box by box,
            which costs as much for every box as for the largest.
        aligned: whether a map pixel's centre is at a half, as in Detectron2; False is the older form, half a pixel off,
            in which a box is at least one map pixel large.

    Call arguments:
        maps: a list of `[B, H, W, C]`, one for each stride, fine to coarse.
        boxes: `[B, N, 4]`, `"xyxy"` in image pixels; N may be 0. A box without area gives a value, not NaN.

    Returns:
        `[B, N, size, size, C]`.

    Raises:
        ValueError: an argument that cannot be used, or another number of maps than of strides.
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 8, 16, 32),
        size: int = 7,
        sampling_ratio: int = 2,
        aligned: bool = False,
        **kwargs: Any,
    ):
        strides = tuple(strides)
        powers = all(isinstance(each, int) and each >= 1 and each & (each - 1) == 0 for each in strides)
        if not strides or list(strides) != sorted(strides) or (len(strides) > 1 and not powers):
            raise ValueError(f"RoIAlign: strides must be powers of 2, fine to coarse, got {strides}: (4, 8, 16, 32)")
        if size < 1 or sampling_ratio < 0:
            raise ValueError(
                f"RoIAlign: size must be at least 1 and sampling_ratio at least 0, got {size} and {sampling_ratio}"
            )
        super().__init__(autocast=False, **kwargs)  # float16 cannot hold a place in a large image
        self.supports_jit = False  # XLA has neither sparse matrices nor crops
        self.strides = strides
        self.size = size
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def build(self, maps_shape: Any, boxes_shape: Any) -> None:
        if len(maps_shape) != len(self.strides):
            raise ValueError(
                f"RoIAlign: expected a list of {len(self.strides)} maps, one a stride, got {len(maps_shape)}"
            )

    def call(self, maps, boxes):
        boxes = tf.cast(boxes, tf.float32)
        maps = [tf.cast(each, tf.float32) for each in maps]
        batch, count = tf.shape(boxes)[0], tf.shape(boxes)[1]
        flat = tf.stop_gradient(tf.reshape(boxes, [-1, 4]))  # [K, 4]
        image = tf.repeat(tf.range(batch), count)
        pooled = self._crops(maps, flat, image) if self.sampling_ratio else self._sums(maps, flat, image)
        pooled = tf.reshape(pooled, [batch, count, self.size, self.size, maps[0].shape[-1]])
        return tf.cast(pooled, self.compute_dtype)

    def _crops(self, maps, boxes, image):
        """With as many points for every box: crops of the maps with a pixel for each point, and the means of bins."""

        @tf.custom_gradient
        def crops(*maps):
            level = self.levels(boxes)
            places = [tf.where(level == number)[:, 0] for number in range(len(maps))]
            pieces = [
                self._crop(each, tf.gather(boxes, place), tf.gather(image, place), stride)
                for each, stride, place in zip(maps, self.strides, places, strict=True)
            ]
            pooled = tf.dynamic_stitch([tf.cast(place, tf.int32) for place in places], pieces)

            def gradients(to_bins):
                # Not TensorFlow's own gradient of crops: on CPUs its threads, each with some of the boxes, add to the
                # same pixels without locks (crop_and_resize_op.cc); sums differ by run, and may get lost.
                to_bins = tf.reshape(to_bins, [-1, maps[0].shape[-1]])
                to_pixels = tf.raw_ops.SparseTensorDenseMatMul(
                    **self._matrix(maps, boxes, image), b=to_bins, adjoint_a=True
                )
                parts = tf.split(to_pixels, [tf.reduce_prod(tf.shape(each)[:3]) for each in maps])
                return [tf.reshape(part, tf.shape(each)) for part, each in zip(parts, maps, strict=True)]

            return pooled, gradients

        return crops(*maps)

    def _crop(self, each_map, boxes, image, stride: int):
        # The border is put around the map once more: a point up to a pixel outside lies between two equal values, and
        # what is farther out is outside of this map, too, where TensorFlow takes 0.
        each_map = tf.pad(each_map, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        points = self.size * self.sampling_ratio
        start, length = self._extent(boxes, tf.constant(float(stride)))
        half = length / (2 * points)
        last = tf.cast(tf.shape(each_map)[1:3] - 1, tf.float32)  # of which TensorFlow wants places as shares
        ends = tf.concat([start + half + 1, start + length - half + 1], axis=-1) / tf.tile(last, [2])
        crops = tf.image.crop_and_resize(each_map, ends, image, [points, points])
        return tf.nn.avg_pool2d(crops, self.sampling_ratio, self.sampling_ratio, "VALID")

    def _sums(self, maps, boxes, image):
        """With another number of points for each box: a bin is a weighted sum of a few of all pixels."""
        pixels = tf.concat([tf.reshape(each, [-1, each.shape[-1]]) for each in maps], axis=0)
        return tf.raw_ops.SparseTensorDenseMatMul(**self._matrix(maps, boxes, image), b=pixels)

    def _matrix(self, maps, boxes, image):
        """The sparse matrix whose product with all pixels of all maps are the bins of all boxes."""
        # Of each box's map: its size, and the row of its first pixel where all pixels of all maps are below each other.
        batch = tf.shape(maps[0])[0]
        level = self.levels(boxes)
        sizes = tf.stack([tf.shape(each)[1:3] for each in maps])  # [levels, 2]
        pixels = tf.math.reduce_prod(sizes, axis=1)
        first = tf.gather(tf.cumsum(pixels * batch, exclusive=True), level) + image * tf.gather(pixels, level)
        sizes = tf.gather(sizes, level)  # [K, 2]
        start, length = self._extent(boxes, tf.gather(tf.constant(self.strides, tf.float32), level)[:, None])
        rows, row_weights = self._points(start[:, 0], length[:, 0], sizes[:, 0])  # [K, size, P]
        columns, column_weights = self._points(start[:, 1], length[:, 1], sizes[:, 1])
        rows = first[:, None, None] + rows * sizes[:, 1, None, None]
        index = rows[:, :, None, :, None] + columns[:, None, :, None, :]  # [K, size, size, P, P]
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]

        bins = tf.shape(boxes)[0] * self.size**2
        each = tf.size(index) // tf.maximum(bins, 1)
        bin_number = tf.repeat(tf.range(bins), each)
        return {
            "a_indices": tf.cast(tf.stack([bin_number, tf.reshape(index, [-1])], axis=1), tf.int64),
            "a_values": tf.reshape(weights, [-1]),
            "a_shape": tf.cast(tf.stack([bins, tf.reduce_sum(pixels) * batch]), tf.int64),
        }

    def _extent(self, boxes, stride):
        """Start and length of boxes in map pixels, along y and x: [K, 2] each."""
        offset = 0.5 if self.aligned else 0.0
        corners = boxes / stride - offset
        start, end = tf.reverse(corners[:, :2], [-1]), tf.reverse(corners[:, 2:], [-1])
        return start, end - start if self.aligned else tf.maximum(end - start, 1.0)

    def levels(self, boxes):
        """int32 [...]: which of the maps each box [..., 4] is taken from."""
        if len(self.strides) == 1:
            return tf.zeros(tf.shape(boxes)[:-1], tf.int32)
        lowest, highest = (stride.bit_length() - 1 for stride in (self.strides[0], self.strides[-1]))
        side = tf.sqrt(area(boxes))
        # log of 0 is minus infinity, which is clipped; the small number keeps a side of exactly 224 on its level
        wanted = tf.floor(4 + tf.math.log(side / 224) / tf.math.log(2.0) + 1e-6)
        return tf.cast(tf.clip_by_value(wanted, lowest, highest), tf.int32) - lowest

    def _points(self, start, length, extent):
        """Along one axis: the map pixels around each bin's points, and their weights: [K, size, 2 * points] each."""
        step = length / self.size
        points = tf.fill(tf.shape(step), float(self.sampling_ratio)) if self.sampling_ratio else tf.math.ceil(step)
        points = tf.maximum(points, 0.0)
        most = self.sampling_ratio or tf.cast(tf.reduce_max(tf.concat([points, [1.0]], 0)), tf.int32)

        # [K, size, most]
        points, step, start = (each[:, None, None] for each in (points, step, start))
        number = tf.cast(tf.range(most), tf.float32)[None, None]
        bin_number = tf.range(self.size, dtype=tf.float32)[None, :, None]
        place = start + bin_number * step + (number + 0.5) * step / tf.maximum(points, 1.0)
        last = tf.cast(extent, tf.float32)[:, None, None] - 1
        counts = (number < points) & (place >= -1) & (place <= last + 1)
        place = tf.clip_by_value(place, 0.0, last)
        before = tf.minimum(tf.floor(place), last)
        behind = tf.minimum(before + 1, last)
        share = tf.where(counts, 1 / tf.maximum(points, 1.0), 0.0)  # of the bin's mean
        fraction = place - before
        pixels = tf.concat([before, behind], axis=-1)
        return tf.cast(pixels, tf.int32), tf.concat([share * (1 - fraction), share * fraction], axis=-1)

    def compute_output_shape(self, maps_shape: Any, boxes_shape: Any) -> tuple[int | None, ...]:
        return (*boxes_shape[:2], self.size, self.size, maps_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "strides": list(self.strides),
            "size": self.size,
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
        }

"""What happens to an image between its file and the network, as data that travels with the weights.

The same TensorFlow operations run in the training pipeline and in the exported graph, so a server computes exactly what
the model was trained on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from kapps.data.decoding import composite_over_white
from kapps.data.size_normalisation import is_size_normalised, size_normalise
from kapps.errors import DataError, RecipeError, nearest

Fit = Literal["stretch", "crop", "letterbox", "digit"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "area", "lanczos3", "lanczos5"]
ChannelOrder = Literal["rgb", "bgr"]

_MAX_SIDE = 8192

# Before a crop that covers the target, a longer side is cut down to this many times the shorter one: nothing of the
# result is lost, and a 1x50,000 image cannot be blown up to 224x11,200,000.
_MAX_ASPECT = 16


@dataclass(frozen=True)
class Preprocessing:
    """An image of any size -> the float32 `[h, w, channels]` that a network takes.

    In this order: alpha is composited over white; grey becomes colour or colour grey (ITU-R BT.601 luma, as Pillow's
    "L"); the image is fitted to `size`; channels are put into `channel_order`; then `(pixel * scale - mean) / std`.

    Attributes:
        size: (height, width) of the result.
        channels: 1 (grey) or 3.
        fit: `"stretch"` resizes both sides; `"crop"` keeps the aspect, covers and takes the centre; `"letterbox"` keeps
            the aspect, fits inside and fills the rest; `"digit"` is the size normalisation of LeCun et al. 1998 for one
            handwritten character (see `kapps.data.size_normalisation`): bright ink on black, centred by mass. An image
            that already has that size and form passes unchanged.
        crop_ratio: for `"crop"`: the side of the crop as a part of what is resized to; 224 out of 256 is 0.875.
        fill: for `"letterbox"`: the pixel value (0..255) around the image.
        interpolation: a method of `tf.image.resize`.
        antialias: filter before sampling down, as Pillow does.
        scale: pixels 0..255 are multiplied by it first.
        mean: then subtracted, one number or one for each channel in `channel_order`.
        std: then divided by, likewise.
        channel_order: `"rgb"`, or `"bgr"` for networks from Caffe.

    Raises:
        RecipeError: a value that cannot be used.
    """

    size: tuple[int, int]
    channels: int = 3
    fit: Fit = "stretch"
    crop_ratio: float = 1.0
    fill: float = 0.0
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self):
        _check(
            _is_sequence(self.size)
            and len(self.size) == 2
            and all(_is_int(side) and 1 <= side <= _MAX_SIDE for side in self.size),
            "size",
            f"(height, width) with sides of 1 to {_MAX_SIDE}",
            self.size,
        )
        _check(_is_int(self.channels) and self.channels in (1, 3), "channels", "1 or 3", self.channels)
        for field, choices in (("fit", Fit), ("interpolation", Interpolation), ("channel_order", ChannelOrder)):
            value = getattr(self, field)
            _check(value in get_args(choices), field, "one of " + ", ".join(get_args(choices)), value)
        _check(isinstance(self.antialias, bool), "antialias", "true or false", self.antialias)
        _check(
            _is_number(self.crop_ratio) and 0 < self.crop_ratio <= 1, "crop_ratio", "over 0, at most 1", self.crop_ratio
        )
        _check(_is_number(self.fill) and 0 <= self.fill <= 255, "fill", "a pixel value from 0 to 255", self.fill)
        _check(_is_number(self.scale) and self.scale > 0, "scale", "a positive number", self.scale)
        for field in ("mean", "std"):
            value = getattr(self, field)
            _check(
                _is_sequence(value) and len(value) in (1, self.channels) and all(map(_is_number, value)),
                field,
                f"1 or {self.channels} numbers",
                value,
            )
        _check(all(value > 0 for value in self.std), "std", "positive numbers", self.std)
        # Lists come from JSON; tuples keep the object hashable.
        for field in ("size", "mean", "std"):
            object.__setattr__(self, field, tuple(getattr(self, field)))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON holds them; `from_dict` gives the same object back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """The object that `to_dict` described.

        Raises:
            RecipeError: an unknown field (named with the nearest right one), a missing `size`, or a wrong value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                near = nearest(name, known)
                advice = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known)
                raise RecipeError(f"preprocessing has no field {name!r}: {advice}")
        if "size" not in fields:
            raise RecipeError("preprocessing needs the field 'size': give [height, width]")
        return cls(**fields)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the result."""
        return (*self.size, self.channels)

    def is_pointwise(self, input_shape: tuple[int | None, ...]) -> bool:
        """Whether images of this shape are only scaled pixel by pixel, so that preparing them once gains nothing."""
        if None in input_shape or tuple(input_shape[:2]) != self.size:
            return False
        return self.fit in ("stretch", "letterbox") or (self.fit == "crop" and self.crop_ratio == 1)

    @tf.autograph.experimental.do_not_convert
    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """One image, uint8 `[H, W, C]` with 1 to 4 channels (grey, grey + alpha, RGB, RGBA), also of unknown static
        shape.

        Returns:
            float32 `[h, w, channels]`.
        """
        pixels = self._to_channels(image)
        return self._scaled(self._fit_digit(pixels) if self.fit == "digit" else self._fit(pixels))

    @tf.autograph.experimental.do_not_convert
    def batch(self, images: tf.Tensor) -> tf.Tensor:
        """Images of one size, uint8 `[B, H, W, C]` -> float32 `[B, h, w, channels]`, the same numbers as one by one."""
        pixels = self._to_channels(images)
        return self._scaled(self._fit_digits(pixels) if self.fit == "digit" else self._fit(pixels))

    def places(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the pixels of an image come to lie in the result, to carry back what was found there.

        Args:
            height, width: of the image.

        Returns:
            float64 [height] and [width]: where the middle of each row and of each column lies, from 0, the first edge
            of the result, to 1, its last one. What is below 0 or above 1 was cut off.

        Raises:
            RecipeError: `fit` is `"digit"`, which moves every image in another way.
        """
        if self.fit == "digit":
            raise RecipeError('expected a fit that treats all images alike, got "digit"')
        # In float32 and step by step as in `_fit`, so that roundings fall alike.
        sides, size = np.array([height, width]), np.array(self.size)
        cut, resized, first = np.zeros(2, int), size, np.zeros(2, int)
        if self.fit == "crop":
            cut = np.maximum(sides - sides.min() * self._most_aspect(), 0) // 2
            sides = sides - 2 * cut
            cover = np.array([round(side / self.crop_ratio) for side in self.size])
            factor = np.float32(cover / sides.astype(np.float32)).max()
            resized = np.maximum(np.round(sides.astype(np.float32) * factor).astype(int), cover)
            first = (resized - size) // 2
        elif self.fit == "letterbox":
            factor = np.float32(size / sides.astype(np.float32)).min()
            resized = np.clip(np.round(sides.astype(np.float32) * factor).astype(int), 1, size)
            first = -((size - resized) // 2)
        rows, columns = (
            ((np.arange(whole) + 0.5 - cut[axis]) * resized[axis] / sides[axis] - first[axis]) / size[axis]
            for axis, whole in enumerate((height, width))
        )
        return rows, columns

    # Steps; all of them take [..., H, W, C] -------------------------------------------------------------------------

    def _to_channels(self, image: tf.Tensor) -> tf.Tensor:
        image = tf.convert_to_tensor(image)
        if image.dtype != tf.uint8:
            raise DataError(f"expected uint8 pixels 0..255 for a preprocessing, got {image.dtype.name}")
        image = composite_over_white(image)  # 1 or 3 channels
        pixels = tf.cast(image, tf.float32)
        if image.shape[-1] == self.channels:
            return pixels
        count = image.shape[-1] if image.shape[-1] is not None else tf.shape(image)[-1]
        # Copied once if it is colour already, three times if it is grey. Never both ways, so grey stays exact.
        repeats = tf.concat([tf.ones([image.shape.rank - 1], tf.int32), [3 // count]], axis=0)
        pixels = tf.ensure_shape(tf.tile(pixels, repeats), [*image.shape[:-1], 3])
        if self.channels == 3:
            return pixels
        red, green, blue = tf.split(pixels, 3, axis=-1)
        return green + 0.299 * (red - green) + 0.114 * (blue - green)  # exactly v where all three are v

    def _fit(self, pixels: tf.Tensor) -> tf.Tensor:
        if self.is_pointwise(tuple(pixels.shape[-3:])):
            return pixels
        height, width = self.size
        if self.fit == "stretch":
            pixels = self._resize(pixels, height, width)
        elif self.fit == "crop":
            # Covers the enlarged target with the whole image, then cuts the target out of the middle.
            pixels = self._limit_aspect(pixels)
            cover_height, cover_width = round(height / self.crop_ratio), round(width / self.crop_ratio)
            high, wide = self._sides(pixels)
            factor = tf.maximum(cover_height / high, cover_width / wide)
            new_height = tf.maximum(_rounded(high * factor), cover_height)
            new_width = tf.maximum(_rounded(wide * factor), cover_width)
            pixels = self._resize(pixels, new_height, new_width)
            top, left = (new_height - height) // 2, (new_width - width) // 2
            pixels = pixels[..., top : top + height, left : left + width, :]
        else:
            high, wide = self._sides(pixels)
            factor = tf.minimum(height / high, width / wide)
            new_height = tf.clip_by_value(_rounded(high * factor), 1, height)
            new_width = tf.clip_by_value(_rounded(wide * factor), 1, width)
            pixels = self._resize(pixels, new_height, new_width)
            top, left = (height - new_height) // 2, (width - new_width) // 2
            sides = [[top, height - new_height - top], [left, width - new_width - left], [0, 0]]
            pixels = tf.pad(pixels, [[0, 0]] * (pixels.shape.rank - 3) + sides, constant_values=self.fill)
        return tf.ensure_shape(pixels, [*pixels.shape[:-3], *self.output_shape])

    def _fit_digit(self, pixels: tf.Tensor) -> tf.Tensor:
        def fitted() -> tf.Tensor:
            grey = tf.reduce_mean(pixels, axis=-1)
            return tf.repeat(size_normalise(grey, self.size)[..., tf.newaxis], self.channels, axis=-1)

        if not pixels.shape[:2].is_compatible_with(self.size):
            return fitted()
        right_size = tf.reduce_all(tf.shape(pixels)[:2] == self.size)
        unchanged = right_size & is_size_normalised(pixels[..., 0])
        return tf.ensure_shape(tf.cond(unchanged, lambda: pixels, fitted), self.output_shape)

    def _fit_digits(self, pixels: tf.Tensor) -> tf.Tensor:
        def fitted() -> tf.Tensor:
            return tf.map_fn(self._fit_digit, pixels, fn_output_signature=tf.TensorSpec(self.output_shape))

        if not pixels.shape[1:3].is_compatible_with(self.size):
            return fitted()
        # The common case, a set of digits that are normalised already, needs no loop.
        right_size = tf.reduce_all(tf.shape(pixels)[1:3] == self.size)
        unchanged = right_size & tf.reduce_all(is_size_normalised(pixels[..., 0]))
        return tf.ensure_shape(tf.cond(unchanged, lambda: pixels, fitted), [None, *self.output_shape])

    def _scaled(self, pixels: tf.Tensor) -> tf.Tensor:
        if self.channel_order == "bgr":
            pixels = tf.reverse(pixels, axis=[-1])
        pixels = pixels * self.scale
        # Left out where they do nothing: it keeps the exported graph short.
        if any(self.mean):
            pixels = pixels - tf.constant(self.mean, tf.float32)
        if any(value != 1 for value in self.std):
            pixels = pixels / tf.constant(self.std, tf.float32)
        return pixels

    def _resize(self, pixels: tf.Tensor, height: Any, width: Any) -> tf.Tensor:
        return tf.image.resize(pixels, [height, width], self.interpolation, antialias=self.antialias)

    def _sides(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.cast(tf.shape(pixels), tf.float32)
        return shape[-3], shape[-2]

    def _limit_aspect(self, pixels: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(pixels)
        high, wide = shape[-3], shape[-2]
        most = tf.minimum(high, wide) * self._most_aspect()
        top, left = tf.maximum(high - most, 0) // 2, tf.maximum(wide - most, 0) // 2
        return pixels[..., top : high - top, left : wide - left, :]

    def _most_aspect(self) -> int:
        return _MAX_ASPECT * math.ceil(max(self.size) / min(self.size))


def _rounded(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(value), tf.int32)


def _check(right: bool, field: str, expected: str, value: Any) -> None:
    if not right:
        raise RecipeError(f"preprocessing.{field}: expected {expected}, got {value!r}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple))

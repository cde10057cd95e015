"""Other views of an image with boxes, for training: mirrored, nearer or farther, in another light.

All that is drawn follows from the seed, so a run that was killed goes on as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from kapps.errors import RecipeError

# A shrunken image leaves room: grey, as in Ghiasi et al. 2021.
_GREY = 128


@dataclass(frozen=True)
class BoxAugment:
    """A random view of an image, its boxes moved with the pixels; for `BoxDataset.batches`.

    In this order:

    1. mirrored left to right, every second time;
    2. scale jittering: Ghiasi, Cui, Srinivas, Qian, Lin, Cubuk, Le, Zoph: "Simple Copy-Paste is a Strong Data
       Augmentation Method", CVPR 2021, figure 3: the image is resized by one factor and brought back to its own
       size: a larger one is cropped at a random place, a smaller one padded with grey at the right and at the bottom.
       Their standard jittering is `scale=(0.8, 1.25)`, their large one `(0.1, 2.0)`;
    3. brightness, contrast, saturation and hue, each every second time: Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg:
       "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2, with the strengths of their code.

    A box is clipped to what is left of the image. It is dropped where its centre falls outside, as in SSD's crops, or
    where less than `min_visible` of its area stays. An image may lose all its boxes.

    Attributes:
        flip: whether to mirror.
        scale: least and largest factor, all between equally likely; (1, 1) leaves size and place alone.
        min_visible: 0 to 1.
        brightness: at most so much is added to or taken from pixels that count as 0..1.
        contrast: the factor of the distance from the mean is within this of 1; at most 1.
        saturation: the saturation's factor is within this of 1; at most 1.
        hue: at most this part of the colour circle, up to 0.5.

    Raises:
        RecipeError: a value that cannot be used.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # in a recipe, unknown fields are errors

    flip: bool = True
    scale: tuple[float, float] = (0.8, 1.25)
    min_visible: float = 0.25
    brightness: float = 32 / 255
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 18 / 360

    def __post_init__(self):
        _check(isinstance(self.flip, bool), "flip", "true or false", self.flip)
        _check(
            isinstance(self.scale, (list, tuple))
            and len(self.scale) == 2
            and all(map(_is_number, self.scale))
            and 0.01 <= self.scale[0] <= self.scale[1] <= 10,
            "scale",
            "the least and the largest factor, 0.01 to 10",
            self.scale,
        )
        object.__setattr__(self, "scale", tuple(self.scale))  # lists come from JSON
        for field, most in (("min_visible", 1), ("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            value = getattr(self, field)
            _check(_is_number(value) and 0 <= value <= most, field, f"a number from 0 to {most}", value)

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One view; the same seed gives the same one.

        Args:
            image: uint8 `[H, W, 3]`.
            boxes: float32 `[M, 4]`, "xyxy" in pixels, inside the image. M may be 0.
            classes: integers `[M]`.
            seed: two integers.

        Returns:
            uint8 `[H, W, 3]`, the boxes float32 `[K, 4]` and the classes `[K]` of those that stay, in their order.
        """
        image = tf.ensure_shape(image, [None, None, 3])
        boxes = tf.ensure_shape(boxes, [None, 4])
        seeds = iter(tf.unstack(tf.random.split(seed, 11)))
        if self.flip:
            image, boxes = _mirrored(image, boxes, _every_second_time(next(seeds)))
        if self.scale != (1, 1):
            image, boxes, kept = self._rescaled(image, boxes, next(seeds), next(seeds))
            boxes, classes = tf.boolean_mask(boxes, kept), tf.boolean_mask(classes, kept)
        if any((self.brightness, self.contrast, self.saturation, self.hue)):
            image = self._in_other_light(image, seeds)
        return image, boxes, classes

    def _rescaled(
        self, image: tf.Tensor, boxes: tf.Tensor, scale_seed: tf.Tensor, place_seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Image and boxes, and bool [M]: which boxes stay."""
        sides = tf.shape(image)[:2]  # height, width
        factor = tf.random.stateless_uniform([], scale_seed, *self.scale)
        resized = tf.maximum(tf.cast(tf.round(tf.cast(sides, tf.float32) * factor), tf.int32), 1)
        pixels = tf.image.resize(image, resized, antialias=True)
        # Where the crop begins: anywhere, so that it lies inside.
        room = tf.cast(tf.maximum(resized - sides, 0), tf.float32)
        first = tf.cast(tf.floor(tf.random.stateless_uniform([2], place_seed) * (room + 1)), tf.int32)
        pixels = pixels[first[0] : first[0] + sides[0], first[1] : first[1] + sides[1]]
        missing = tf.maximum(sides - resized, 0)
        pixels = tf.pad(pixels, [[0, missing[0]], [0, missing[1]], [0, 0]], constant_values=_GREY)
        image = tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8), [None, None, 3])

        def both(y_x: tf.Tensor) -> tf.Tensor:
            """(y, x) -> (x, y, x, y) as float32."""
            return tf.cast(tf.tile(tf.reverse(y_x, [0]), [2]), tf.float32)

        moved = boxes * both(resized) / both(sides) - both(first)
        clipped = tf.clip_by_value(moved, 0.0, both(sides))
        centre = (moved[:, :2] + moved[:, 2:]) / 2
        kept = tf.reduce_all((centre >= 0) & (centre <= both(sides)[:2]), axis=-1)
        area, before = _area(clipped), _area(moved)
        return image, clipped, kept & (area > 0) & (area >= self.min_visible * before)

    def _in_other_light(self, image: tf.Tensor, seeds: Iterator[tf.Tensor]) -> tf.Tensor:
        def brightness(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            return tf.image.stateless_random_brightness(pixels, self.brightness, seed)

        def contrast(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            return tf.image.stateless_random_contrast(pixels, 1 - self.contrast, 1 + self.contrast, seed)

        def saturation(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            return tf.image.stateless_random_saturation(pixels, 1 - self.saturation, 1 + self.saturation, seed)

        def hue(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            return tf.image.stateless_random_hue(pixels, self.hue, seed)

        pixels = tf.cast(image, tf.float32) / 255
        for change in (brightness, contrast, saturation, hue):
            if getattr(self, change.__name__):
                pixels = _sometimes(change, pixels, next(seeds), next(seeds))
        return tf.cast(tf.round(pixels * 255), tf.uint8)


def _mirrored(image: tf.Tensor, boxes: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    width = tf.cast(tf.shape(image)[1], tf.float32)
    left, top, right, bottom = tf.unstack(boxes, axis=-1)
    other = tf.stack([width - right, top, width - left, bottom], axis=-1)
    return tf.cond(wanted, lambda: (tf.reverse(image, [1]), other), lambda: (image, boxes))


def _sometimes(change: Callable[..., tf.Tensor], pixels: tf.Tensor, coin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The change of pixels 0..1 every second time; then what leaves the range is cut off."""
    return tf.cond(_every_second_time(coin), lambda: tf.clip_by_value(change(pixels, seed), 0.0, 1.0), lambda: pixels)


def _every_second_time(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed) < 0.5


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _check(right: bool, field: str, expected: str, value: Any) -> None:
    if not right:
        raise RecipeError(f"box_augment.{field}: expected {expected}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

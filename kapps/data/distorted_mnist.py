"""Distorted MNIST: each digit turned, scaled and put somewhere on a larger canvas, always in the same way.

The set "RTS" (rotation, translation, scale) of Jaderberg et al.: "Spatial Transformer Networks", NIPS 2015, supplement:
a turn of -45 to +45 degrees, a scale of 0.7 to 1.2 and a random place on 42x42 pixels. Training and test digits are
distorted alike. A digit's distortion follows from its own pixels, so it is the same in every slice, order and run.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import tensorflow as tf

from kapps.data import tfds
from kapps.data.dataset import Dataset

CANVAS = 42
MAX_TURN = 45.0
SCALES = (0.7, 1.2)

_INK = 20  # MNIST's digits fit into 20x20 pixels around the middle of their 28x28


def load_split(split: str = "train", *, data_dir: str | Path | None = None, download: bool = False) -> Dataset:
    """MNIST's split, distorted: images uint8 `[42, 42, 1]`; arguments and errors as in `kapps.data.tfds.load_split`."""
    plain = tfds.load_split("mnist", split, data_dir=data_dir, download=download)
    distorted = plain.map(lambda image, label: (distort(image), label))
    source = f"{plain.source}, distorted (kapps.data.distorted_mnist)"
    return dataclasses.replace(distorted, name="distorted_mnist", source=source)


def distort(image: tf.Tensor) -> tf.Tensor:
    """One digit uint8 `[28, 28, 1]` to uint8 `[42, 42, 1]`; what it depends on is the image alone."""
    pixels = tf.cast(tf.reshape(image, [-1]), tf.int64)
    seed = tf.stack([tf.reduce_sum(pixels * tf.range(1, 785, dtype=tf.int64) ** 2), 2015])
    turn, size, across, down = tf.unstack(tf.random.stateless_uniform([4], seed))
    turn = (2 * turn - 1) * math.radians(MAX_TURN)
    scale = SCALES[0] + size * (SCALES[1] - SCALES[0])
    cos, sin = tf.cos(turn), tf.sin(turn)
    # As far from the canvas' middle as the turned square of ink can go.
    room = CANVAS / 2 - scale * _INK / 2 * (tf.abs(cos) + tf.abs(sin))
    x, y = ((2 * part - 1) * room + (CANVAS - 1) / 2 for part in (across, down))
    # From a pixel of the canvas, seen from the digit's middle (x, y), back to the pixel of the digit.
    a, b, middle = cos / scale, sin / scale, (28 - 1) / 2
    backwards = tf.stack([a, b, middle - a * x - b * y, -b, a, middle + b * x - a * y, 0.0, 0.0])
    turned = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image[tf.newaxis], tf.float32),
        transforms=backwards[tf.newaxis],
        output_shape=[CANVAS, CANVAS],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.ensure_shape(tf.cast(tf.round(turned[0]), tf.uint8), [CANVAS, CANVAS, 1])

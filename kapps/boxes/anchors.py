"""Anchors: the boxes of fixed sizes and shapes, laid over a grid, that region proposals start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """The anchors of one place, around (0, 0), rounded to whole pixels.

    Args:
        sizes: square roots of the areas, in pixels.
        ratios: heights over widths.

    Returns:
        float32 [ratios * sizes, 4], `"xyxy"`; all sizes of the first ratio first.
    """
    scales = np.asarray(sizes, "float32")
    root = np.sqrt(np.asarray(ratios, "float32"))[:, None]
    heights, widths = (root * scales).reshape(-1), (1 / root * scales).reshape(-1)
    return np.rint(np.stack([-widths, -heights, widths, heights], axis=1) / 2)  # of halves: to the even number


def grid_anchors(cells: np.ndarray, grid: tuple[Any, Any], image: tuple[Any, Any]) -> tf.Tensor:
    """`cells` at every place of a feature map, as torchvision's `AnchorGenerator` lays them.

    Places are a whole number of pixels apart, image over map rounded down, and the first is the corner (0, 0) of the
    image.

    Args:
        cells: [A, 4], what `cell_anchors` gives.
        grid: height and width of the map: numbers or scalar tensors.
        image: height and width of the image in pixels.

    Returns:
        float32 [height * width * A, 4], `"xyxy"`: row by row, the anchors of one place together.
    """
    (height, width), (image_height, image_width) = grid, image
    y = tf.cast(tf.range(height) * (image_height // height), tf.float32)
    x = tf.cast(tf.range(width) * (image_width // width), tf.float32)
    x, y = tf.meshgrid(x, y)
    places = tf.reshape(tf.stack([x, y, x, y], axis=-1), [-1, 1, 4])
    return tf.reshape(places + cells, [-1, 4])

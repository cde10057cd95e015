"""R-CNN's warping: every region becomes an image of the network's size, whatever its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kapps.errors import DataError


def warp_regions(
    image: np.ndarray, boxes: Any, size: int, *, context: float = 16, fill: Sequence[float] = (0.0, 0.0, 0.0)
) -> tf.Tensor:
    """Every box of an image stretched to a square, with some of what lies around it.

    Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies", CVPR 2014, section 2.1 and appendix A, figure 7 (D):
    before it is warped, a box grows so that in the result exactly `context` pixels on each side show what is around it;
    what lies outside the image becomes the mean colour.

    Bilinear without antialiasing, as the authors' code has it; unlike there, the grown box is not rounded to pixels.

    Args:
        image: [H, W, 3], numbers 0 to 255.
        boxes: float32 [N, 4], `"xyxy"`; N may be 0. They may reach over the border. One without area gives a line or
            a point stretched.
        size: side of the squares, in pixels.
        context: p of the paper, in pixels of the result; below half of `size`.
        fill: the colour outside of the image.

    Returns:
        float32 [N, size, size, 3], numbers 0 to 255.

    Raises:
        DataError: a context that leaves nothing of the box.
    """
    if size < 1 or not 0 <= context < size / 2:
        raise DataError(
            f"warp_regions: expected a context from 0 to below half of the size, got {context} of {size}: make one of "
            "them fit the other"
        )
    boxes = tf.reshape(tf.convert_to_tensor(boxes, tf.float32), [-1, 4])
    # One more pixel of the same colour around the image: between a border pixel's middle and its edge nothing changes.
    padded = tf.cast(tf.pad(image, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC"), tf.float32)[None]
    height, width = np.shape(image)[:2]
    rows, inside_rows = _places(boxes[:, 1], boxes[:, 3], size, context, height)
    columns, inside_columns = _places(boxes[:, 0], boxes[:, 2], size, context, width)
    # The kernel's places go from 0, the first pixel's middle, to 1, the last one's.
    asked = tf.stack([rows[0], columns[0], rows[1], columns[1]], axis=1)
    warped = tf.image.crop_and_resize(padded, asked, tf.zeros(tf.shape(boxes)[:1], tf.int32), (size, size))
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return tf.where(inside[..., None], warped, tf.constant(fill, tf.float32))


def _places(
    start: tf.Tensor, end: tf.Tensor, size: int, context: float, extent: int
) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Along one axis: where the first and the last point of each box lie, [N] each, and which lie inside, [N, size]."""
    step = (end - start) / (size - 2 * context)
    first = start + (0.5 - context) * step  # the middle of the result's first pixel; the image goes from 0 to extent
    points = first[:, None] + step[:, None] * tf.range(size, dtype=tf.float32)
    inside = (points >= 0) & (points <= extent)
    # The padding moves all by a pixel; the middle of pixel i is at i + 0.5.
    first, last = ((place + 0.5) / (extent + 1) for place in (first, first + step * (size - 1)))
    return (first, last), inside

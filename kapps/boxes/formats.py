"""Box formats under Keras' names, and what a single box is asked for: its area, and to stay inside the image."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kapps.errors import DataError, UnknownNameError

# Those of keras.utils.bounding_boxes; `rel_` is relative to the image's width and height.
FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


def convert(boxes: Any, source: str, target: str, height: Any = None, width: Any = None) -> Any:
    """Boxes in another format, by `keras.utils.bounding_boxes.convert_format`.

    Args:
        boxes: [..., 4] in the format `source`; no boxes, [..., 0, 4], are boxes, too.
        source: one of `FORMATS`.
        target: one of `FORMATS`.
        height: of the image in pixels, where one of the two formats is relative.
        width: of the image in pixels, likewise.

    Returns:
        float32 [..., 4].

    Raises:
        UnknownNameError: no format has this name; the message gives the nearest.
        DataError: boxes of another shape, or a relative format without the image's size.
    """
    for name in (source, target):
        if name not in FORMATS:
            raise UnknownNameError("box format", name, FORMATS)
    boxes = ops.convert_to_tensor(boxes, "float32")
    if not len(boxes.shape) or boxes.shape[-1] != 4:
        raise DataError(f"boxes: expected 4 numbers each, shape [..., 4], found {tuple(boxes.shape)}; reshape them")
    # Keras asks for the size even between two relative formats, which do not need it.
    if source.startswith("rel_") and target.startswith("rel_"):
        source, target = source.removeprefix("rel_"), target.removeprefix("rel_")
    elif source.startswith("rel_") != target.startswith("rel_") and (height is None or width is None):
        raise DataError(f"boxes: expected height and width of the image to go from {source!r} to {target!r}: give both")
    return keras.utils.bounding_boxes.convert_format(boxes, source, target, height=height, width=width)


def clip(boxes: Any, height: Any, width: Any) -> Any:
    """Boxes [..., 4] cut at the image's borders; one that lies outside becomes a line or a point on the border.

    Args:
        boxes: `"xyxy"`.
        height: of the image in pixels: a number, or a tensor that broadcasts against [...], e.g. [B, 1] for [B, N, 4].
        width: likewise.
    """
    boxes = ops.convert_to_tensor(boxes)
    height, width = ops.cast(height, boxes.dtype), ops.cast(width, boxes.dtype)
    limits = (width, height, width, height)
    return ops.stack(
        [ops.minimum(ops.maximum(boxes[..., side], 0), limit) for side, limit in enumerate(limits)], axis=-1
    )


def area(boxes: Any) -> Any:
    """[...] in square pixels of boxes [..., 4], `"xyxy"`; 0 of one whose right is left of its left."""
    boxes = ops.convert_to_tensor(boxes)
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]

"""A box as its difference to another one: what the regressions of the R-CNN family learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

# A box grows at most by this factor, so that exp cannot overflow early in training: Detectron's limit.
_LARGEST_GROWTH = math.log(1000 / 16)
_SMALLEST = 1e-7  # a side of zero has no logarithm


def encode(boxes: Any, anchors: Any, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Any:
    """`(w_x (x - x_a) / w_a, w_y (y - y_a) / h_a, w_w log(w / w_a), w_h log(h / h_a))` of centres and sizes.

    Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies", CVPR 2014, appendix C, equations 6 to 9.

    Args:
        boxes: [..., 4], `"xyxy"`: the ones to describe. A side of zero counts as 1e-7, so nothing becomes infinite.
        anchors: [..., 4], which they are described by; broadcasts against `boxes`.
        weights: (w_x, w_y, w_w, w_h); they bring the four numbers to about the same spread, e.g. (10, 10, 5, 5).

    Returns:
        [..., 4].
    """
    x, y, width, height = _centre_and_size(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centre_and_size(anchors)
    anchor_width, anchor_height = ops.maximum(anchor_width, _SMALLEST), ops.maximum(anchor_height, _SMALLEST)
    return ops.stack(
        [
            weights[0] * (x - anchor_x) / anchor_width,
            weights[1] * (y - anchor_y) / anchor_height,
            weights[2] * ops.log(ops.maximum(width, _SMALLEST) / anchor_width),
            weights[3] * ops.log(ops.maximum(height, _SMALLEST) / anchor_height),
        ],
        axis=-1,
    )


def decode(deltas: Any, anchors: Any, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Any:
    """The boxes [..., 4], `"xyxy"`, that `encode` gives `deltas` for; none is over 62.5 times as wide as its anchor.

    Args:
        deltas: [..., 4].
        anchors: [..., 4]; broadcasts against `deltas`: [N, 1, 4] for the deltas [N, classes, 4].
        weights: as `encode` had them.
    """
    deltas = ops.convert_to_tensor(deltas)
    anchor_x, anchor_y, anchor_width, anchor_height = _centre_and_size(anchors)
    x = deltas[..., 0] / weights[0] * anchor_width + anchor_x
    y = deltas[..., 1] / weights[1] * anchor_height + anchor_y
    half_width = 0.5 * ops.exp(ops.minimum(deltas[..., 2] / weights[2], _LARGEST_GROWTH)) * anchor_width
    half_height = 0.5 * ops.exp(ops.minimum(deltas[..., 3] / weights[3], _LARGEST_GROWTH)) * anchor_height
    return ops.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)


def _centre_and_size(boxes: Any) -> tuple[Any, Any, Any, Any]:
    boxes = ops.convert_to_tensor(boxes)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + 0.5 * width, boxes[..., 1] + 0.5 * height, width, height

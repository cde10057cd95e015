"""How much two boxes have in common: intersection over union, and its form that tells how far apart they are."""

from __future__ import annotations

from typing import Any

from keras import ops

from kapps.boxes.formats import area


def iou(first: Any, second: Any) -> Any:
    """Intersection over union of each pair, 0 to 1.

    Args:
        first: [..., N, 4], `"xyxy"`.
        second: [..., M, 4].

    Returns:
        [..., N, M]; 0, not NaN, where both boxes have no area.
    """
    intersection, union, _ = _areas(first, second)
    return ops.divide_no_nan(intersection, union)


def giou(first: Any, second: Any) -> Any:
    """Generalised intersection over union of each pair, -1 to 1: below 0 it falls with the gap between the boxes.

    Rezatofighi, Tsoi, Gwak, Sadeghian, Reid, Savarese: "Generalized Intersection over Union", CVPR 2019, algorithm 1:
    of the smallest box around both, the share that neither covers is taken off. Arguments and shape as `iou`; of a pair
    whose common box has no area, nothing is taken off.
    """
    intersection, union, hull = _areas(first, second)
    return ops.divide_no_nan(intersection, union) - ops.divide_no_nan(hull - union, hull)


def _areas(first: Any, second: Any) -> tuple[Any, Any, Any]:
    """[..., N, M] each: areas of the intersection, of the union and of the smallest box around both."""
    first, second = ops.convert_to_tensor(first), ops.convert_to_tensor(second)
    first, second = ops.expand_dims(first, -2), ops.expand_dims(second, -3)  # [..., N, 1, 4], [..., 1, M, 4]
    shared = ops.minimum(first[..., 2:], second[..., 2:]) - ops.maximum(first[..., :2], second[..., :2])
    around = ops.maximum(first[..., 2:], second[..., 2:]) - ops.minimum(first[..., :2], second[..., :2])
    shared, around = ops.maximum(shared, 0), ops.maximum(around, 0)
    intersection = shared[..., 0] * shared[..., 1]
    return intersection, area(first) + area(second) - intersection, around[..., 0] * around[..., 1]

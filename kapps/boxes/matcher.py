"""Which true box an anchor or a proposal stands for, if any."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import ops

from kapps.errors import DataError

# What stands in place of a true box's number.
BACKGROUND, IGNORED = -1, -2


def match(quality: Any, high: float, low: float, *, allow_low_quality_matches: bool = False, valid: Any = None) -> Any:
    """The true box of each candidate by overlap.

    Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, section 3.1.2: the one with the highest IoU, if that is `high` or
    more; below `low` the candidate is background; between the two it is ignored. With `allow_low_quality_matches` the
    candidates with the highest IoU of each true box (all, where they tie) are taken even so, each for its own best box:
    no true box is lost that touches any candidate.

    Args:
        quality: [..., M, N], e.g. the IoU of M true boxes with N candidates. M and N may be 0.
        high: the least quality of a match.
        low: the least quality that is not background; at most `high`.
        allow_low_quality_matches: see above.
        valid: bool [..., M], False for rows that only pad a batch; None = all are true boxes.

    Returns:
        int32 [..., N]: the number of the true box, `BACKGROUND` (-1) or `IGNORED` (-2).

    Raises:
        DataError: `low` is above `high`.
    """
    if low > high:
        raise DataError(f"match: expected low at most high, found low {low} and high {high}; exchange them")
    quality = ops.convert_to_tensor(quality)
    if valid is not None:
        quality = ops.where(ops.expand_dims(valid, -1), quality, -1.0)
    # One more row that never wins, so that there is a best row where there is no true box.
    row = ops.zeros_like(ops.sum(quality, axis=-2, keepdims=True)) - 1
    with_row = ops.concatenate([quality, row], axis=-2)
    best, number = ops.max(with_row, axis=-2), ops.cast(ops.argmax(with_row, axis=-2), "int32")

    matches = ops.where(best >= high, number, IGNORED)
    matches = ops.where(best < low, BACKGROUND, matches)
    if allow_low_quality_matches:
        # Of the row that never wins and of a true box that touches nothing, the highest quality is not above 0.
        highest = tf.reduce_max(with_row, axis=-1, keepdims=True)  # of no candidates: minus infinity
        forced = ops.any((with_row == highest) & (highest > 0), axis=-2)
        matches = ops.where(forced, number, matches)
    return matches

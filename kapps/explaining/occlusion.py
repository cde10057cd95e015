"""Occlusion: how much of the score is lost when a patch of the image is covered.

M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", 2013, arXiv:1311.2901, section 4.2 and
figure 6. Needs no gradient, so it also explains models that have none.

Deviations: the paper shows the score at each position of the patch; here every pixel gets the mean loss over the
patches that cover it, so that the map has the image's size and a positive value means "for the class" as elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kapps.errors import RecipeError
from kapps.explaining.attribution import Attribution, baseline_image, start

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model


def occlusion(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    patch: int | tuple[int, int] | None = None,
    stride: int | None = None,
    baseline: float | np.ndarray | None = None,
    batch_size: int = 32,
) -> Attribution:
    """The mean loss of score over the patches that cover each pixel; negative where covering raises the score.

    Args:
        model: a `Predictor` or a Keras model that gives scores [B, N].
        image: float32 [h, w, c], preprocessed.
        target: the class to explain; None = the predicted one.
        of: `"score"`, `"evidence"` (before the softmax or sigmoid) or None; see `kapps.explaining.attribution.start`.
        patch: side, or (height, width), of the covering patch in pixels; None = a seventh of the shorter side.
        stride: pixels between patches, at most the patch's side; None = half of it. The last row and column of patches
            are moved inward so that every pixel is covered.
        baseline: what covers, preprocessed: a number for all pixels, [c], or [h, w, c]; None = black for an exported
            model, 0 for a Keras model, whose preprocessing is not known.
        batch_size: covered images a step; it does not change the result.

    Returns:
        An `Attribution` with the details `patch`, `stride` and `largest_drop` (the greatest loss by a single patch).

    Raises:
        RecipeError: a patch that does not fit into the image, a stride that leaves pixels out, or `of` that the model
            does not give.
        DataError: an image or a baseline of another shape or type, or a target that is not a class.
    """
    asked = start(model, image, target, of)
    image = asked.image
    height, width = image.shape[:2]
    if patch is None:
        patch = max(1, round(min(height, width) / 7))
    tall, wide = (patch, patch) if isinstance(patch, int) else patch
    if stride is None:
        stride = max(1, min(tall, wide) // 2)
    if not (1 <= tall <= height and 1 <= wide <= width) or not 1 <= stride <= min(tall, wide):
        raise RecipeError(
            f"expected a patch of 1x1 to {height}x{width} and a stride from 1 to its shorter side, "
            f"got {tall}x{wide} and {stride}"
        )
    cover = baseline_image(model, image.shape, baseline)

    corners = [(top, left) for top in _starts(height, tall, stride) for left in _starts(width, wide, stride)]
    lost, times = np.zeros((height, width)), np.zeros((height, width))
    whole = asked.function(tf.constant(image[np.newaxis])).numpy()[0, asked.target]
    largest = -np.inf
    for begin in range(0, len(corners), batch_size):
        part = corners[begin : begin + batch_size]
        covered = np.repeat(image[np.newaxis], len(part), axis=0)
        for one, (top, left) in zip(covered, part, strict=True):
            one[top : top + tall, left : left + wide] = cover[top : top + tall, left : left + wide]
        drops = whole - asked.function(tf.constant(covered)).numpy()[:, asked.target].astype(np.float64)
        for drop, (top, left) in zip(drops, part, strict=True):
            lost[top : top + tall, left : left + wide] += drop
            times[top : top + tall, left : left + wide] += 1
        largest = max(largest, float(drops.max()))
    return Attribution(
        map=(lost / times).astype(np.float32),
        method="occlusion",
        target=asked.target,
        score=asked.score,
        signed=True,
        details={"explained": asked.explained, "patch": (tall, wide), "stride": stride, "largest_drop": largest},
    )


def _starts(length: int, patch: int, stride: int) -> list[int]:
    last = length - patch
    return [*range(0, last, stride), last]

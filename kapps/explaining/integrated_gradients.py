"""Integrated gradients: how much of the score each pixel brought on the straight way from a baseline to the image.

M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks", 2017, arXiv:1703.01365, equation 1:
IG_i = (x_i - x'_i) * integral over a in [0, 1] of dF(x' + a (x - x')) / dx_i. By the axiom of completeness (their
proposition 1) the attributions add up to F(x) - F(x'); how far the sum is off says whether the steps were enough.

Deviations: the paper sums at the right ends of equal steps (equation 3). Most of what happens on the way happens in a
small part of it: a unit saturates, a maximum changes hands. So the points are placed where they are needed, unless
asked otherwise. By the fundamental theorem of calculus the integral of the derivative over any piece of the way is
known, the difference of F at its ends; the pieces for which Simpson's rule misses it most are halved until the points
are used up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kapps.errors import RecipeError
from kapps.explaining.attribution import Attribution, baseline_image, start, values_and_gradients

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

RULES = ("adaptive", "gauss-legendre", "midpoint")
_FIRST = 17  # equally spaced points, before the adaptive rule knows where to look
_SPLITS = 2  # pieces that it halves at a time: fewer look closer, more fill a batch


def integrated_gradients(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    baseline: float | np.ndarray | None = None,
    steps: int = 50,
    rule: str = "adaptive",
    batch_size: int = 32,
) -> Attribution:
    """The contributions to the class, summed over the channels; positive for the class, negative against it.

    Args:
        model: a `Predictor` or a Keras model that gives scores [B, N].
        image: float32 [h, w, c], preprocessed.
        target: the class to explain; None = the predicted one.
        of: `"score"`, `"evidence"` (before the softmax or sigmoid) or None; see `kapps.explaining.attribution.start`.
        baseline: what stands for "no information", preprocessed too: a number for all pixels, [c], or [h, w, c];
            None = black for an exported model, 0 for a Keras model, whose preprocessing is not known.
        steps: points on the way, at which the gradient is taken; the adaptive rule takes an odd number of them.
        rule: `"adaptive"`, or fixed points: `"gauss-legendre"`, the best for smooth functions, or `"midpoint"`.
        batch_size: points a step; it does not change the result.

    Returns:
        An `Attribution` with the details `difference` (what is explained, at the image less at the baseline) and
        `completeness_delta`: |sum of the map - difference| / |difference|. Above 0.05, take more steps.

    Raises:
        RecipeError: an unknown rule, fewer than one step, or `of` that the model does not give.
        DataError: an image or a baseline of another shape or type, or a target that is not a class.
    """
    if steps < 1 or rule not in RULES:
        raise RecipeError(f"expected at least one step and a rule of {' or '.join(RULES)}, got {steps} and {rule!r}")
    asked = start(model, image, target, of)
    function, image, target = asked.function, asked.image, asked.target
    origin = baseline_image(model, image.shape, baseline)
    way = image - origin
    kept: list[np.ndarray] = []  # the gradient at every point, in the order in which they were asked about

    def along(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F and its derivative along the way, at points from 0 (the baseline) to 1 (the image)."""
        images = origin + points[:, None, None, None].astype(np.float32) * way
        found = list(values_and_gradients(function, images, target, batch_size))
        kept.extend(gradient for _, batch in found for gradient in batch)
        slopes = [np.tensordot(batch.astype(np.float64), way, axes=3) for _, batch in found]
        return np.concatenate([values for values, _ in found]), np.concatenate(slopes)

    if rule == "adaptive":
        weights = _adaptive(along, steps)
    else:
        if rule == "midpoint":
            points, weights = (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
        else:  # given for [-1, 1]
            points, weights = np.polynomial.legendre.leggauss(steps)
            points, weights = (points + 1) / 2, weights / 2
        along(points)
    mean_gradient = sum(weight * gradient.astype(np.float64) for weight, gradient in zip(weights, kept, strict=True))
    contributions = (way * mean_gradient).sum(axis=-1)

    ends = function(tf.constant(np.stack([image, origin]))).numpy()[:, target].astype(np.float64)
    difference = float(ends[0] - ends[1])
    delta = abs(contributions.sum() - difference)
    return Attribution(
        map=contributions.astype(np.float32),
        method="integrated_gradients",
        target=target,
        score=asked.score,
        signed=True,
        details={
            "explained": asked.explained,
            "completeness_delta": float(delta / abs(difference)) if difference else float(delta),
            "difference": difference,
            "steps": len(kept),
            "rule": rule,
        },
    )


def _adaptive(along: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], steps: int) -> np.ndarray:
    """Asks about at most `steps` points; their weights, in that order, are those of Simpson's rule on pieces of [0, 1].

    A piece has three points, and its neighbour begins where it ends.
    """
    first = min(_FIRST, steps - 1 + steps % 2)  # an odd number
    if first < 3:  # too few for a piece
        along(np.full(1, 0.5))
        return np.ones(1)
    points = np.linspace(0, 1, first)
    values, slopes = along(points)
    while True:
        order = np.argsort(points)
        x, f, g = points[order], values[order], slopes[order]
        length = x[2::2] - x[:-2:2]
        missed = np.abs(length / 6 * (g[:-2:2] + 4 * g[1::2] + g[2::2]) - (f[2::2] - f[:-2:2]))
        split = min(_SPLITS, (steps - len(points)) // 2, len(missed))
        if not split:
            break
        worst = 2 * np.argsort(-missed, kind="stable")[:split]
        new = np.concatenate([x[worst] + x[worst + 1], x[worst + 1] + x[worst + 2]]) / 2
        more_values, more_slopes = along(new)
        points = np.concatenate([points, new])
        values, slopes = np.concatenate([values, more_values]), np.concatenate([slopes, more_slopes])
    weights = np.zeros(len(points))
    for corner, share in ((0, 1), (1, 4), (2, 1)):  # neighbours share a point
        np.add.at(weights, order[corner : len(order) - 2 + corner : 2], share * length / 6)
    return weights

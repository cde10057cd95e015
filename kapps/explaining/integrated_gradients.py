"""Integrated gradients: how much of the score each pixel brought on the straight way from a baseline to the image.

M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks", 2017, arXiv:1703.01365, equation 1:
IG_i = (x_i - x'_i) * integral over a in [0, 1] of dF(x' + a (x - x')) / dx_i. By the axiom of completeness (their
proposition 1) the attributions add up to F(x) - F(x'); how far the sum is off says whether the steps were enough.

Deviations: the paper sums at the right ends of equal steps (equation 3); the Gauss-Legendre rule used here unless asked
otherwise needs fewer steps for the same error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kapps.errors import RecipeError
from kapps.explaining.attribution import Attribution, baseline_image, gradients, start

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

RULES = ("gauss-legendre", "midpoint")


def integrated_gradients(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    baseline: float | np.ndarray | None = None,
    steps: int = 50,
    rule: str = "gauss-legendre",
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
        steps: points on the way, at which the gradient is taken.
        rule: `"gauss-legendre"` or `"midpoint"`.
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
    if rule == "midpoint":
        points, weights = (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    else:  # given for [-1, 1]
        points, weights = np.polynomial.legendre.leggauss(steps)
        points, weights = (points + 1) / 2, weights / 2

    mean_gradient = np.zeros(image.shape)
    for begin in range(0, steps, batch_size):
        part = slice(begin, begin + batch_size)
        way = origin + points[part, None, None, None].astype(np.float32) * (image - origin)
        (gradient,) = gradients(function, way, target, batch_size)
        mean_gradient += np.tensordot(weights[part], gradient.astype(np.float64), axes=1)
    contributions = ((image - origin) * mean_gradient).sum(axis=-1)

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
            "steps": steps,
            "rule": rule,
        },
    )

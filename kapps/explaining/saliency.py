"""Saliency: the magnitude of the score's gradient with respect to each pixel.

K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", 2013, arXiv:1312.6034, section 3.1:
M_ij = max_c |dS/dI_ijc|. D. Smilkov et al., "SmoothGrad", 2017, arXiv:1706.03825: the mean of the gradient over noisy
copies of the image, which takes out the fluctuations of a piecewise linear network's gradient.

Deviations: the paper takes the class score before the softmax; where a model ends in one, this is the margin of that
score over the mean of the others'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kapps.errors import RecipeError
from kapps.explaining.attribution import Attribution, gradients, start

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model


def saliency(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    samples: int = 1,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int = 32,
) -> Attribution:
    """The largest absolute gradient over the channels, for each pixel; never negative.

    Args:
        model: a `Predictor` or a Keras model that gives scores [B, N].
        image: float32 [h, w, c], preprocessed.
        target: the class to explain; None = the predicted one.
        of: `"score"`, `"evidence"` (before the softmax or sigmoid) or None; see `kapps.explaining.attribution.start`.
        samples: 1 for the plain gradient; more (50 in the paper) for SmoothGrad.
        noise: SmoothGrad's standard deviation as a part of the image's range (0.1 to 0.2 in the paper).
        seed: of that noise.
        batch_size: images a step; it does not change the result.

    Raises:
        RecipeError: samples below 1, negative noise, or `of` that the model does not give.
        DataError: an image of another shape or type, or a target that is not a class.
    """
    if samples < 1 or noise < 0:
        raise RecipeError(f"expected samples of at least 1 and noise of at least 0, got {samples} and {noise}")
    asked = start(model, image, target, of)
    image = asked.image
    copies = np.repeat(image[np.newaxis], samples, axis=0)
    if samples > 1:
        spread = noise * (image.max() - image.min())
        copies += np.random.default_rng(seed).normal(0, spread, copies.shape).astype(np.float32)
    parts = gradients(asked.function, copies, asked.target, batch_size)
    gradient = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / samples
    return Attribution(
        map=np.abs(gradient).max(axis=-1).astype(np.float32),
        method="saliency",
        target=asked.target,
        score=asked.score,
        signed=False,
        details={"explained": asked.explained, "samples": samples} | ({"noise": noise} if samples > 1 else {}),
    )

"""A dense CRF behind any segmentation, after the fact: labels that follow the outlines in the image.

    scores = predictor.logits_function(image=images)["logits"].numpy()
    probabilities = refine(scores, images)

The weights are not trained: they are those that `fcn_scenes` may have behind it, in
`kapps/architectures/convolutional/fcn.py`.
"""

from __future__ import annotations

import numpy as np

from kapps.errors import DataError
from kapps.layers.dense_crf import DenseCRF


def refine(
    scores: np.ndarray,
    images: np.ndarray,
    *,
    reach: float = 20.0,
    contrast: float = 0.12,
    smoothing: float = 1.5,
    iterations: int = 3,
) -> np.ndarray:
    """The mean field of a fully connected CRF (`kapps.layers.dense_crf`) on top of a network's scores.

    Args:
        scores: float32 [B, h, w, N], before the softmax.
        images: float32 [B, h, w, c], as the network got them.
        reach: how far, in pixels, pixels that look alike pull at each other.
        contrast: how far their values may differ, as a part of the images' range.
        smoothing: how far, in pixels, all pixels do.
        iterations: of the mean field.

    Returns:
        Probabilities float32 [B, h, w, N].

    Raises:
        DataError: scores and images that do not fit each other, or numbers that the CRF cannot use.
    """
    scores, images = np.asarray(scores, np.float32), np.asarray(images, np.float32)
    low, high = float(images.min()), float(images.max())
    if high == low:  # one colour everywhere: any width separates nothing
        high = low + 1
    try:
        crf = DenseCRF(
            iterations,
            theta_alpha=reach,
            theta_beta=contrast * (high - low),
            theta_gamma=smoothing,
            method="grid",
            value_range=(low, high),
        )
        refined = np.asarray(crf(scores, images))
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from None
    powers = np.exp(refined - refined.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)

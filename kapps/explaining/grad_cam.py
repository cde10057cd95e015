"""Grad-CAM: where in a feature the channels are active that the class' score grows with.

R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017,
arXiv:1610.02391: the weight of channel k is the mean over the positions of dy / dA_k (equation 1), the map
ReLU(sum_k weight_k A_k) (equation 2), enlarged to the image by bilinear interpolation.

Deviations: none. y is what the softmax takes, as in the paper, where the model ends in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kapps.explaining.attribution import Attribution, start
from kapps.explaining.inner import feature_gradient, keras_model

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model


def grad_cam(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    feature: str | None = None,
) -> Attribution:
    """How much the active channels at each place speak for the class; never negative, 0 where they do not.

    Args:
        model: a `Predictor` or a Keras model that gives scores [B, N].
        image: float32 [h, w, c], preprocessed.
        target: the class to explain; None = the predicted one.
        of: `"score"`, `"evidence"` (what the softmax or sigmoid takes) or None: the evidence where there is one.
        feature: the layer whose output is looked at, e.g. `"stage3"`; of a model inside the model `"outer/inner"`.
            None: the last one that still has more than one position. Early ones show details, late ones things.

    Returns:
        An `Attribution` with the details `feature`, `shape` [y, x, k] and `weights` (float32 [k], of the channels).

    Raises:
        UnknownNameError: no such layer.
        RecipeError: `of` that the model does not give.
        DataError: an image of another shape or type, a target that is not a class, or a layer without positions.
        WeightsError: an exported model whose `model.keras` is missing or damaged.
    """

    def weights(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return gradient.mean(axis=(0, 1))

    return weighted_feature(model, image, target, of, feature, "grad_cam", weights)


def weighted_feature(
    model: Model,
    image: np.ndarray,
    target: int | None,
    of: str | None,
    feature: str | None,
    method: str,
    weigh: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Attribution:
    """What the variants of Grad-CAM share; they differ in `weigh`: (activation, gradient) [y, x, k] -> weights [k]."""
    asked = start(model, image, target, "score")
    activation, gradient, name, taken = feature_gradient(
        keras_model(model), tf.constant(asked.image[np.newaxis]), asked.target, feature, of
    )
    activation, gradient = activation.numpy()[0].astype(np.float64), gradient.numpy()[0].astype(np.float64)
    weights = weigh(activation, gradient)
    small = np.maximum(activation @ weights, 0)
    large = tf.image.resize(small[..., np.newaxis], asked.image.shape[:2]).numpy()[..., 0]
    return Attribution(
        map=large.astype(np.float32),
        method=method,
        target=asked.target,
        score=asked.score,
        signed=False,
        details={
            "explained": taken,
            "feature": name,
            "shape": list(activation.shape),
            "weights": weights.astype(np.float32),
        },
    )

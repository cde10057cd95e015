"""Grad-CAM++: Grad-CAM that gives every place its own weight, so that several things of one class all show.

A. Chattopadhay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks", 2018,
arXiv:1710.11063. With g = dS_c / dA_k, where the class' score is Y = exp(S_c), the share of a place (equation 19) is

    alpha = g^2 / (2 g^2 + (sum over all places of A_k) g^3)

and the weight of channel k the sum over the places of alpha ReLU(dY / dA_k) (equation 12).

Deviations: dY / dA_k = exp(S_c) g; the common factor exp(S_c) is left out, which changes the scale of the map only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kapps.explaining.attribution import Attribution
from kapps.explaining.grad_cam import weighted_feature

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model


def grad_cam_plus_plus(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    feature: str | None = None,
) -> Attribution:
    """Arguments, result and errors as of `kapps.explaining.grad_cam.grad_cam`."""
    return weighted_feature(model, image, target, of, feature, "grad_cam_plus_plus", _weights)


def _weights(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    total = activation.sum(axis=(0, 1))
    below = 2 * gradient**2 + total * gradient**3
    alpha = np.divide(gradient**2, below, out=np.zeros_like(below), where=below != 0)
    return (alpha * np.maximum(gradient, 0)).sum(axis=(0, 1))

"""Which pixels made a model say what it said: one method a file, all with the same arguments and result.

    saliency              how much the score would change with each pixel (Simonyan et al. 2013; SmoothGrad)
    integrated_gradients  how much of the score each pixel brought, compared with a baseline (Sundararajan et al. 2017)
    occlusion             how much of the score is lost when a patch is covered (Zeiler and Fergus 2013)
    grad_cam              where the channels are active that the score grows with (Selvaraju et al. 2017)
    grad_cam_plus_plus    the same with a weight for every place (Chattopadhay et al. 2018)

Importing this package loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kapps.errors import UnknownNameError

if TYPE_CHECKING:
    import numpy as np

    from kapps.explaining.attribution import Attribution, Model
    from kapps.explaining.overlay import to_image

METHODS = ("saliency", "integrated_gradients", "occlusion", "grad_cam", "grad_cam_plus_plus")

__all__ = ["METHODS", "Attribution", "attribute", "to_image"]


def attribute(
    model: Model,
    image: np.ndarray,
    *,
    method: str = "integrated_gradients",
    target: int | None = None,
    **options: Any,
) -> Attribution:
    """Explain one answer with a method chosen by name.

    Args:
        model: a `Predictor` or a Keras model that gives scores [B, N].
        image: float32 [h, w, c], preprocessed (`predictor.preprocess(x)[0]`).
        method: one of `METHODS`.
        target: the class to explain; None = the one the model predicts.
        options: of that method; see the function of the method's name in the module of that name.

    Raises:
        UnknownNameError: no such method.
        DataError: an image of another shape or type, or a target that is not a class.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    function = getattr(importlib.import_module(f"kapps.explaining.{method}"), method)
    return function(model, image, target=target, **options)


def __getattr__(name: str) -> Any:
    where = {"Attribution": "attribution", "to_image": "overlay"}.get(name)
    if where is None:
        raise AttributeError(f"module 'kapps.explaining' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"kapps.explaining.{where}"), name)

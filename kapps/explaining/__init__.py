"""Why a model says what it says: one method a file.

Which pixels made it say so, all with the same arguments and result:

    saliency                how much the score would change with each pixel (Simonyan et al. 2013; SmoothGrad)
    integrated_gradients    how much of the score each pixel brought, against a baseline (Sundararajan et al. 2017)
    guided_backpropagation  which pixels excite the class along ways that only excite (Springenberg et al. 2014)
    deconvnet               what the network's units answer to, run backwards (Zeiler and Fergus 2013)
    occlusion               how much of the score is lost when a patch is covered (Zeiler and Fergus 2013)
    grad_cam                where the channels are active that the score grows with (Selvaraju et al. 2017)
    grad_cam_plus_plus      the same with a weight for every place (Chattopadhay et al. 2018)
    lime                    a linear model near the image, of its parts (Ribeiro et al. 2016)
    shap                    how much of the score each part brought, by fair shares (Lundberg and Lee 2017)

`explain` is the one call for them all, and for texts, sounds and tables. What a network has learned, and whether its
explanations can be trusted:

    permutation_importance   what each feature of a table, or each channel, is worth
    maps                     t-SNE and PCA maps of a layer
    activation_maximisation  the image that a unit, a channel or a class answers to most
    filters                  the first layer's kernels
    layer_report             a row a layer: activations, dead units, gradients, effective rank, receptive field
    sanity                   random weights must change a map; deletion and insertion scores

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

# What needs no other package.
BUILT_IN = (
    "saliency",
    "integrated_gradients",
    "guided_backpropagation",
    "deconvnet",
    "occlusion",
    "grad_cam",
    "grad_cam_plus_plus",
)
METHODS = (*BUILT_IN, "lime", "shap")

__all__ = ["BUILT_IN", "METHODS", "Attribution", "attribute", "to_image"]


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
        model: a `Predictor` or a Keras model that gives scores [B, N]; for `occlusion`, `lime` and `shap` also a
            function from preprocessed images float32 [B, h, w, c] to scores [B, N].
        image: float32 [h, w, c], preprocessed (`predictor.preprocess(x)[0]`).
        method: one of `METHODS`; those that are not `BUILT_IN` need the extra `explain`.
        target: the class to explain; None = the one the model predicts.
        options: of that method; see the function of the method's name in the module of that name.

    Raises:
        UnknownNameError: no such method.
        DataError: an image of another shape or type, a target that is not a class, or a model that the method is not
            for.
        MissingExtraError: LIME and SHAP need the extra `explain`.
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

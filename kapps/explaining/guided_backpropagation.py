"""Guided backpropagation: the gradient with respect to each pixel, along ways that only excite.

J. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity: The All Convolutional Net", 2014,
arXiv:1412.6806, section 3.4 and figure 1: through a ReLU f = max(0, x) the signal R goes down as

    R_below = [f > 0] [R > 0] R

so what would lower a unit is dropped, as is what a silent unit says. The picture is sharp, and says less about the
class than it seems: much of it stays when the upper layers forget all they learned (see `kapps.explaining.sanity`).

Deviations: the paper shows the signal itself as colours; it is in the details, and the map is its largest absolute
value over the channels. Relatives of the ReLU (ReLU6, leaky ReLU, ELU, SELU) take their own gradient of max(0, R).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kapps.explaining.relu_rules import attribution_by_rule

if TYPE_CHECKING:
    import numpy as np

    from kapps.explaining.attribution import Attribution, Model


def guided_backpropagation(
    model: Model, image: np.ndarray, *, target: int | None = None, of: str | None = None
) -> Attribution:
    """How strongly each pixel excites the class; never negative.

    Args:
        model: a `Predictor` or a Keras model that gives scores [B, N].
        image: float32 [h, w, c], preprocessed.
        target: the class to explain; None = the predicted one.
        of: `"score"`, `"evidence"` (what the softmax or sigmoid takes) or None: the evidence where there is one.

    Returns:
        An `Attribution` with the details `gradient` (the signal, float32 [h, w, c]) and `relus` (how many there are).

    Raises:
        RecipeError: `of` that the model does not give.
        DataError: an image of another shape or type, a target that is not a class, or a model without any ReLU.
        WeightsError: an exported model whose `model.keras` is missing or damaged.
    """
    return attribution_by_rule(model, image, target, of, "guided", "guided_backpropagation")

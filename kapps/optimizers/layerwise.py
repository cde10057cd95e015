"""A learning rate of its own for every layer, for any optimiser of Keras, which has one rate for all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras

from kapps.errors import RecipeError


def layerwise(optimizer: keras.optimizers.Optimizer, factors: Mapping[str, float]) -> keras.optimizers.Optimizer:
    """The same optimiser, except that each layer moves with a multiple of the learning rate.

    Layers near the input hold what serves for any picture, those near the output what serves for one task; so in
    fine-tuning the first should move less: J. Howard, S. Ruder, "Universal Language Model Fine-tuning for Text
    Classification", 2018, arXiv:1801.06146, section 3.2 ("discriminative fine-tuning"; 1 / 2.6 from layer to layer).

    Args:
        optimizer: any optimiser of Keras, or of kapps, that has not been used yet.
        factors: regular expression -> factor of at least 0. It is matched against a variable's path as a whole, or from
            a layer's name on where that lies in a model inside the model: `"stage1_.*"`, `"predictions/bias"`. The
            first that fits counts, and 1 where none does. 0 keeps a variable as it is. Decoupled weight decay is
            multiplied, too: it is a part of the step.

    Returns:
        An optimiser of the class of `optimizer`, extended.

    Raises:
        RecipeError: a factor below 0, an expression that is none, or an optimiser that was used already.
    """
    if optimizer.built:
        raise RecipeError("expected a fresh optimizer, got one that was used: its state belongs to other rates")
    compiled = []
    for pattern, factor in factors.items():
        if not factor >= 0:
            raise RecipeError(f"the factor of {pattern!r} should be a number of at least 0, got {factor!r}")
        try:
            compiled.append((re.compile(f"(?:.*/)?(?:{pattern})"), float(factor)))
        except re.error as error:
            raise RecipeError(f"expected a regular expression, got {pattern!r} ({error})") from None
    kind: Any = type(f"Layerwise{type(optimizer).__name__}", (_Layerwise, type(optimizer)), {})
    extended = kind.from_config(optimizer.get_config())
    extended.patterns = compiled
    return extended


class _Layerwise(keras.optimizers.Optimizer):
    """Comes before an optimiser's class and multiplies the learning rate that its steps are made with."""

    patterns: list[tuple[re.Pattern[str], float]]
    weight_decay: float | None  # Keras' own
    factors: list[float]  # of the variables, in the order in which the optimiser knows them

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        self.factors = [
            next((factor for pattern, factor in self.patterns if pattern.fullmatch(variable.path)), 1.0)
            for variable in variables
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if factor := self.factors[self._get_variable_index(variable)]:
            super().update_step(gradient, variable, learning_rate * factor)

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        decay = self.weight_decay
        if decay is None:
            return
        try:
            for variable in variables:
                self.weight_decay = decay * self.factors[self._get_variable_index(variable)]
                super()._apply_weight_decay([variable])
        finally:
            self.weight_decay = decay

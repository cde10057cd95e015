"""The learning-rate finder: how high may the rate be? One short run in which it rises until the loss explodes.

L. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, arXiv:1506.01186, section 3.3 (the LR range
test); the exponential rise and the smoothing are those of S. Gugger's note on it, 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kapps.errors import RecipeError, TrainingError


@dataclass(frozen=True)
class RateSearch:
    """What a search found.

    Attributes:
        rates: the learning rates that were tried, rising.
        losses: the smoothed training loss at each.
        steepest: where the loss falls fastest per decade: a good rate to be the peak of a schedule.
        lowest: where it is lowest; from here on the rate is too high to stay at.
    """

    rates: np.ndarray
    losses: np.ndarray
    steepest: float
    lowest: float


def find_learning_rate(
    model: keras.Model,
    batches: Iterable[tuple[Any, ...]],
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 60,
    smoothing: float = 0.9,
    explosion: float = 4.0,
) -> RateSearch:
    """Try rising learning rates on a compiled model; its weights and its optimiser are as before afterwards.

    Args:
        model: compiled; its optimiser's learning rate must be a number, no schedule.
        batches: `(inputs, labels)` or `(inputs, labels, weights)`; taken from the start again when they end.
        lowest, highest: the first and the last rate; between them every step multiplies.
        steps: how many batches are used at most.
        smoothing: of the loss, an exponential moving average with the bias of its start taken out.
        explosion: stop where the smoothed loss is this many times the lowest.

    Raises:
        RecipeError: an impossible range, a schedule in place of a rate, or no batches.
        TrainingError: the loss is not finite at the first step already.
    """
    if not 0 < lowest < highest or steps < 2:
        raise RecipeError(f"expected 0 < lowest < highest and two steps or more, got {lowest}, {highest}, {steps}")
    optimizer = model.optimizer
    if isinstance(optimizer.get_config().get("learning_rate"), dict):
        raise RecipeError("expected an optimizer with one learning rate to search from, got a schedule: give a number")
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    states = [*model.variables, *optimizer.variables]
    before = [keras.ops.convert_to_numpy(variable) for variable in states]
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    try:
        for step, batch in enumerate(_endless(batches, steps)):
            rate = lowest * (highest / lowest) ** (step / (steps - 1))
            optimizer.learning_rate = rate
            model.reset_metrics()  # the loss of this batch, not the mean of all
            loss = float(model.train_on_batch(*batch, return_dict=True)["loss"])
            if not math.isfinite(loss):
                break
            average = smoothing * average + (1 - smoothing) * loss
            rates.append(rate)
            losses.append(average / (1 - smoothing ** (step + 1)))
            if losses[-1] > explosion * min(losses):
                break
    finally:
        for variable, value in zip(states, before, strict=True):
            variable.assign(value)
        model.reset_metrics()
    if len(rates) < 2:
        raise TrainingError("the loss is NaN or infinite from the first step on: check the data and the loss")
    least = int(np.argmin(losses))
    slopes = np.gradient(losses, np.log10(rates))[: max(least, 1)]
    return RateSearch(np.array(rates), np.array(losses), rates[int(np.argmin(slopes))], rates[least])


def _endless(batches: Iterable[tuple[Any, ...]], steps: int) -> Iterable[tuple[Any, Any]]:
    taken = 0
    while taken < steps:
        before = taken
        for batch in batches:
            yield batch
            taken += 1
            if taken == steps:
                return
        if taken == before:
            raise RecipeError("expected batches to train on, got none")

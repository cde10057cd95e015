"""From a recipe's optimiser and schedule to a Keras optimiser."""

from __future__ import annotations

from typing import Any

import keras

from kapps.errors import RecipeError, UnknownNameError
from kapps.optimizers.ada_secant import AdaSecant
from kapps.optimizers.muon import ConvMuon
from kapps.training.recipe import OptimizerSpec, ScheduleSpec
from kapps.training.schedules import make_schedule

OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
    "lion": keras.optimizers.Lion,
    "ada_secant": AdaSecant,
    "muon": ConvMuon,
}

# The layer of the scores, which Muon is not for: its rows are the classes, which need not move by equal amounts.
HEAD = "predictions"


def make_optimizer(
    spec: OptimizerSpec, schedule: ScheduleSpec, *, epochs: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """The optimiser of a run, its learning rate moving as the schedule says.

    Raises:
        UnknownNameError: no such optimiser.
        RecipeError: a number that this optimiser does not take (it would be ignored in silence otherwise).
    """
    if spec.name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", spec.name, OPTIMIZERS)
    kind = OPTIMIZERS[spec.name]
    if spec.momentum and spec.name not in ("sgd", "rmsprop", "muon"):
        raise RecipeError(
            f"optimizer.momentum is for sgd, rmsprop and muon, but optimizer.name is {spec.name!r}: leave it out"
        )
    if spec.nesterov and (spec.name != "sgd" or not spec.momentum):
        raise RecipeError(
            "optimizer.nesterov needs optimizer.name=sgd and a momentum above 0, e.g. optimizer.momentum=0.9"
        )
    options: dict[str, Any] = {
        "learning_rate": make_schedule(schedule, spec.learning_rate, epochs=epochs, steps_per_epoch=steps_per_epoch)
    }
    if spec.name == "muon":
        options["exclude_layers"] = [HEAD]
    if spec.momentum:
        options["momentum"] = spec.momentum
    if spec.nesterov:
        options["nesterov"] = True
    if spec.weight_decay is not None:
        options["weight_decay"] = spec.weight_decay
    if spec.clipnorm is not None:
        options["global_clipnorm"] = spec.clipnorm
    if spec.ema is not None:
        options.update(use_ema=True, ema_momentum=spec.ema)
    return kind(**options)

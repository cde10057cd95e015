"""Optimisers from recipes: every one steps, and a number that would be ignored is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import RecipeError, UnknownNameError
from kapps.training.optimizers import OPTIMIZERS, make_optimizer
from kapps.training.recipe import OptimizerSpec, ScheduleSpec


def make(spec: OptimizerSpec):
    return make_optimizer(spec, ScheduleSpec(), epochs=1, steps_per_epoch=10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_downhill(name):
    variable = keras.Variable(np.array([3.0, -2.0], np.float32))
    optimizer = make(OptimizerSpec(name, learning_rate=0.05))
    for _ in range(20):
        optimizer.apply([keras.ops.convert_to_tensor(2 * variable.numpy())], [variable])
    assert np.square(variable.numpy()).sum() < 13.0


def test_momentum_nesterov_decay_clipping_and_ema_arrive():
    optimizer = make(OptimizerSpec("sgd", momentum=0.9, nesterov=True, weight_decay=1e-4, clipnorm=1.0, ema=0.99))
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0.9, True, 1e-4)
    assert (optimizer.global_clipnorm, optimizer.use_ema, optimizer.ema_momentum) == (1.0, True, 0.99)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (OptimizerSpec("adam", momentum=0.9), "momentum is for sgd, rmsprop and muon"),
        (OptimizerSpec("sgd", nesterov=True), "momentum above 0"),
        (OptimizerSpec("rmsprop", momentum=0.9, nesterov=True), "nesterov needs optimizer.name=sgd"),
    ],
)
def test_a_number_that_would_be_ignored_is_refused(spec, words):
    with pytest.raises(RecipeError, match=words):
        make(spec)


def test_an_unknown_optimizer_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="'adam'"):
        make(OptimizerSpec("adma"))

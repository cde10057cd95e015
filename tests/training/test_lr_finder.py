from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import RecipeError, TrainingError
from kapps.training.lr_finder import find_learning_rate


def quadratic(optimizer, curvature=4.0):
    """loss = curvature / 2 * w^2 from w = 1: plain descent shrinks w where the rate is below 2 / curvature."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizer, lambda target, output: curvature / 2 * keras.ops.square(output))
    return model


BATCH = (np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))


def test_each_step_multiplies_the_rate_and_descends_with_it():
    search = find_learning_rate(
        quadratic(keras.optimizers.SGD(0.5)), [BATCH], lowest=1e-3, highest=10, steps=41, smoothing=0.0
    )
    expected = 1e-3 * 10 ** (np.arange(41) / 10)
    np.testing.assert_allclose(search.rates, expected[: len(search.rates)], rtol=1e-5)
    weight = np.cumprod([1, *(1 - 4 * search.rates[:-1])])  # by hand: w <- w - rate * curvature * w
    np.testing.assert_allclose(search.losses, 2 * weight**2, rtol=1e-3, atol=1e-30)
    assert search.losses[-1] > 4 * search.losses.min()  # it stopped where the loss explodes
    assert len(search.rates) < 41
    assert 1e-3 < search.steepest < search.lowest <= 2 / 4 * 10 ** (3 / 10)


def test_the_model_and_its_optimiser_are_as_before():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    inputs, labels = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.zeros((8, 2), np.float32)
    model.fit(inputs, labels, verbose=0)
    before = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    search = find_learning_rate(model, [(inputs, labels), (2 * inputs, labels)], steps=7)
    assert len(search.rates) == 7
    after = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_smoothed_loss_starts_without_a_bias():
    search = find_learning_rate(quadratic(keras.optimizers.SGD(0.5)), [BATCH], lowest=1e-9, highest=1e-8, steps=5)
    np.testing.assert_allclose(search.losses, 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0}, "expected 0 < lowest < highest and two steps or more, got 0, 1.0, 60"),
        ({"steps": 1}, "two steps or more"),
    ],
)
def test_an_impossible_range_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        find_learning_rate(quadratic(keras.optimizers.SGD(0.5)), [BATCH], **options)


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(RecipeError, match="expected batches to train on, got none"):
        find_learning_rate(quadratic(keras.optimizers.SGD(0.5)), [])
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 5)
    with pytest.raises(RecipeError, match="got a schedule: give a number"):
        find_learning_rate(quadratic(keras.optimizers.SGD(schedule)), [BATCH])
    with pytest.raises(TrainingError, match="NaN or infinite from the first step on"):
        find_learning_rate(quadratic(keras.optimizers.SGD(0.5)), [(BATCH[0] * np.nan, BATCH[1])])

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import RecipeError
from kapps.optimizers.ada_secant import AdaSecant
from kapps.optimizers.layerwise import layerwise


def variables():
    return [keras.Variable(np.ones(3, np.float32), name=name) for name in ("early", "late", "frozen", "other")]


def steps(optimizer, weights, count=3):
    random = np.random.default_rng(0)
    optimizer.build(weights)
    for _ in range(count):
        gradient = keras.ops.convert_to_tensor(random.normal(size=3).astype(np.float32))
        optimizer.apply([gradient] * len(weights), weights)
    return {weight.name: weight.numpy() for weight in weights}


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda rate: keras.optimizers.Adam(rate, beta_1=0.8),
        lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1),
        lambda rate: keras.optimizers.RMSprop(rate),
        lambda rate: AdaSecant(rate),
    ],
    ids=["sgd", "adam", "adamw", "rmsprop", "ada_secant"],
)
def test_a_layer_moves_as_with_an_optimiser_of_its_own(make):
    moved = steps(layerwise(make(0.1), {"early": 0.2, "l.*": 0.5, "frozen": 0}), variables())
    for name, rate in (("early", 0.02), ("late", 0.05), ("other", 0.1)):
        alone = steps(make(rate), [weight for weight in variables() if weight.name == name])
        np.testing.assert_allclose(moved[name], alone[name], rtol=1e-5)
    np.testing.assert_array_equal(moved["frozen"], 1)


def test_the_first_expression_that_fits_the_whole_path_counts():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="fc1"), keras.layers.Dense(2, name="fc10")])
    optimizer = layerwise(keras.optimizers.SGD(1.0), {"fc1/bias": 3, "fc1/.*": 0, ".*/bias": 0.5})
    optimizer.build(model.trainable_variables)
    assert optimizer.factors == [0, 3, 1, 0.5]


def test_it_trains_a_model_and_follows_a_schedule():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    kept = model.get_layer("a").get_weights()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
    model.compile(layerwise(keras.optimizers.Adam(schedule), {"a/.*": 0}), "mse")
    inputs = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    losses = model.fit(inputs, inputs.sum(axis=1), epochs=10, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-6)
    for before, after in zip(kept, model.get_layer("a").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"a": -1}, "the factor of 'a' should be a number of at least 0, got -1"),
        ({"a": float("nan")}, "should be a number of at least 0, got nan"),
        ({"(": 1}, r"expected a regular expression, got '\('"),
    ],
)
def test_impossible_factors_are_refused(factors, message):
    with pytest.raises(RecipeError, match=message):
        layerwise(keras.optimizers.SGD(), factors)


def test_a_used_optimiser_is_refused():
    used = keras.optimizers.SGD()
    used.build(variables())
    with pytest.raises(RecipeError, match="expected a fresh optimizer, got one that was used"):
        layerwise(used, {})

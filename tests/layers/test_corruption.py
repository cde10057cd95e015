"""Noise that denoising autoencoders undo: its rates, what it leaves alone, and names that do not exist."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import RecipeError, UnknownNameError
from kapps.layers.corruption import CORRUPTIONS, MaskingNoise, SaltAndPepperNoise, corruption

X = np.random.default_rng(0).uniform(0.2, 0.8, (200, 500)).astype("float32")  # no value is 0 or 1 by itself


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.7])
def test_masking_sets_as_many_values_to_zero_as_it_says(rate):
    seen = MaskingNoise(rate, seed=1)(X, training=True).numpy()
    gone = seen == 0
    # 100,000 draws: five standard deviations
    assert gone.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / X.size))
    np.testing.assert_array_equal(seen[~gone], X[~gone])  # nothing is scaled
    # values are struck out one by one, not rows nor columns
    assert gone.mean(axis=0).std() < 2 * np.sqrt(rate * (1 - rate) / len(X))
    assert gone.mean(axis=1).std() < 2 * np.sqrt(rate * (1 - rate) / X.shape[1])


def test_salt_and_pepper_are_as_frequent_and_the_rest_stays():
    seen = SaltAndPepperNoise(0.3, seed=2)(X, training=True).numpy()
    salt, pepper = seen == 1, seen == 0
    assert salt.mean() == pytest.approx(0.15, abs=0.006)
    assert pepper.mean() == pytest.approx(0.15, abs=0.006)
    rest = ~(salt | pepper)
    np.testing.assert_array_equal(seen[rest], X[rest])


def test_salt_and_pepper_of_another_range():
    seen = SaltAndPepperNoise(0.5, low=-1, high=3, seed=3)(X, training=True).numpy()
    assert set(np.unique(seen[(seen < 0.2) | (seen > 0.8)])) == {-1, 3}


@pytest.mark.parametrize("name", CORRUPTIONS[1:])
def test_nothing_is_damaged_outside_training_nor_at_level_zero(name):
    np.testing.assert_array_equal(corruption(name, 0.5, seed=0)(X), X)
    np.testing.assert_array_equal(corruption(name, 0.0, seed=0)(X, training=True), X)


def test_gaussian_noise_has_the_deviation_it_says():
    difference = corruption("gaussian", 0.3, seed=4)(X, training=True).numpy() - X
    assert difference.std() == pytest.approx(0.3, abs=0.005)
    assert difference.mean() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("name", CORRUPTIONS[1:])
def test_a_seed_gives_the_same_noise_and_the_next_call_another(name):
    first, second = (corruption(name, 0.3, seed=5) for _ in range(2))
    once = first(X, training=True).numpy()
    np.testing.assert_array_equal(once, second(X, training=True))
    assert (first(X, training=True).numpy() != once).any()


def test_none_is_no_layer():
    assert corruption("none", 9.0) is None


@pytest.mark.parametrize("layer", [MaskingNoise(0.2, seed=6), SaltAndPepperNoise(0.2, -1.0, 2.0, seed=6)])
def test_save_and_load_in_graph_mode_and_half_precision(layer, tmp_path):
    model = keras.Sequential([keras.Input((5,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == layer.get_config()
    damage = tf.function(lambda x: loaded(x, training=True))
    assert damage(X[:, :5]).shape == (200, 5)
    half = type(layer).from_config({**layer.get_config(), "dtype": "mixed_float16"})
    assert half(X, training=True).dtype == tf.float16


def test_an_unknown_corruption_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no corruption is named 'maskin': did you mean 'masking'\?"):
        corruption("maskin", 0.1)


@pytest.mark.parametrize(("name", "level"), [("masking", 1.0), ("salt_and_pepper", -0.1), ("gaussian", 1.5)])
def test_levels_that_cannot_be(name, level):
    with pytest.raises(RecipeError, match=f"corruption '{name}': expected a level from 0") as caught:
        corruption(name, level)
    assert "\n" not in str(caught.value)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="rate must be at least 0 and under 1, got 1"):
        MaskingNoise(1)
    with pytest.raises(ValueError, match="low must be under high"):
        SaltAndPepperNoise(0.1, low=1, high=1)

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.explaining.activation_maximisation import PARAMETRISATIONS, activation_maximisation


@pytest.fixture(scope="module")
def model():
    """Channel 0 likes pixels right of dark ones, channel 1 the opposite; class 0 likes the left half bright."""
    image = keras.Input((8, 8, 1))
    edges = keras.layers.Conv2D(2, (1, 2), use_bias=False, name="edges")
    halves = keras.layers.Dense(2, activation="softmax", use_bias=False)
    whole = keras.Model(image, halves(keras.layers.Flatten()(image)))
    with_edges = keras.Sequential([keras.Input((8, 8, 1)), edges, keras.layers.ReLU(), keras.layers.Flatten()])
    left = np.repeat([[1.0] * 4 + [-1.0] * 4], 8, axis=0).ravel()
    edges.set_weights([np.array([[[[-1.0, 1.0]], [[1.0, -1.0]]]])])
    halves.set_weights([np.stack([left, -left], axis=1)])
    return whole, with_edges


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
def test_a_class_gets_the_image_that_it_likes(model, parametrisation):
    for unit in (0, 1):
        found = activation_maximisation(
            model[0], unit, steps=50, learning_rate=0.5, jitter=0, parametrisation=parametrisation
        )
        left, right = found.image[:, :4].mean(), found.image[:, 4:].mean()
        bright, dark = (left, right) if unit == 0 else (right, left)
        assert bright > 0.9
        assert dark < 0.1
        assert found.values[-1] > 28 > 5 > abs(found.values[0])  # at most 32
        assert 0 <= found.image.min() <= found.image.max() <= 1
        np.testing.assert_allclose(found.picture[..., 0], np.round(255 * found.image[..., 0]))


def test_a_channel_climbs_within_the_range_and_jitter_is_seeded(model):
    options = {"feature": "edges", "steps": 25, "learning_rate": 0.5, "jitter": 2, "low": -2.0, "high": 3.0}
    found = activation_maximisation(model[1], 0, **options)
    assert found.values[-1] > found.values[0] + 0.05
    assert found.image.min() >= -2
    assert found.image.max() <= 3
    assert found.image.max() > 1.5
    np.testing.assert_array_equal(activation_maximisation(model[1], 0, **options).image, found.image)
    assert not np.array_equal(activation_maximisation(model[1], 0, seed=1, **options).image, found.image)
    other = activation_maximisation(model[1], 1, **options)  # the opposite channel
    differences = [np.diff(image[..., 0], axis=1).mean() for image in (found.image, other.image)]
    assert differences[0] > 0 > differences[1]


def test_total_variation_smooths():
    image = keras.Input((8, 8, 1))
    pattern = np.where(np.indices((8, 8)).sum(axis=0) % 2, 1.0, -1.0)  # likes a chequerboard
    model = keras.Model(image, keras.layers.Dense(1, use_bias=False)(keras.layers.Flatten()(image)))
    model.set_weights([pattern.reshape(64, 1) / 64])
    rough, smooth = (
        activation_maximisation(
            model, 0, steps=40, learning_rate=0.5, jitter=0, parametrisation="pixels", total_variation=weight
        ).image
        for weight in (0.0, 2.0)
    )
    assert np.abs(np.diff(rough, axis=0)).mean() > 0.9
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"unit": 2}, DataError, "expected a class from 0 to 1, got 2"),
        ({"unit": 0, "feature": "egdes"}, UnknownNameError, "no feature is named 'egdes'"),
        ({"unit": 0, "steps": 0}, RecipeError, "at least one step, got 0"),
        ({"unit": 0, "low": 1.0, "high": 1.0}, RecipeError, "expected low below high"),
        ({"unit": 0, "low": [0.0, 0.0]}, RecipeError, "as a number or 1 numbers"),
        ({"unit": 0, "parametrisation": "fourir"}, UnknownNameError, "did you mean 'fourier'"),
    ],
)
def test_wrong_arguments_are_refused(model, options, error, message):
    with pytest.raises(error, match=message):
        activation_maximisation(model[0], **options)

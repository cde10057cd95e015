"""Small networks whose explanations can be worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest


@pytest.fixture
def linear():
    """score[n] = sum over pixels of weights[pixel, n] * pixel + bias[n], on images 4x5x2 with three classes."""
    random = np.random.default_rng(0)
    image = keras.Input((4, 5, 2))
    dense = keras.layers.Dense(3)
    model = keras.Model(image, dense(keras.layers.Flatten()(image)))
    dense.set_weights([random.normal(size=(40, 3)), random.normal(size=3)])
    return model


@pytest.fixture
def convnet():
    """A smooth network with a softmax, so that differences are accurate, on images 8x8x1 with four classes."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="tanh")(image)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(4, activation="softmax")(x))


@pytest.fixture
def digit():
    """An image 8x8x1 with values from 0 to 1."""
    return np.random.default_rng(2).uniform(size=(8, 8, 1)).astype(np.float32)

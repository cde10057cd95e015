"""A network whose answers can be foretold, exported once for all tests that only read it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.data.preprocessing import Preprocessing
from kapps.exporting import saved_model
from kapps.exporting.saved_model import export

COLOURS = ("red", "green", "blue")


def make_colour_model(activation: str | None = "softmax") -> keras.Model:
    """6x5x3 -> which colour is strongest: the softmax of eight times the mean of each channel."""
    image = keras.Input((6, 5, 3), name="image")
    mean = keras.layers.GlobalAveragePooling2D(name="mean_colour")(image)
    dense = keras.layers.Dense(3, use_bias=False, activation=activation, name="predictions")
    model = keras.Model(image, dense(mean), name="colours")
    dense.set_weights([8 * np.eye(3)])
    return model


@pytest.fixture
def light_decoding(monkeypatch):
    """Exports with TensorFlow's plain decoder: tracing the safe one takes seconds, and here it does not matter."""
    monkeypatch.setattr(saved_model, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))


@pytest.fixture
def colour_model_with():
    """The function that makes the model, with the activation that it ends in."""
    return make_colour_model


@pytest.fixture
def colour_model() -> keras.Model:
    return make_colour_model()


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing((6, 5))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The folder of the versions of an exported colour model. Not to be changed."""
    path = tmp_path_factory.mktemp("models") / "colours"
    export(
        make_colour_model(),
        path,
        preprocessing=Preprocessing((6, 5)),
        labels=COLOURS,
        features=["mean_colour"],
        card={
            "data": "nothing, its weights were set by hand",
            "licence": "Apache-2.0",
            "limits": ["plain colours only"],
        },
    )
    return path

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.convolutional.squeezenet import FIRES
from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
def test_fire_modules_are_table_1():
    """Input channels, squeeze and expand give the paper's weights of each module."""
    model = create_model("squeezenet1_0")
    inputs, counts = 96, {}
    for number, (squeeze, expand) in enumerate(FIRES, 2):
        own = [layer for layer in model.layers if layer.name.startswith(f"fire{number}_") and layer.weights]
        counts[f"fire{number}"] = sum(layer.count_params() for layer in own)
        assert counts[f"fire{number}"] == (inputs + 1) * squeeze + (squeeze + 1) * expand + (9 * squeeze + 1) * expand
        inputs = 2 * expand
    assert counts == {
        "fire2": 11_920,
        "fire3": 12_432,
        "fire4": 45_344,
        "fire5": 49_440,
        "fire6": 104_880,
        "fire7": 111_024,
        "fire8": 188_992,
        "fire9": 197_184,
    }


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("squeezenet1_0", 224, {"conv1": 109, "fire2": 54, "fire5": 27, "fire9": 13}),
        ("squeezenet1_0", 227, {"conv1": 111, "fire2": 55, "fire5": 27, "fire9": 13}),
        ("squeezenet1_1", 224, {"conv1": 111, "fire2": 55, "fire4": 27, "fire6": 13, "fire9": 13}),
        ("squeezenet_cifar", 32, {"conv1": 32, "fire2": 16, "fire4": 8, "fire9": 4}),
    ],
)
def test_sides_of_the_maps(name, size, sides):
    features = create_backbone(name, input_shape=(size, size, 3)).output
    assert {stage: features[stage].shape[1] for stage in sides} == sides


def test_any_image_size():
    model = create_model("squeezenet1_1", num_classes=5, input_shape=(None, None, 3))
    for size in ((64, 64), (97, 50)):
        assert model(np.zeros((1, *size, 3), "float32")).shape == (1, 5)


@pytest.mark.slow
def test_cifar_form_learns():
    keras.utils.set_random_seed(0)
    model = create_model("squeezenet_cifar", num_classes=2)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    labels = np.arange(8) % 2
    images = np.random.default_rng(0).random((8, 32, 32, 3), dtype="float32") + labels[:, None, None, None]
    losses = model.fit(images, labels, batch_size=8, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2

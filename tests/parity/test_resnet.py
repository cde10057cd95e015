"""ResNet and ResNet v2 give the numbers of keras.applications and torchvision with the same weights."""

from __future__ import annotations

import pytest

from kapps.create import create_model
from kapps.weights.parity import against_recording

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet50_v1", (75, 96)),
        ("resnet50_v2", (75, 96)),
        pytest.param("resnet50_v1", (224, 224), marks=slow),
        pytest.param("resnet50_v2", (224, 224), marks=slow),
        pytest.param("resnet101_v1", (96, 75), marks=slow),
        pytest.param("resnet101_v2", (96, 75), marks=slow),
        pytest.param("resnet152_v1", (224, 224), marks=slow),
        pytest.param("resnet152_v2", (224, 224), marks=slow),
    ],
)
def test_keras_applications(keras_parity, name, size):
    parity = keras_parity(name, (*size, 3))
    assert len(parity.features) >= 6
    assert parity.passed, str(parity)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", (97, 128)),
        ("resnet50", (97, 128)),
        pytest.param("resnet18", (224, 224), marks=slow),
        pytest.param("resnet34", (224, 224), marks=slow),
        pytest.param("resnet34", (97, 128), marks=slow),
        pytest.param("resnet50", (224, 224), marks=slow),
        pytest.param("resnet101", (224, 224), marks=slow),
        pytest.param("resnet101", (97, 128), marks=slow),
        pytest.param("resnet152", (224, 224), marks=slow),
        pytest.param("resnet152", (97, 128), marks=slow),
    ],
)
def test_torchvision(recorded_parity, name, size):
    parity = recorded_parity(name, "torchvision", size)
    assert set(parity.features) == {"stem", "pool", "stage1", "stage2", "stage3", "stage4"}
    assert parity.passed, str(parity)


def test_the_place_of_the_stride_matters():
    """So that a pass above proves it: the numbers of weights are the same with the stride in the 1x1 convolution."""
    model = create_model("resnet50", input_shape=(97, 128, 3), classifier_activation=None, config={"strided": 1})
    parity = against_recording(model, "torchvision", (97, 128))
    assert parity.features["stage1"] < 1e-4 < 0.1 < parity.features["stage2"]

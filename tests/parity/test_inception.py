"""GoogLeNet, the Inception family and Xception give the numbers of keras.applications, torchvision and timm."""

from __future__ import annotations

import keras
import pytest

from kapps.create import create_model
from kapps.weights.parity import against_recording

slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def _names_from_zero():
    """keras.applications leaves most of these layers unnamed; Keras numbers them through a whole process."""
    keras.utils.clear_session()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("inception_v3", (75, 107)),
        ("inception_resnet_v2", (75, 107)),
        ("xception", (71, 96)),
        pytest.param("inception_v3", (299, 299), marks=slow),
        pytest.param("inception_resnet_v2", (299, 299), marks=slow),
        pytest.param("xception", (299, 299), marks=slow),
    ],
)
def test_keras_applications(keras_parity, name, size):
    parity = keras_parity(name, (*size, 3))
    assert len(parity.features) >= 11
    assert parity.output < 1e-4  # also where the network is so deep that 1e-3 would pass
    assert parity.passed, str(parity)


@pytest.mark.parametrize("size", [pytest.param((224, 224), marks=slow), (169, 211)])
def test_googlenet_with_its_auxiliary_classifiers(recorded_parity, size):
    parity = recorded_parity("googlenet_bn", "torchvision", size, auxiliary=True)
    assert {"aux1", "aux2", "inception_4a", "inception_5b"} <= set(parity.features)
    assert parity.passed, str(parity)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(299, 299), (315, 347)])
def test_inception_v3_with_its_auxiliary_classifier(recorded_parity, size):
    parity = recorded_parity("inception_v3_torchvision", "torchvision", size, auxiliary=True)
    assert {"aux1", "mixed_5b", "mixed_7c"} <= set(parity.features)
    assert parity.passed, str(parity)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param("inception_v3_torchvision", (107, 139), marks=slow),
        ("xception_timm", (128, 96)),
        ("inception_v4", (107, 139)),
        pytest.param("inception_resnet_v2_timm", (107, 139), marks=slow),
        pytest.param("xception_timm", (299, 299), marks=slow),
        pytest.param("inception_v4", (299, 299), marks=slow),
        pytest.param("inception_resnet_v2_timm", (299, 299), marks=slow),
    ],
)
def test_timm(recorded_parity, name, size):
    parity = recorded_parity(name, "timm", size)
    assert len(parity.features) >= 13
    assert parity.output < 1e-4
    assert parity.passed, str(parity)


def test_the_place_of_a_pool_matters():
    """So that a pass above proves it: timm's pools begin one pixel earlier where a size is even."""
    config = {"pool_border": "same"}
    model = create_model("xception_timm", input_shape=(128, 96, 3), classifier_activation=None, config=config)
    parity = against_recording(model, "timm", (128, 96))
    assert parity.features["entry3"] < 1e-4 < 0.1 < parity.features["entry4"]  # 31 to 16, then 16 to 8


@pytest.mark.slow
@pytest.mark.parametrize("size", [(160, 160), (107, 139)])
def test_facenet(recorded_parity, size):
    parity = recorded_parity("facenet", "facenet-pytorch", size)
    assert {"stem_relu6", "c6", "embedding_bn"} <= set(parity.features)
    assert parity.output < 1e-4
    assert parity.passed, str(parity)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (227, 223)])
def test_inception_with_batch_normalisation(recorded_parity, size):
    parity = recorded_parity("inception_bn", "pretrainedmodels", size)
    assert len(parity.features) == 10
    assert parity.passed, str(parity)

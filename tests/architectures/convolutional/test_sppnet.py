from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("sppnet_zf5", {"pool1": 55, "conv2": 27, "pool2": 13, "conv3": 13, "conv5": 13}),
        ("sppnet_overfeat7", {"pool1": 36, "conv2": 36, "pool2": 18, "conv3": 18, "conv7": 18}),
    ],
)
def test_map_sizes_are_table_1(name, maps):
    features = create_backbone(name).output
    assert {stage: features[stage].shape[1] for stage in maps} == maps
    assert features["spp"].shape[1] == (36 + 9 + 4 + 1) * list(features.values())[-4].shape[-1]


NARROW = {"filters": (8, 8, 8, 8, 6), "units": 12}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return create_model("sppnet_zf5", input_shape=(None, None, 3), num_classes=4, config=NARROW)


def test_one_model_for_all_sizes(model):
    image = np.random.default_rng(0).normal(size=(1, 224, 180, 3)).astype("float32")
    fixed = create_model("sppnet_zf5", input_shape=(224, 180, 3), num_classes=4, config=NARROW)
    fixed.set_weights(model.get_weights())
    np.testing.assert_allclose(model(image), fixed(image), rtol=1e-4)
    assert model(image[:, :64, :180]).shape == (1, 4)


def test_the_two_sizes_of_multi_size_training_share_the_weights(model):
    """Section 2.3: epochs at 224 and at 180 pixels, in turn."""
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    losses = []
    for step in range(8):
        size = (112, 90)[step % 2]
        images = np.tile(random.choice([0.0, 1.0], (4, 1, 1, 3)), (1, size, size, 1)).astype("float32")
        images[:2] *= 0.2
        losses.append(float(model.train_on_batch(images, np.array([0, 0, 1, 1]))))
    assert min(losses[-2:]) < losses[0]


@pytest.mark.usefixtures("without_weights")
def test_response_normalisation_is_before_or_behind_the_pooling():
    zf5 = [layer.name for layer in create_backbone("sppnet_zf5").layers]
    assert zf5.index("norm1") < zf5.index("pool1") < zf5.index("norm2") < zf5.index("pool2")
    overfeat7 = create_backbone("sppnet_overfeat7")
    assert type(overfeat7.get_layer("pool1")).__name__ == "LocalResponseNormalization"
    assert type(overfeat7.get_layer("pool2")).__name__ == "MaxPooling2D"

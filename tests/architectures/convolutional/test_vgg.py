from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.convolutional.vgg import VARIANTS
from kapps.create import create_model

# A net of the same form with a hundredth of the weights.
SMALL = {"filters": (4, 8, 8, 8, 8), "units": 16}


def weight_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]


@pytest.mark.parametrize(
    ("name", "depth", "millions"),
    [
        ("vgg11", 11, 133),
        ("vgg11_lrn", 11, 133),
        ("vgg13", 13, 133),
        ("vgg16_c", 16, 134),
        ("vgg16", 16, 138),
        ("vgg19", 19, 144),
    ],
)
@pytest.mark.usefixtures("without_weights")
def test_depth_and_weights_are_tables_1_and_2(name, depth, millions):
    for variant in (name, f"{name}_bn"):
        model = create_model(variant)
        assert len(weight_layers(model)) == depth
        assert round(model.count_params() / 1e6) == millions


def test_column_c_ends_three_stages_with_1x1():
    assert [stage[-1] for stage in VARIANTS["vgg16_c"].kernels] == [3, 3, 1, 1, 1]
    assert VARIANTS["vgg16"].kernels == tuple(tuple(3 for _ in stage) for stage in VARIANTS["vgg16_c"].kernels)


def test_normalisations_are_where_they_belong():
    lrn = create_model("vgg11_lrn", input_shape=(32, 32, 3), config=SMALL)
    names = [layer.name for layer in lrn.layers]
    assert names[names.index("stage1_conv1") + 1] == "stage1_lrn1"
    assert sum("lrn" in name for name in names) == 1
    names = [layer.name for layer in create_model("vgg13_bn", input_shape=(32, 32, 3), config=SMALL).layers]
    start = names.index("stage2_conv2")
    assert names[start : start + 4] == ["stage2_conv2", "stage2_bn2", "stage2_relu2", "pool2"]


def test_one_model_for_all_sizes():
    """At a size that makes the grid itself it is the paper's net, and any other size works, too."""
    keras.utils.set_random_seed(0)
    fixed = create_model("vgg11", input_shape=(224, 224, 3), config=SMALL)
    free = create_model("vgg11", input_shape=(None, None, 3), config=SMALL)
    free.set_weights(fixed.get_weights())
    image = np.random.default_rng(0).random((1, 224, 224, 3), dtype="float32")
    np.testing.assert_allclose(free(image), fixed(image), rtol=1e-4)
    assert free(image[:, :100, :70]).shape == (1, 1000)


@pytest.mark.slow
def test_learns():
    keras.utils.set_random_seed(0)
    model = create_model("vgg11_bn", input_shape=(32, 32, 1), num_classes=2, config={**SMALL, "dropout_rate": 0.0})
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    labels = np.arange(8) % 2
    images = np.random.default_rng(0).random((8, 32, 32, 1), dtype="float32") + labels[:, None, None, None]
    losses = model.fit(images, labels, batch_size=8, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2

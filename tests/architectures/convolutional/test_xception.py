from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
def test_sizes_are_figure_5():
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("xception").output.items()}
    assert len(shapes) == 1 + 3 + 8 + 2
    assert shapes["entry4"] == shapes["middle5"] == shapes["middle12"] == (19, 19, 728)
    assert shapes["exit13"] == (10, 10, 1024)
    assert shapes["exit14_relu2"] == (10, 10, 2048)


@pytest.mark.usefixtures("without_weights")
def test_trainable_parameters_are_the_paper_s():
    """Table 3: 22,855,952."""
    model = create_model("xception")
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 22_855_952


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize("name", ["xception", "xception_timm"])
@pytest.mark.parametrize("shape", [(71, 71, 3), (None, None, 3)])
def test_other_sizes(name, shape):
    assert create_model(name, input_shape=shape).output_shape == (None, 1000)


@pytest.mark.parametrize(("name", "first"), [("xception", (0, 3)), ("xception_timm", (0, 2))])
def test_where_the_pools_begin(name, first):
    """37 pixels become 16 before the pool: a border below and right only, or of one pixel all around."""
    model = create_model(name, input_shape=(37, 37, 3), num_classes=0)
    image = np.random.default_rng(0).normal(size=(1, 37, 37, 3)).astype("float32")
    parts = keras.Model(model.input, [model.get_layer(f"entry2_{part}").output for part in ("bn2", "pool")])
    before, pooled = (part.numpy()[0] for part in parts(image))
    assert before.shape == (16, 16, 128)
    assert pooled.shape == (8, 8, 128)
    assert before.min() < 0
    np.testing.assert_array_equal(pooled[0, 0], before[slice(*first), slice(*first)].max(axis=(0, 1)))

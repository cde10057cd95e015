from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.usefixtures("without_weights")
def test_sizes_are_figure_15():
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("inception_resnet_v1").output.items()}
    assert list(shapes) == [
        "stem_relu6",
        *(f"a{number}" for number in range(1, 6)),
        "mixed_6a",
        *(f"b{number}" for number in range(1, 11)),
        "mixed_7a",
        *(f"c{number}" for number in range(1, 6)),
    ]
    assert shapes["stem_relu6"] == shapes["a5"] == (35, 35, 256)
    assert shapes["mixed_6a"] == shapes["b10"] == (17, 17, 896)
    assert shapes["mixed_7a"] == shapes["c5"] == (8, 8, 1792)


@pytest.mark.usefixtures("without_weights")
def test_trainable_parameters_of_v2():
    assert trainable(create_model("inception_resnet_v2")) == 55_813_192  # keras.applications
    assert trainable(create_model("inception_resnet_v2_timm")) == 55_843_464  # timm


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize("name", ["inception_resnet_v1", "inception_resnet_v2"])
@pytest.mark.parametrize("shape", [(75, 75, 3), (None, None, 3)])
def test_other_sizes(name, shape):
    model = create_model(name, input_shape=shape, config={"repeats": (1, 1, 1)})  # the repeats keep the size
    assert model.output_shape == (None, 1000)


def test_a_residual_is_scaled_and_added():
    """ReLU(x + 0.17 * linear(branches)), and 0.2 for c: with one module of each, from the layers' own outputs."""
    keras.utils.set_random_seed(0)
    config = {"repeats": (1, 1, 2), "linear_last": True}
    model = create_model("inception_resnet_v1", input_shape=(107, 107, 3), num_classes=2, config=config)
    names = ["stem_relu6", "a1_linear", "a1", "mixed_6a", "b1_linear", "b1", "mixed_7a", "c1_linear", "c1"]
    names += ["c2_linear", "c2"]
    parts = keras.Model(model.input, {name: model.get_layer(name).output for name in names})
    values = parts(np.random.default_rng(0).normal(size=(1, 107, 107, 3)).astype("float32"))
    for before, module, scale in [("stem_relu6", "a1", 0.17), ("mixed_6a", "b1", 0.10), ("mixed_7a", "c1", 0.20)]:
        expected = np.maximum(values[before] + scale * values[f"{module}_linear"], 0)
        np.testing.assert_allclose(values[module], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values["c2"], values["c1"] + values["c2_linear"], rtol=1e-5, atol=1e-6)
    assert float(np.min(values["c2"])) < 0

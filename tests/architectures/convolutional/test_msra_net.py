from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model

NARROW = {"filters": (16, 16, 16), "units": 32}


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "depth", "complexity"), [("msra_net_a", 19, 1.90), ("msra_net_b", 22, 2.32), ("msra_net_c", 22, 5.30)]
)
def test_depth_and_complexity_are_table_3(name, depth, complexity):
    """The paper's last row counts multiplications, in units of 10^10."""
    model = create_model(name)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    assert len(layers) == depth
    multiplications = sum(int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:-1])) for layer in layers)
    assert multiplications / 1e10 == pytest.approx(complexity, rel=0.01)


def test_prelu_is_equation_1():
    backbone = create_backbone("msra_net_a", input_shape=(64, 64, 3), config=NARROW)
    slopes = np.linspace(-1, 1, 96, dtype="float32")
    backbone.get_layer("conv1").alpha.assign(slopes.reshape(1, 1, 96))
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    outputs = {name: backbone.get_layer(name).output for name in ("conv1_linear", "conv1")}
    y = keras.Model(backbone.input, outputs)(image)
    linear = np.asarray(y["conv1_linear"])
    np.testing.assert_allclose(y["conv1"], np.maximum(0, linear) + slopes * np.minimum(0, linear), rtol=1e-6)
    assert float(backbone.get_layer("fc6").alpha.numpy().mean()) == 0.25
    assert backbone.get_layer("stage1").alpha.shape == (1, 1, 16)


def test_variance_stays_through_22_layers():
    """What equation 15 is for; Glorot's start lets the signal die."""
    keras.utils.set_random_seed(0)
    config = {"filters": (64, 64, 64), "units": 64}
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    backbone = create_backbone("msra_net_b", input_shape=(64, 64, 3), config=config)
    features = backbone(image)
    he = float(np.std(features["stage3"])) / float(np.std(features["conv1"]))
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(keras.initializers.GlorotUniform(seed=0)(layer.kernel.shape))
    features = backbone(image)
    glorot = float(np.std(features["stage3"])) / float(np.std(features["conv1"]))
    assert 0.2 < he < 5
    assert glorot < 0.05


def test_start_is_equation_15():
    keras.utils.set_random_seed(0)
    kernel = create_backbone("msra_net_a", input_shape=(32, 32, 3), config=NARROW).get_layer("conv1_linear").kernel
    assert float(np.std(kernel)) == pytest.approx((2 / ((1 + 0.25**2) * 147)) ** 0.5, rel=0.02)


def test_any_image_size():
    model = create_model("msra_net_c", input_shape=(None, None, 3), num_classes=5, config=NARROW)
    for size in ((64, 64), (50, 97)):
        assert model(np.zeros((1, *size, 3), "float32")).shape == (1, 5)

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model

TINY = {"blocks": 1, "channels": (3, 5)}


def norm(layers, name: str, x: np.ndarray) -> np.ndarray:
    gamma, beta, mean, variance = (weight.numpy() for weight in layers(name).weights)
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


def conv(layers, name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
    kernel = layers(name).kernel.numpy()
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    sums = sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    return sums[:, ::stride, ::stride]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def shortcut(x: np.ndarray) -> np.ndarray:
    """From 3 maps to 5 of half the size."""
    return np.concatenate([x[:, ::2, ::2], np.zeros((*x[:, ::2, ::2].shape[:3], 2))], axis=-1)


def with_random_weights(name: str) -> keras.Model:
    backbone = create_backbone(name, input_shape=(8, 8, 3), config=TINY)
    random = np.random.default_rng(0)
    backbone.set_weights([weight + np.abs(random.normal(0, 0.3, weight.shape)) for weight in backbone.get_weights()])
    return backbone


def test_equals_the_formula():
    backbone = with_random_weights("resnet20")
    layers = backbone.get_layer
    image = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")

    x = stem = relu(norm(layers, "stem_bn", conv(layers, "stem_conv", image)))
    y = relu(norm(layers, "stage1_block1_bn1", conv(layers, "stage1_block1_conv1", x)))
    x = stage1 = relu(x + norm(layers, "stage1_block1_bn2", conv(layers, "stage1_block1_conv2", y)))
    y = relu(norm(layers, "stage2_block1_bn1", conv(layers, "stage2_block1_conv1", x, 2)))
    stage2 = relu(shortcut(x) + norm(layers, "stage2_block1_bn2", conv(layers, "stage2_block1_conv2", y)))
    for name, expected in {"stem": stem, "stage1": stage1, "stage2": stage2}.items():
        np.testing.assert_allclose(backbone(image)[name], expected, rtol=1e-4, atol=1e-4)


def test_preactivation_equals_the_formula():
    backbone = with_random_weights("preact_resnet20")
    layers = backbone.get_layer
    image = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")

    x = stem = relu(norm(layers, "stem_bn", conv(layers, "stem_conv", image)))
    y = relu(norm(layers, "stage1_block1_bn2", conv(layers, "stage1_block1_conv1", x)))  # no second norm on the stem
    x = stage1 = x + conv(layers, "stage1_block1_conv2", y)
    y = conv(layers, "stage2_block1_conv1", relu(norm(layers, "stage2_block1_bn1", x)), 2)
    y = relu(norm(layers, "stage2_block1_bn2", y))
    stage2 = shortcut(x) + conv(layers, "stage2_block1_conv2", y)
    final = relu(norm(layers, "final_bn", stage2))
    for name, expected in {"stem": stem, "stage1": stage1, "stage2": stage2, "final": final}.items():
        np.testing.assert_allclose(backbone(image)[name], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "depth"), [("resnet20", 20), ("resnet32", 32), ("preact_resnet20", 20)])
def test_depth_is_that_of_the_name(name, depth):
    kernels = keras.layers.Conv2D, keras.layers.Dense
    assert sum(isinstance(layer, kernels) for layer in create_model(name).layers) == depth


def test_stages():
    expected = {"stem": (32, 32, 16), "stage1": (32, 32, 16), "stage2": (16, 16, 32), "stage3": (8, 8, 64)}
    for name, last in (("resnet20", {}), ("preact_resnet20", {"final": (8, 8, 64)})):
        shapes = {feature: tensor.shape[1:] for feature, tensor in create_backbone(name).output.items()}
        assert shapes == {**expected, **last}


def test_any_input_size():
    backbone = create_backbone("resnet20", input_shape=(None, None, 3), config=TINY)
    assert backbone(np.zeros((1, 9, 12, 3)))["stage2"].shape == (1, 5, 6, 5)


def test_fits_a_batch():
    keras.utils.set_random_seed(0)
    model = create_model("resnet20", num_classes=5, input_shape=(8, 8, 3), config={**TINY, "channels": (8, 16)})
    model.compile(keras.optimizers.SGD(0.1, 0.9), "sparse_categorical_crossentropy", jit_compile=False)
    images, labels = np.random.default_rng(0).random((10, 8, 8, 3), dtype="float32"), np.arange(10) % 5
    losses = [model.train_on_batch(images, labels) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]

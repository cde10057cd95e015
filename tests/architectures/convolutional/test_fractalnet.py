from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.convolutional.fractalnet import column
from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError

TINY = {"columns": 3, "channels": (4, 6), "dropout": (0.0, 0.0)}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Two blocks of three columns with random weights; moving statistics, too, so that order matters."""
    model = create_model("fractalnet", num_classes=3, input_shape=(8, 8, 3), config=TINY)
    random = np.random.default_rng(0)
    model.set_weights([weight + np.abs(random.normal(0, 0.3, weight.shape)) for weight in model.get_weights()])
    return model


def conv(model: keras.Model, x, block: int, column: int, number: int) -> np.ndarray:
    """A convolution with its normalisation and ReLU, written out with the model's weights."""
    name = f"block{block}_column{column}"
    kernel = model.get_layer(f"{name}_conv{number}").kernel.numpy()
    gamma, beta, mean, variance = (w.numpy() for w in model.get_layer(f"{name}_bn{number}").weights)
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    sums = sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    return np.maximum(gamma * (sums - mean) / np.sqrt(variance + 1e-5) + beta, 0)


def pool(x: np.ndarray) -> np.ndarray:
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def test_a_block_equals_the_rule(model):
    """f1 = conv, f2 = (f1 after f1) joined with conv, f3 = (f2 after f2) joined with conv; joins in a row are one."""
    x = np.random.default_rng(1).random((2, 8, 8, 3), dtype="float32")
    middle = np.mean([conv(model, conv(model, x, 1, 3, 1), 1, 3, 2), conv(model, x, 1, 2, 1)], axis=0)
    deep = conv(model, conv(model, middle, 1, 3, 3), 1, 3, 4)
    ends = [conv(model, x, 1, 1, 1), conv(model, middle, 1, 2, 2), deep]
    expected = np.mean([pool(end) for end in ends], axis=0)
    block1 = keras.Model(model.inputs[0], model.get_layer("block1").output)
    np.testing.assert_allclose(block1(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("number", "convolutions"), [(1, 1), (2, 2), (3, 4)])
def test_a_column_is_a_plain_network_of_its_convolutions(model, number, convolutions):
    x = np.random.default_rng(1).random((2, 8, 8, 3), dtype="float32")
    part = column(model, number)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in part.layers) == 2 * convolutions
    maps = x
    for block in (1, 2):
        for index in range(1, convolutions + 1):
            maps = conv(model, maps, block, number, index)
        maps = pool(maps)
    head = model.get_layer("predictions")
    scores = maps.mean(axis=(1, 2)) @ head.kernel.numpy() + head.bias.numpy()
    expected = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(part(x), expected / expected.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_global_drop_path_is_the_column_for_each_example(model):
    """In training with every example on one column: the network's answer is that column's."""
    alone = create_model(
        "fractalnet", num_classes=3, input_shape=(8, 8, 3), config={**TINY, "global_share": 1.0, "drop_path": 0.5}
    )
    alone.set_weights(model.get_weights())
    for layer in alone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # moving statistics: the answers of examples do not depend on the batch
    x = np.random.default_rng(1).random((40, 8, 8, 3), dtype="float32")
    answers = alone(x, training=True).numpy()
    columns = np.stack([column(model, number)(x).numpy() for number in (1, 2, 3)])
    matches = np.isclose(answers, columns, rtol=1e-3, atol=1e-5).all(axis=-1)  # [3, 40]
    assert matches.any(axis=0).all()
    assert matches.any(axis=1).all()


def test_columns_share_the_model_s_weights(model):
    part = column(model, 2)
    shared = {id(weight) for weight in model.weights}
    assert part.weights
    assert all(id(weight) in shared for weight in part.weights)
    assert model.output is model.get_layer("predictions").output


def test_no_such_column(model):
    for number in (0, 4):
        with pytest.raises(RecipeError, match=f"no column {number}: expected one from 1 to 3"):
            column(model, number)


def test_depth_is_the_paper_s():
    backbone = create_backbone("fractalnet")
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in backbone.layers) == 5 * (1 + 2 + 4 + 8)
    assert sum("_column4_conv" in layer.name for layer in backbone.layers) == 40
    shapes = {name: tensor.shape[1:] for name, tensor in backbone.output.items()}
    assert shapes == {
        "block1": (16, 16, 16),
        "block2": (8, 8, 32),
        "block3": (4, 4, 64),
        "block4": (2, 2, 128),
        "block5": (1, 1, 128),
    }


def test_a_dropout_rate_for_each_block():
    with pytest.raises(RecipeError, match="a dropout rate for each of the 3 blocks"):
        create_model("fractalnet", config={"channels": (4, 4, 4)})


def test_fits_a_batch():
    keras.utils.set_random_seed(0)
    config = {"columns": 2, "channels": (8,), "dropout": (0.0,)}
    model = create_model("fractalnet", num_classes=5, input_shape=(8, 8, 3), config=config)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
    images, labels = np.random.default_rng(0).random((10, 8, 8, 3), dtype="float32"), np.arange(10) % 5
    losses = [model.train_on_batch(images, labels) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]

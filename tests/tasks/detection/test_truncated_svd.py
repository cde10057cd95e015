from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import load_keras
from kapps.errors import RecipeError, UnknownNameError
from kapps.tasks.detection.truncated_svd import compress, factorise


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_the_error_is_that_of_the_dropped_singular_values(shape):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values = np.linalg.svd(kernel, compute_uv=False)
    for rank in range(1, min(shape) + 1):
        first, second = factorise(kernel, rank)
        assert first.shape == (shape[0], rank)
        assert second.shape == (rank, shape[1])
        error = np.linalg.norm(kernel - first @ second)
        assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), abs=1e-5)


@pytest.fixture(scope="module")
def network():
    image = keras.Input((None, 6), name="image")
    x = keras.layers.Dense(8, "relu", bias_initializer="ones", name="fc6")(image)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(5, "tanh", use_bias=False, name="fc7")(x)
    return keras.Model({"image": image}, {"scores": keras.layers.Dense(3, name="scores")(x), "seen": x}, name="net")


def test_compressed_network(network, tmp_path):
    inputs = {"image": np.random.default_rng(1).normal(size=(2, 4, 6)).astype(np.float32)}
    before = [weight.numpy() for weight in network.weights]
    exact = compress(network, {"fc6": 6, "fc7": 5})
    expected = network(inputs)
    for name, values in exact(inputs).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5)
    names = [layer.name for layer in exact.layers]
    assert {"fc6_svd", "fc6", "fc7_svd", "fc7", "scores"} < set(names)
    assert exact.get_layer("scores") is not network.get_layer("scores")

    small = compress(network, {"fc6": 2})
    assert small.get_layer("fc6_svd").count_params() == 6 * 2
    assert small.get_layer("fc6").count_params() == 2 * 8 + 8
    kernel = small.get_layer("fc6_svd").kernel @ small.get_layer("fc6").kernel
    values = np.linalg.svd(network.get_layer("fc6").kernel, compute_uv=False)
    error = np.linalg.norm(network.get_layer("fc6").kernel - kernel)
    assert error == pytest.approx(np.sqrt((values[2:] ** 2).sum()), rel=1e-4)

    small.save(tmp_path / "small.keras")
    again = load_keras(tmp_path / "small.keras")(inputs)
    np.testing.assert_allclose(again["scores"], small(inputs)["scores"], atol=1e-6)
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_wrong_layers_and_ranks(network):
    with pytest.raises(UnknownNameError, match="no dense layer of the network is named 'fc8'"):
        compress(network, {"fc8": 2})
    for rank in (0, 7, 2.0, True):
        with pytest.raises(RecipeError, match="expected a rank of 1 to 6 for fc6"):
            compress(network, {"fc6": rank})

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.subsampling import Subsampling


def test_hand_computed_case():
    layer = Subsampling(2)
    layer.build((None, 2, 2, 2))
    layer.set_weights([np.array([0.5, -1.0]), np.array([1.0, 0.25])])
    x = np.array([[[1, 10], [2, 20]], [[3, 30], [4, 40]]], "float32")[None]  # sums 10 and 100
    np.testing.assert_allclose(layer(x), [[[[6.0, -99.75]]]])


@pytest.mark.parametrize("size", [2, 3])
def test_equals_numpy(size):
    rng = np.random.default_rng(0)
    layer = Subsampling(size, "tanh", coefficient_initializer="random_normal", bias_initializer="random_normal")
    x = rng.normal(size=(2, 7, 6, 4)).astype("float32")
    found = layer(x)
    rows, columns = 7 // size, 6 // size
    windows = x[:, : rows * size, : columns * size].reshape(2, rows, size, columns, size, 4)
    coefficient, bias = layer.get_weights()
    np.testing.assert_allclose(found, np.tanh(coefficient * windows.sum(axis=(2, 4)) + bias), atol=1e-6)
    assert layer.compute_output_shape(x.shape) == found.shape
    assert layer.count_params() == 2 * 4


def test_unknown_image_size_and_saving(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Subsampling(2, "sigmoid", coefficient_initializer="random_normal")(image))
    assert model.output_shape == (None, None, None, 3)
    x = np.random.default_rng(0).random((1, 4, 6, 3), dtype="float32")
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.grid_average_pooling import GridAveragePooling


def test_hand_computed_case():
    x = np.array([[1, 2, 3], [4, 5, 6], [9, 8, 7]], "float32")[None, :, :, None]
    # rows 0-1 and 1-2, columns 0-1 and 1-2
    expected = [[(1 + 2 + 4 + 5) / 4, (2 + 3 + 5 + 6) / 4], [(4 + 5 + 9 + 8) / 4, (5 + 6 + 8 + 7) / 4]]
    np.testing.assert_allclose(GridAveragePooling(2, 2)(x)[0, :, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(7, 7), (5, 6), (10, 13), (1, 1), (14, 3)])
def test_equals_keras_where_the_size_is_known(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    expected = keras.layers.AdaptiveAveragePooling2D((7, 5))(x)
    np.testing.assert_allclose(GridAveragePooling(7, 5)(x), expected, atol=1e-6)


def test_one_model_for_all_sizes(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 2)), GridAveragePooling(3, 2)])
    assert model.output_shape == (None, 3, 2, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for size in ((5, 9), (3, 2)):
        x = np.random.default_rng(1).normal(size=(3, *size, 2)).astype("float32")
        expected = keras.layers.AdaptiveAveragePooling2D((3, 2))(x)
        np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-6)


def test_a_map_of_the_grid_s_size_passes_unchanged():
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype("float32")
    np.testing.assert_array_equal(GridAveragePooling(4, 3)(x), x)


@pytest.mark.parametrize("grid", [(0, 7), (7, 2.0), (True, 7)])
def test_wrong_grid(grid):
    with pytest.raises(ValueError, match="expected a height and a width of at least 1"):
        GridAveragePooling(*grid)

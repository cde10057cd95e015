from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.crop_like import CropLike


def test_window():
    x = np.arange(2 * 5 * 6 * 1, dtype="float32").reshape(2, 5, 6, 1)
    np.testing.assert_array_equal(CropLike(2)(x, np.zeros((2, 3, 2, 7), "float32")), x[:, 2:5, 2:4])


def test_sizes_known_only_when_it_runs(tmp_path):
    inputs, reference = keras.Input((None, None, 2)), keras.Input((None, None, 3))
    model = keras.Model([inputs, reference], CropLike(1)(inputs, reference))
    assert model.output_shape == (None, None, None, 2)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(1, 6, 7, 2)).astype("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([x, np.zeros((1, 4, 4, 3), "float32")]), x[:, 1:5, 1:5])


def test_wrong_arguments():
    with pytest.raises(ValueError, match="offset must be at least 0, got -1"):
        CropLike(-1)
    with pytest.raises(ValueError, match=r"expected at least 2 \+ 4 rows and columns for the window, got 5"):
        CropLike(2)(keras.Input((5, 9, 1)), keras.Input((4, 4, 1)))

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.repeat_like import RepeatLike


def test_twice_as_large_repeats_every_pixel():
    x = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
    out = np.asarray(RepeatLike()(x, np.zeros((1, 4, 4, 3))))[0, ..., 0]
    np.testing.assert_array_equal(out, [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])


@pytest.mark.parametrize(
    ("small", "large"), [((3, 2), (5, 3)), ((7, 13), (13, 25)), ((38, 5), (78, 11)), ((4, 4), (2, 3))]
)
def test_rows_and_columns_are_the_floors(small, large):
    x = np.random.default_rng(0).normal(size=(2, *small, 3)).astype("float32")
    out = np.asarray(RepeatLike()(x, np.zeros((2, *large, 1))))
    rows = [i * small[0] // large[0] for i in range(large[0])]
    columns = [i * small[1] // large[1] for i in range(large[1])]
    np.testing.assert_array_equal(out, x[:, rows][:, :, columns])


def test_unknown_sizes_and_saving(tmp_path):
    x, reference = keras.Input((None, None, 2)), keras.Input((None, None, 5))
    model = keras.Model([x, reference], RepeatLike()(x, reference))
    assert model.output_shape == (None, None, None, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = [np.ones((1, 3, 4, 2), "float32"), np.ones((1, 6, 7, 5), "float32")]
    assert loaded.predict(inputs, verbose=0).shape == (1, 6, 7, 2)

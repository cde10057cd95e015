from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.offset_pooling import InterleaveOffsets, OffsetMaxPooling2D


def test_hand_computed_case():
    x = np.array([[1, 5, 2, 0, 3]], "float32")[:, None, :, None] * np.ones((1, 3, 1, 1), "float32")
    pooled = np.asarray(OffsetMaxPooling2D(2)(x))
    # 5 columns have two windows at either offset, (1 5)(2 0) and (5 2)(0 3); 3 rows have one
    assert pooled.shape == (4, 1, 2, 1)
    np.testing.assert_array_equal(pooled[:, 0, :, 0], [[5, 2], [5, 3], [5, 2], [5, 3]])
    fine = InterleaveOffsets(2)(pooled)
    np.testing.assert_array_equal(fine[0, :, :, 0], [[5, 5, 2, 3], [5, 5, 2, 3]])


def test_figure_3_of_the_paper():
    """20 units, windows of 3, a classifier that sees 5: six answers, each of the 3 * 5 units that start there."""
    signal = np.random.default_rng(0).normal(size=20).astype("float32")
    x = np.tile(signal[None, None, :, None], (1, 5, 1, 1))  # a row of windows at each offset; the figure has no rows
    pooled = OffsetMaxPooling2D(3)(x)
    assert pooled.shape == (9, 1, 6, 1)  # (b), (c): six windows at each offset
    answers = np.stack([np.asarray(pooled)[:, :, start : start + 5].sum(axis=2) for start in range(2)], axis=2)  # (d)
    found = np.asarray(InterleaveOffsets(3)(answers))[0, 0, :, 0]
    expected = [sum(signal[start + 3 * k : start + 3 * k + 3].max() for k in range(5)) for start in range(6)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # (e)


def test_interleaved_windows_are_those_of_stride_1():
    x = np.random.default_rng(1).normal(size=(3, 11, 9, 2)).astype("float32")
    fine = InterleaveOffsets(2)(OffsetMaxPooling2D(2)(x))
    dense = keras.layers.MaxPooling2D(2, 1)(x)
    assert fine.shape == (3, 10, 8, 2)
    np.testing.assert_array_equal(fine, dense[:, :10, :8])


def test_one_model_for_all_sizes(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 2)), OffsetMaxPooling2D(3), InterleaveOffsets(3)])
    assert model.output_shape == (None, None, None, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(2).normal(size=(2, 17, 20, 2)).astype("float32")
    assert loaded.predict(x, verbose=0).shape == (2, 15, 18, 2)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_shapes_are_known_beforehand():
    assert OffsetMaxPooling2D(3).compute_output_shape((2, 17, 23, 4)) == (18, 5, 7, 4)
    assert InterleaveOffsets(3).compute_output_shape((18, 5, 7, 4)) == (2, 15, 21, 4)


@pytest.mark.parametrize("layer", [OffsetMaxPooling2D, InterleaveOffsets])
def test_wrong_size(layer):
    with pytest.raises(ValueError, match=f"{layer.__name__}: size must be an integer of at least 1, got 0"):
        layer(0)

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.c_cells import CCells


def test_hand_computed_case():
    s = np.array([3.0, 1.0, 0.0], "float32").reshape(1, 1, 1, 3)
    # the mean is 4 / 3: x = 4 / (7 / 3) - 1 = 5 / 7, and 0 for the others; c = x / (0.5 + x)
    expected = [5 / 7 / (0.5 + 5 / 7), 0, 0]
    np.testing.assert_allclose(CCells(1, field=1)(s)[0, 0, 0], expected, rtol=1e-5)


def test_a_feature_may_shift():
    """An S-cell anywhere in the field: the C-cell keeps most of its answer, and other planes stay silent."""
    s = np.zeros((3, 7, 7, 4), "float32")
    s[0, 3, 3, 1] = s[1, 3, 4, 1] = s[2, 4, 4, 1] = 1
    c = np.asarray(CCells(3, field=5)(s))
    middle = c[:, 1, 1]
    assert middle[0, 1] > middle[1, 1] > middle[2, 1] > 0.6 * middle[0, 1]
    np.testing.assert_array_equal(middle[:, [0, 2, 3]], 0)
    assert np.asarray(s)[1, 3, 3, 1] == 0  # the S-cell in the middle has lost it


def test_all_planes_alike_cancel():
    np.testing.assert_allclose(
        CCells(3, field=3)(np.full((1, 5, 5, 4), 0.7, "float32")), np.zeros((1, 3, 3, 4)), atol=1e-6
    )


def test_save_and_load(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 2)), CCells(4, field=3, decay=0.7, saturation=0.2)])
    assert model.count_params() == 0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, 8, 8, 2), dtype="float32")
    np.testing.assert_array_equal(model(x), loaded(x))


def test_unknown_size():
    with pytest.raises(ValueError, match="the size of the inputs must be known"):
        CCells(3)(keras.Input((None, None, 2)))

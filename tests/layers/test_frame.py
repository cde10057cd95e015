from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.frame import Frame


def test_hand_computed_case():
    found = Frame(3, 4, value=-1.0)(np.array([[5.0, 6.0]])[None, :, :, None])
    np.testing.assert_array_equal(np.asarray(found)[0, :, :, 0], [[-1, -1, -1, -1], [-1, 5, 6, -1], [-1, -1, -1, -1]])


def test_the_odd_pixel_is_at_the_bottom_and_right():
    found = np.asarray(Frame(4, 4, 9.0)(np.zeros((1, 1, 3, 1), "float32")))[0, :, :, 0]
    np.testing.assert_array_equal(np.argwhere(found == 0), [[1, 0], [1, 1], [1, 2]])


def test_a_large_image_stays_as_it_is():
    x = np.random.default_rng(0).random((2, 9, 8, 3), dtype="float32")
    np.testing.assert_array_equal(Frame(8, 8, 1.0)(x), x)


def test_saving(tmp_path):
    image = keras.Input((5, 6, 1))
    model = keras.Model(image, Frame(8, 8, 0.5)(image))
    assert model.output_shape == (None, 8, 8, 1)
    model.save(tmp_path / "model.keras")
    x = np.zeros((1, 5, 6, 1), "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


def test_unknown_size_is_refused():
    with pytest.raises(ValueError, match="must be known"):
        Frame(8, 8)(keras.Input((None, 6, 1)))

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.rbf import RBF


def test_hand_computed_case():
    layer = RBF([[1.0, 1.0], [-1.0, 1.0], [3.0, 0.0]])
    np.testing.assert_allclose(layer(np.array([[1.0, 1.0], [0.0, 2.0]])), [[0, 4, 5], [2, 2, 13]])


def test_stays_exact_and_positive_far_from_the_origin():
    """|x|^2 - 2 x.w + |w|^2 would lose all digits here."""
    centre = np.full((1, 50), 1000.0)
    found = RBF(centre)(centre.astype("float32") + np.float32(0.125))
    np.testing.assert_allclose(found, [[50 * 0.125**2]], rtol=1e-6)


def test_centres_are_fixed_unless_asked():
    for trainable in (False, True):
        layer = RBF(np.eye(3), trainable=trainable)
        layer.build((None, 3))
        assert len(layer.trainable_weights) == int(trainable)
        assert layer.count_params() == 9


def test_saving(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, RBF(np.random.default_rng(0).normal(size=(3, 4)))(inputs))
    assert model.output_shape == (None, 3)
    model.save(tmp_path / "model.keras")
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="should be a matrix"):
        RBF([1.0, 2.0])
    with pytest.raises(ValueError, match="axis -1"):
        RBF(np.eye(3))(np.ones((1, 4)))

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.rubbish_class import RubbishClass

PENALTIES = np.array([[3.0, 1.0, 7.0], [20.0, 30.0, 25.0]], "float32")


@pytest.mark.parametrize("j", [0.0, 5.0, 21.0])
def test_completes_the_cross_entropy_to_equation_9(j):
    targets = np.array([1, 0])
    y = PENALTIES.astype("float64")
    paper = y[[0, 1], targets] + np.log(np.exp(-j) + np.exp(-y).sum(axis=1))
    cross_entropy = keras.ops.sparse_categorical_crossentropy(targets, -PENALTIES, from_logits=True)
    np.testing.assert_allclose(RubbishClass(j)(PENALTIES) + np.sum(cross_entropy), paper.sum(), rtol=1e-5)


def test_vanishes_at_infinity_and_never_overflows():
    assert float(RubbishClass(1e6)(PENALTIES)) == 0
    far = float(RubbishClass(1.0)(np.full((1, 3), 1e6, "float32")))
    assert far == pytest.approx(1e6, rel=1e-5)


def test_keras_averages_it_over_the_batch():
    layer = keras.layers.ActivityRegularization()
    layer.activity_regularizer = RubbishClass(2.0)
    layer(PENALTIES)
    assert float(layer.losses[0]) == pytest.approx(float(RubbishClass(2.0)(PENALTIES)) / 2)


def test_config():
    again = keras.regularizers.deserialize(keras.regularizers.serialize(RubbishClass(3.5)))
    assert isinstance(again, RubbishClass)
    assert again.j == 3.5

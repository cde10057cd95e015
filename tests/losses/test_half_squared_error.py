"""The half squared error by hand and by numerical gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import UnknownNameError
from kapps.losses import get_loss
from kapps.losses.half_squared_error import HalfSquaredError


def test_by_hand():
    # right class 1: 1/2 (0.5^2 + 0.25^2); right class 0: 1/2 (0^2 + 1^2); mean of both
    outputs = np.array([[0.5, 0.75], [1.0, 1.0]], np.float32)
    assert float(HalfSquaredError()(np.array([1, 0]), outputs)) == pytest.approx((0.15625 + 0.5) / 2)
    assert float(HalfSquaredError()(np.array([[1], [0]]), outputs)) == pytest.approx((0.15625 + 0.5) / 2)


def test_numerical_gradient():
    rng = np.random.default_rng(0)
    outputs, labels = rng.random((4, 3)), np.array([0, 2, 1, 1])
    loss = HalfSquaredError(dtype="float64")
    with tf.GradientTape() as tape:
        variable = tf.Variable(outputs)
        value = loss(labels, variable)
    gradient = tape.gradient(value, variable).numpy()
    for index in np.ndindex(outputs.shape):
        step = np.zeros_like(outputs)
        step[index] = 1e-5
        slope = (float(loss(labels, outputs + step)) - float(loss(labels, outputs - step))) / 2e-5
        assert gradient[index] == pytest.approx(slope, abs=1e-8)


def test_look_up():
    assert isinstance(get_loss("half_squared_error"), HalfSquaredError)
    assert get_loss("sparse_categorical_crossentropy") is keras.losses.sparse_categorical_crossentropy
    with pytest.raises(UnknownNameError, match="half_squared_error"):
        get_loss("half_squared_eror")

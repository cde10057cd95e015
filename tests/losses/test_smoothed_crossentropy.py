"""The smoothed cross-entropy by hand, by numpy and by numerical gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.losses import get_loss
from kapps.losses.smoothed_crossentropy import SmoothedCrossentropy


def test_by_hand():
    # e = 0.2 and two classes: 0.9 of the weight on the label, 0.1 on the other
    p = np.array([[0.25, 0.75]], np.float32)
    assert float(SmoothedCrossentropy(0.2)(np.array([1]), p)) == pytest.approx(-0.9 * np.log(0.75) - 0.1 * np.log(0.25))


def test_without_smoothing_it_is_the_plain_one():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 7).astype(np.float32)
    labels = rng.integers(0, 5, 7)
    plain = float(keras.losses.SparseCategoricalCrossentropy()(labels, p))
    assert float(SmoothedCrossentropy(0.0)(labels, p)) == pytest.approx(plain, rel=1e-6)
    assert float(SmoothedCrossentropy(0.0)(labels[:, None], p)) == pytest.approx(plain, rel=1e-6)


def test_numerical_gradient():
    """By the scores before the softmax, as the probabilities cannot move alone."""
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    loss = SmoothedCrossentropy(0.1, dtype="float64")

    def value(of):
        return loss(labels, tf.nn.softmax(of))

    with tf.GradientTape() as tape:
        variable = tf.Variable(scores)
        result = value(variable)
    gradient = tape.gradient(result, variable).numpy()
    for index in np.ndindex(scores.shape):
        step = np.zeros_like(scores)
        step[index] = 1e-5
        slope = (float(value(scores + step)) - float(value(scores - step))) / 2e-5
        assert gradient[index] == pytest.approx(slope, abs=1e-7)


def test_look_up_and_saving():
    loss = get_loss("sparse_categorical_crossentropy", label_smoothing=0.3)
    assert isinstance(loss, SmoothedCrossentropy)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.label_smoothing == 0.3

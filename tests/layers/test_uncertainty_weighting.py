from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.uncertainty_weighting import UncertaintyWeighting


def oracle(losses, s, given):
    return sum(np.exp(-s[i]) * losses[i] + s[i] / 2 for i in range(len(s)) if given[i])


@pytest.mark.parametrize("given", [(True, True, True), (True, False, True), (False, False, False)])
def test_against_the_formula_and_by_numerical_gradient(given):
    losses, s = np.array([2.0, 0.3, 1.1]), np.array([0.5, -1.0, 2.0])
    layer = UncertaintyWeighting(3, dtype="float64")
    layer.log_variances.assign(s)
    with tf.GradientTape() as tape:
        variable = tf.Variable(losses)
        total = layer(variable, tf.constant(given))
    assert float(total) == pytest.approx(oracle(losses, s, given))
    of_losses, of_s = tape.gradient(total, [variable, layer.log_variances.value])
    for index in range(3):
        step = 1e-6 * np.eye(3)[index]
        slope = (oracle(losses + step, s, given) - oracle(losses - step, s, given)) / 2e-6
        assert float(of_losses[index]) == pytest.approx(slope, abs=1e-8)
        slope = (oracle(losses, s + step, given) - oracle(losses, s - step, given)) / 2e-6
        assert float(of_s[index]) == pytest.approx(slope, abs=1e-8)


def test_starts_as_the_plain_sum():
    assert float(UncertaintyWeighting(2)(tf.constant([1.0, 2.5]))) == 3.5


def test_comes_to_rest_where_the_variance_is_twice_the_loss():
    layer = UncertaintyWeighting(2)
    losses = tf.constant([0.1, 3.0])
    for _ in range(300):
        with tf.GradientTape() as tape:
            total = layer(losses)
        layer.log_variances.assign_sub(0.2 * tape.gradient(total, layer.log_variances.value))
    np.testing.assert_allclose(layer.log_variances, np.log(2 * losses.numpy()), atol=1e-3)


def test_config_and_wrong_number():
    assert UncertaintyWeighting.from_config(UncertaintyWeighting(4).get_config()).tasks == 4
    assert keras.saving.get_registered_object("kapps>UncertaintyWeighting") is UncertaintyWeighting
    with pytest.raises(ValueError, match="tasks must be an integer of at least 1, got 0"):
        UncertaintyWeighting(0)

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.gradient_reversal import GradientReversal, reversal_strength


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 7.0])
def test_forward_is_the_identity_and_the_gradient_is_turned_round(strength):
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 4)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = GradientReversal(strength)(x)
        loss = tf.reduce_sum(y**3)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(tape.gradient(loss, x), -strength * 3 * x**2, rtol=1e-6)


def test_what_is_before_climbs_where_what_is_after_descends():
    """One step of descent on w * v * x: v goes down the loss, w up."""
    w, v = (keras.layers.Dense(1, use_bias=False, kernel_initializer="ones") for _ in range(2))
    model = keras.Sequential([keras.Input((1,)), w, GradientReversal(0.5), v])
    # Eagerly: on a busy machine a compiled step was once seen to use w as it was after its own update.
    model.compile(keras.optimizers.SGD(0.1), loss=lambda _, y: y, run_eagerly=True)
    model.train_on_batch(np.ones((4, 1)), np.zeros((4, 1)))
    assert float(v.kernel[0, 0]) == pytest.approx(1 - 0.1)
    assert float(w.kernel[0, 0]) == pytest.approx(1 + 0.5 * 0.1)


def test_strength_can_be_assigned_inside_a_compiled_step_and_is_kept(tmp_path):
    layer = GradientReversal(0.0)
    model = keras.Sequential([keras.Input((2,)), layer])
    assert not model.trainable_variables

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(model(x))
        return tape.gradient(y, x)

    np.testing.assert_array_equal(gradient(tf.ones((1, 2))), [[0, 0]])
    layer.strength.assign(2.0)
    np.testing.assert_array_equal(gradient(tf.ones((1, 2))), [[-2, -2]])
    model.save(tmp_path / "model.keras")
    assert float(keras.saving.load_model(tmp_path / "model.keras").layers[-1].strength) == 2.0


def test_half_precision_policy():
    out = GradientReversal(1e-6, dtype="mixed_float16")(np.ones((1, 1), "float32"))
    assert out.dtype == tf.float16


@pytest.mark.parametrize(
    ("progress", "strength"), [(0, 0.0), (0.1, np.tanh(0.5)), (0.5, np.tanh(2.5)), (1, np.tanh(5))]
)
def test_schedule(progress, strength):
    # 2 / (1 + exp(-z)) - 1 is tanh(z / 2)
    assert reversal_strength(progress) == pytest.approx(strength)


def test_wrong_strength():
    with pytest.raises(ValueError, match="strength must be at least 0, got -1"):
        GradientReversal(-1)

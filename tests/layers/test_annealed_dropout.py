from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.annealed_dropout import AnnealedDropout


def test_rate_falls_linearly_to_zero():
    layer = AnnealedDropout(0.8, anneal_steps=4, seed=1)
    x = np.ones((100, 200), "float32")
    for rate in (0.8, 0.6, 0.4, 0.2, 0.0, 0.0):
        outputs = layer(x, training=True).numpy()
        dropped = outputs == 0
        assert dropped.mean() == pytest.approx(rate, abs=0.015)  # 20,000 draws: standard deviation under 0.0036
        np.testing.assert_allclose(outputs[~dropped], 1 / (1 - rate), rtol=1e-5)
    np.testing.assert_array_equal(layer(x, training=True), x)
    assert int(layer.step) == 4  # it stops counting


def test_current_rate_is_that_of_the_next_step():
    layer = AnnealedDropout(0.5, anneal_steps=10)
    layer.build((None, 3))
    assert float(layer.current_rate) == pytest.approx(0.5)
    layer(np.ones((1, 3), "float32"), training=True)
    assert float(layer.current_rate) == pytest.approx(0.45)


def test_inference_changes_and_counts_nothing():
    layer = AnnealedDropout(0.5, anneal_steps=10)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    assert int(layer.step) == 0


def test_step_is_not_trained():
    layer = AnnealedDropout()
    layer.build((None, 3))
    assert layer.trainable_weights == []
    assert [w.name for w in layer.non_trainable_weights] == ["step"]


@pytest.mark.parametrize("jit_compile", [True, False])
def test_counts_the_steps_of_fit_and_goes_on_after_loading(tmp_path, jit_compile):
    model = keras.Sequential([keras.Input((6,)), AnnealedDropout(0.5, anneal_steps=8, seed=2), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=jit_compile)
    x, y = np.ones((10, 6), "float32"), np.ones((10, 1), "float32")
    model.fit(x, y, batch_size=4, validation_data=(x, y), verbose=0)  # 3 steps; validation does not count
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [int(m.layers[0].step) for m in (model, loaded)] == [3, 3]
    loaded.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert int(loaded.layers[0].step) == 8

    model.save_weights(tmp_path / "model.weights.h5")
    fresh = keras.models.clone_model(model)
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert int(fresh.layers[0].step) == 3


def test_gradient_has_the_mask_of_the_value():
    layer = AnnealedDropout(0.5, seed=3)
    x = tf.constant(np.random.default_rng(1).normal(size=(4, 50)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        total = tf.reduce_sum(outputs)
    np.testing.assert_allclose(tape.gradient(total, x) * x, outputs, rtol=1e-6)


def test_same_seed_same_masks():
    x = np.ones((2, 100), "float32")
    first, second = AnnealedDropout(seed=4), AnnealedDropout(seed=4)
    np.testing.assert_array_equal(first(x, training=True), second(x, training=True))
    assert np.abs(first(x, training=True) - first(x, training=True)).max() > 0


def test_half_precision_policy():
    outputs = AnnealedDropout(0.9, dtype="mixed_float16")(np.ones((2, 300), "float32"), training=True)
    assert outputs.dtype == tf.float16
    assert np.isfinite(outputs).all()


def test_config_round_trip():
    layer = AnnealedDropout(0.3, anneal_steps=7, seed=5, name="fading")
    assert AnnealedDropout.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.0}, "rate must be at least 0 and under 1, got 1.0"),
        ({"rate": -0.5}, "rate must be at least 0 and under 1, got -0.5"),
        ({"anneal_steps": 0}, "anneal_steps must be an integer from 1 to .*, got 0"),
        ({"anneal_steps": 1.5}, "anneal_steps must be an integer from 1 to .*, got 1.5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnnealedDropout(**arguments)

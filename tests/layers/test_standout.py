from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.standout import StandoutDense


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def built(layer: StandoutDense, features: int, seed: int = 0) -> StandoutDense:
    """The layer with random weights, biases too."""
    layer.build((None, features))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def test_inference_against_the_equation():
    layer = built(StandoutDense(4, "relu", alpha=1.5, beta=-0.5), 6)
    x = np.random.default_rng(1).normal(size=(3, 2, 6)).astype("float32")
    z = x @ layer.kernel.numpy() + layer.bias.numpy()
    expected = sigmoid(1.5 * z - 0.5) * np.maximum(z, 0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_linear_activation_at_inference_is_swish():
    # alpha = 1, beta = 0 and no activation: z sigmoid(z)
    layer = built(StandoutDense(4), 6)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    z = x @ layer.kernel.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), keras.activations.silu(z), rtol=1e-5, atol=1e-6)


def test_training_keeps_or_drops_and_inference_is_its_mean():
    layer = built(StandoutDense(5, "tanh", alpha=1.0, beta=0.3, seed=2), 6)
    x = np.random.default_rng(1).normal(size=(4, 6)).astype("float32")
    activity = np.tanh(x @ layer.kernel.numpy() + layer.bias.numpy())
    draws = 1500
    call = tf.function(lambda: layer(x, training=True))
    samples = np.stack([call().numpy() for _ in range(draws)])
    kept = samples != 0
    np.testing.assert_allclose(samples, kept * activity, rtol=1e-4, atol=1e-5)  # no scaling of what is kept
    deviation = samples.std(axis=0) / np.sqrt(draws) + 1e-6
    assert (np.abs(samples.mean(axis=0) - layer(x, training=False).numpy()) < 5 * deviation).all()
    # masks of units and of examples are independent
    assert np.abs(np.corrcoef(kept.reshape(draws, -1).T) - np.eye(20)).max() < 0.15


def test_alpha_and_beta_zero_is_dropout_of_a_half():
    layer = StandoutDense(1000, kernel_initializer="ones", alpha=0.0, seed=3)
    outputs = layer(np.ones((1, 1), "float32"), training=True).numpy()
    assert outputs.mean() == pytest.approx(0.5, abs=0.08)
    np.testing.assert_allclose(layer(np.ones((1, 1), "float32")), np.full((1, 1000), 0.5))


def test_training_gradient_takes_the_mask_as_a_constant():
    layer = built(StandoutDense(8, seed=4), 10)
    x = np.random.default_rng(1).normal(size=(1, 10)).astype("float32")
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
        total = tf.reduce_sum(outputs)
    gradient = tape.gradient(total, layer.kernel.value).numpy()
    kept = outputs.numpy()[0] != 0
    assert 0 < kept.sum() < 8
    np.testing.assert_allclose(gradient, x.T * kept, rtol=1e-5)


def test_numerical_gradient_at_inference():
    layer = built(StandoutDense(3, "tanh", alpha=2.0, dtype="float64"), 4)
    x = tf.constant(np.random.default_rng(3).normal(size=(5, 4)))
    analytic, numeric = tf.test.compute_gradient(layer, [x], delta=1e-6)
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-7)


def test_same_seed_same_masks():
    x = np.ones((2, 10), "float32")
    first, second = (built(StandoutDense(50, seed=7), 10) for _ in range(2))
    np.testing.assert_array_equal(first(x, training=True), second(x, training=True))
    assert np.abs(first(x, training=True) - first(x, training=True)).max() > 0


def test_half_precision_policy():
    layer = StandoutDense(3, "relu", dtype="mixed_float16")
    for training in (True, False):
        assert layer(np.ones((2, 4), "float32"), training=training).dtype == tf.float16


def test_fit_save_and_load(tmp_path):
    layer = StandoutDense(3, "relu", alpha=0.5, beta=1, seed=8, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((5,)), layer])
    model.compile("sgd", "mse", jit_compile=True)
    x = np.random.default_rng(2).normal(size=(10, 5)).astype("float32")
    model.fit(x, np.ones((10, 3)), batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].get_config() == layer.get_config()


@pytest.mark.parametrize("arguments", [{"alpha": float("nan")}, {"beta": float("inf")}, {"alpha": "1"}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be a finite number, got"):
        StandoutDense(3, **arguments)

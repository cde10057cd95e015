from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.drop_connect import DropConnect


def built(layer: DropConnect, features: int, seed: int = 0) -> DropConnect:
    """The layer with random weights, biases too."""
    layer.build((None, features))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def drawn_weights(layer: DropConnect, features: int) -> tuple[np.ndarray, np.ndarray]:
    """The kernel and bias that one training call used: read off by feeding zeros and the unit vectors."""
    outputs = layer(
        np.concatenate([np.zeros((1, features)), np.eye(features)]).astype("float32"), training=True
    ).numpy()
    return outputs[1:] - outputs[0], outputs[0]


def test_each_weight_is_dropped_or_scaled():
    rate = 0.25
    layer = built(DropConnect(30, rate, seed=1), 40)
    kernel, bias = drawn_weights(layer, 40)
    factors = np.concatenate([(kernel / layer.kernel.numpy()).ravel(), bias / layer.bias.numpy()])
    dropped = np.isclose(factors, 0.0, atol=1e-3)
    np.testing.assert_allclose(factors[~dropped], 1 / (1 - rate), rtol=2e-2)
    # 1,230 Bernoulli draws: standard deviation 0.0123
    assert dropped.mean() == pytest.approx(rate, abs=0.05)
    assert 0 < dropped[-30:].sum() < 30  # the biases are dropped too


def test_one_mask_a_batch_or_one_an_example():
    x = np.ones((6, 20), "float32")
    shared = built(DropConnect(5, seed=2), 20)(x, training=True).numpy()
    own = built(DropConnect(5, per_example=True, seed=2), 20)(x, training=True).numpy()
    assert np.ptp(shared, axis=0).max() == 0
    assert np.ptp(own, axis=0).min() > 0


def test_positions_of_an_example_share_its_mask():
    outputs = built(DropConnect(5, per_example=True, seed=2), 20)(np.ones((2, 3, 20), "float32"), training=True).numpy()
    assert outputs.shape == (2, 3, 5)
    assert np.ptp(outputs, axis=1).max() == 0
    assert np.abs(outputs[0] - outputs[1]).max() > 0


@pytest.mark.parametrize("per_example", [False, True])
def test_expectation_is_the_plain_layer(per_example):
    layer = built(DropConnect(4, 0.4, per_example=per_example, seed=3), 6)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    draws = 1000
    call = tf.function(lambda: layer(x, training=True))
    samples = np.stack([call().numpy() for _ in range(draws)])
    deviation = samples.std(axis=0) / np.sqrt(draws)
    assert (np.abs(samples.mean(axis=0) - layer(x, training=False).numpy()) < 5 * deviation).all()


def test_inference_uses_the_mean_weights():
    layer = built(DropConnect(4, activation="tanh"), 6)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    expected = np.tanh(x @ layer.kernel.numpy() + layer.bias.numpy())
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_sampled_inference_matches_the_mean_over_masks():
    # enough inputs for the central limit theorem; ReLU, where the mean weights give a wrong expected activation
    rng = np.random.default_rng(4)
    features, units, rate = 200, 3, 0.5
    layer = built(DropConnect(units, rate, activation="relu", inference_samples=20_000, seed=5), features)
    x = rng.normal(size=(2, features)).astype("float32")
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    sums = np.zeros((2, units))
    draws = 2000
    for _ in range(draws):
        masked = x @ (kernel * (rng.random(kernel.shape) >= rate)) + bias * (rng.random(units) >= rate)
        sums += np.maximum(masked / (1 - rate), 0)
    exact = sums / draws
    spread = np.sqrt((x**2) @ (kernel**2) + bias**2)  # of the pre-activation at rate 0.5
    assert (np.abs(layer(x).numpy() - exact) < 0.08 * spread).all()
    mean_weights = np.maximum(x @ kernel + bias, 0)
    assert (np.abs(mean_weights - exact) > 0.08 * spread).any()  # so the test tells the two apart


def test_gradient_reaches_only_what_was_kept():
    layer = built(DropConnect(8, 0.5, seed=6), 10)
    with tf.GradientTape() as tape:
        outputs = tf.reduce_sum(layer(np.ones((1, 10), "float32"), training=True))
    kernel_gradient, bias_gradient = tape.gradient(outputs, [layer.kernel.value, layer.bias.value])
    assert set(np.unique(kernel_gradient)) == {0.0, 2.0}
    assert set(np.unique(bias_gradient)) <= {0.0, 2.0}
    # the same mask in the value and in the gradient: sum of W * dW is the output without its bias
    total = (layer.kernel.numpy() * kernel_gradient.numpy()).sum() + (layer.bias.numpy() * bias_gradient.numpy()).sum()
    assert total == pytest.approx(float(outputs), rel=1e-4)


def test_same_seed_same_masks():
    x = np.ones((2, 10), "float32")
    first, second = (built(DropConnect(8, seed=7), 10) for _ in range(2))
    np.testing.assert_array_equal(first(x, training=True), second(x, training=True))
    assert np.abs(first(x, training=True) - second(x)).max() > 0
    assert np.abs(first(x, training=True) - first(x, training=True)).max() > 0


def test_rate_zero_is_a_dense_layer():
    layer = built(DropConnect(4, 0.0), 6)
    x = np.ones((2, 6), "float32")
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))


@pytest.mark.parametrize("options", [{}, {"per_example": True}, {"inference_samples": 3}])
def test_half_precision_policy(options):
    layer = DropConnect(3, 0.1, activation="relu", dtype="mixed_float16", **options)
    x = np.full((2, 4), 300.0, "float32")  # its square does not fit into float16
    for training in (True, False):
        outputs = layer(x, training=training)
        assert outputs.dtype == tf.float16
        assert np.isfinite(outputs).all()


def test_fit_save_and_load(tmp_path):
    layer = DropConnect(3, 0.3, activation="relu", per_example=True, seed=8, kernel_constraint="max_norm")
    model = keras.Sequential([keras.Input((5,)), layer])
    model.compile("sgd", "mse", jit_compile=True)
    x = np.random.default_rng(2).normal(size=(10, 5)).astype("float32")
    model.fit(x, np.ones((10, 3)), batch_size=4, verbose=0)  # the last batch is smaller
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.0}, "rate must be at least 0 and under 1, got 1.0"),
        ({"rate": -0.1}, "rate must be at least 0 and under 1, got -0.1"),
        ({"rate": float("nan")}, "rate must be"),
        ({"inference_samples": -1}, "inference_samples must be an integer of at least 0, got -1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DropConnect(3, **arguments)

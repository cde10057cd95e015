from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.local_response_normalization import LocalResponseNormalization


def oracle(x, size, k, alpha, beta):
    """The paper's equation, channel by channel."""
    outputs = np.empty_like(x, dtype="float64")
    channels = x.shape[-1]
    for i in range(channels):
        window = x[..., max(0, i - size // 2) : min(channels - 1, i + size // 2) + 1].astype("float64")
        outputs[..., i] = x[..., i] / (k + alpha * (window**2).sum(axis=-1)) ** beta
    return outputs


def test_hand_computed_case():
    layer = LocalResponseNormalization(size=3, k=1.0, alpha=1.0, beta=0.5)
    # sums of squares over the neighbours: 1 + 4, 1 + 4 + 4, 4 + 4; so the denominators are sqrt(6), sqrt(10), 3
    np.testing.assert_allclose(layer(np.array([[1.0, 2.0, -2.0]])), [[1 / 6**0.5, 2 / 10**0.5, -2 / 3]], rtol=1e-6)


@pytest.mark.parametrize(("size", "channels"), [(5, 16), (1, 4), (7, 3), (5, 1)])
def test_against_the_equation(size, channels):
    x = np.random.default_rng(0).normal(scale=20, size=(2, 3, 4, channels)).astype("float32")
    layer = LocalResponseNormalization(size, k=2.0, alpha=1e-2, beta=0.75)
    np.testing.assert_allclose(layer(x), oracle(x, size, 2.0, 1e-2, 0.75), rtol=1e-5)


def test_mean_divides_alpha_by_the_size():
    x = np.random.default_rng(1).normal(scale=20, size=(2, 3, 3, 8)).astype("float32")
    layer = LocalResponseNormalization(5, k=1.0, alpha=1e-2, beta=0.75, reduction="mean")
    np.testing.assert_allclose(layer(x), oracle(x, 5, 1.0, 1e-2 / 5, 0.75), rtol=1e-5)


def test_values_and_gradient_equal_tensorflow():
    x = tf.constant(np.random.default_rng(2).normal(scale=10, size=(2, 5, 5, 12)).astype("float32"))
    layer = LocalResponseNormalization(5, k=2.0, alpha=1e-2, beta=0.75)
    results = []
    for call in (layer, lambda x: tf.nn.local_response_normalization(x, 2, 2.0, 1e-2, 0.75)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = call(x)
            loss = tf.reduce_sum(outputs**3)
        results.append((outputs, tape.gradient(loss, x)))
    (ours, our_gradient), (theirs, their_gradient) = results
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-3, atol=1e-3 * np.abs(their_gradient).max())


def test_compiled_by_xla():
    x = np.random.default_rng(3).normal(size=(2, 3, 3, 8)).astype("float32")
    layer = LocalResponseNormalization()
    np.testing.assert_allclose(tf.function(layer, jit_compile=True)(x), layer(x), rtol=1e-5)


def test_half_precision_policy_does_not_overflow():
    x = np.full((1, 2, 2, 5), 1000.0, "float32")  # the square, 1e6, does not fit into float16
    layer = LocalResponseNormalization(dtype="mixed_float16")
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
    assert outputs.dtype == tf.float16
    np.testing.assert_allclose(outputs, oracle(x, 5, 2.0, 1e-4, 0.75), rtol=2e-3)
    assert np.isfinite(tape.gradient(outputs, inputs)).all()


def test_save_and_load_with_unknown_image_size(tmp_path):
    layer = LocalResponseNormalization(3, k=1.0, alpha=0.1, beta=0.5, reduction="mean")
    model = keras.Sequential([keras.Input((None, None, 6)), layer])
    assert model.output_shape == (None, None, None, 6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(4).normal(size=(1, 4, 5, 6)).astype("float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 4}, "size must be an odd integer of at least 1, got 4"),
        ({"size": 0}, "size must be an odd integer"),
        ({"k": 0.0}, "k must be above 0 .*, got 0.0"),
        ({"alpha": -1.0}, "alpha must be at least 0, got -1.0"),
        ({"reduction": "max"}, "reduction must be 'sum' .* or 'mean' .*, got 'max'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LocalResponseNormalization(**arguments)


def test_unknown_number_of_channels():
    with pytest.raises(ValueError, match="the number of channels must be known"):
        LocalResponseNormalization()(keras.Input((4, 4, None)))

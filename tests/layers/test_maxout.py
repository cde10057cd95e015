from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.maxout import Maxout


def built(layer: Maxout, features: int, seed: int = 0) -> Maxout:
    """The layer with random weights, biases too."""
    layer.build((None, features))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def test_hand_computed_case():
    layer = Maxout(units=2, pieces=2)
    layer.build((None, 1))
    # columns: piece 0 of both units, then piece 1 of both; unit 0 is max(x, -x) = |x|, unit 1 is max(0, x) = ReLU
    layer.set_weights([np.array([[1.0, 0.0, -1.0, 1.0]]), np.zeros(4)])
    outputs = layer(np.array([[-3.0], [0.0], [2.0]]))
    np.testing.assert_array_equal(outputs, [[3.0, 0.0], [0.0, 0.0], [2.0, 2.0]])


@pytest.mark.parametrize("leading", [(5,), (2, 3), (2, 3, 4)])
def test_against_the_equation(leading):
    units, pieces, features = 3, 4, 6
    layer = built(Maxout(units, pieces), features)
    x = np.random.default_rng(1).normal(size=(*leading, features)).astype("float32")
    kernel, bias = (w.numpy() for w in layer.weights)
    expected = np.full((*leading, units), -np.inf)
    for j in range(pieces):
        for i in range(units):
            column = j * units + i
            expected[..., i] = np.maximum(expected[..., i], x @ kernel[:, column] + bias[column])
    outputs = layer(x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == outputs.shape


def test_one_piece_is_a_dense_layer():
    layer = built(Maxout(4, pieces=1), 5)
    dense = keras.layers.Dense(4)
    dense.build((None, 5))
    dense.set_weights(layer.get_weights())
    x = np.random.default_rng(2).normal(size=(7, 5)).astype("float32")
    np.testing.assert_allclose(layer(x), dense(x), rtol=1e-6)


def test_without_bias():
    layer = Maxout(3, use_bias=False)
    layer.build((None, 2))
    assert layer.bias is None
    np.testing.assert_array_equal(layer(np.zeros((1, 2))), np.zeros((1, 3)))


def test_only_the_winning_piece_gets_a_gradient():
    layer = Maxout(units=1, pieces=2)
    layer.build((None, 1))
    layer.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    with tf.GradientTape() as tape:
        outputs = layer(np.array([[3.0]]))
    np.testing.assert_array_equal(tape.gradient(outputs, layer.kernel.value), [[3.0, 0.0]])


def test_numerical_gradient():
    layer = built(Maxout(3, 3, dtype="float64"), 4)
    x = tf.constant(np.random.default_rng(3).normal(size=(5, 4)))
    analytic, numeric = tf.test.compute_gradient(layer, [x], delta=1e-6)
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-7)


def test_max_norm_holds_for_each_piece():
    layer = Maxout(3, 2, kernel_initializer="ones", kernel_constraint=keras.constraints.MaxNorm(0.5, axis=0))
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
    assert np.linalg.norm(layer.kernel.numpy(), axis=0) == pytest.approx(np.full(6, 0.5), abs=1e-5)


def test_half_precision_policy():
    layer = Maxout(3, dtype="mixed_float16")
    outputs = layer(np.ones((2, 4), "float32"))
    assert outputs.dtype == tf.float16
    assert layer.kernel.dtype == "float32"


def test_save_and_load(tmp_path):
    layer = Maxout(3, 4, kernel_regularizer="l2", kernel_constraint=keras.constraints.MaxNorm(2.0, axis=0))
    model = keras.Sequential([keras.Input((None, 5)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(4).normal(size=(2, 3, 5)).astype("float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].get_config() == layer.get_config()


@pytest.mark.parametrize("arguments", [{"units": 0}, {"units": 2.5}, {"units": 2, "pieces": 0}, {"units": True}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be an integer of at least 1, got"):
        Maxout(**arguments)

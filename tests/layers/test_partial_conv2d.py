from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from kapps.layers.partial_conv2d import PartialConv2D

TABLE = ((0, 2), (1,), (2, 1, 0), (0,))


@pytest.fixture
def layer():
    layer = PartialConv2D(TABLE, 3, kernel_initializer="random_normal", bias_initializer="random_normal")
    layer.build((None, None, None, 3))
    return layer


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype("float32")


def test_equals_scipy_map_by_map(layer, x):
    kernel, bias = layer.get_weights()
    pairs = iter(np.moveaxis(kernel, -1, 0))
    found = np.asarray(layer(x))
    for output, seen in enumerate(TABLE):
        kernels = [next(pairs) for _ in seen]
        for image in range(2):
            terms = [correlate(x[image, :, :, i], k, "valid") for i, k in zip(seen, kernels, strict=True)]
            np.testing.assert_allclose(found[image, :, :, output], sum(terms) + bias[output], atol=1e-5)


def test_gradients_are_those_of_a_masked_convolution(layer, x):
    """The oracle is an ordinary convolution by the full kernel, whose gradient is read at the connected pairs."""
    full = tf.Variable(layer.full_kernel())
    weight = np.random.default_rng(1).normal(size=(2, 5, 4, 4)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.conv2d(x, full, 1, "VALID") * weight)
    expected = tape.gradient(loss, full).numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) * weight)
    found = tape.gradient(loss, layer.kernel.value).numpy()
    pairs = [(seen, output) for output, row in enumerate(TABLE) for seen in row]
    for pair, (source, output) in enumerate(pairs):
        np.testing.assert_allclose(found[..., pair], expected[:, :, source, output], rtol=1e-4, atol=1e-5)


def test_only_connected_kernels_exist(layer):
    assert layer.count_params() == 3 * 3 * 7 + 4
    full = np.asarray(layer.full_kernel())
    connected = np.array([[source in row for row in TABLE] for source in range(3)])
    assert np.all(full[:, :, ~connected] == 0)
    assert np.all(full[:, :, connected] != 0)


def test_an_unconnected_map_changes_nothing(layer, x):
    other = x.copy()
    other[..., 0] += 5
    same = np.isclose(layer(x), layer(other)).all(axis=(0, 1, 2))
    assert same.tolist() == [False, True, False, False]


def test_full_table_is_an_ordinary_convolution(x):
    layer = PartialConv2D([range(3)] * 4, 3)
    layer.build(x.shape)
    ordinary = keras.layers.Conv2D(4, 3)
    ordinary.build(x.shape)
    ordinary.set_weights([np.asarray(layer.full_kernel()), layer.get_weights()[1]])
    np.testing.assert_allclose(layer(x), ordinary(x), atol=1e-5)


def test_maps_start_differently(layer):
    kernel = layer.get_weights()[0]
    assert len(np.unique(kernel)) == kernel.size


def test_saving(layer, x, tmp_path):
    image = keras.Input((7, 6, 3))
    model = keras.Model(image, PartialConv2D(TABLE, 3, "tanh")(image))
    assert model.output_shape == (None, 5, 4, 4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


@pytest.mark.parametrize("table", [((0,), ()), ((0, 0),)])
def test_impossible_table_is_refused(table):
    with pytest.raises(ValueError, match="should name different maps"):
        PartialConv2D(table, 3)


def test_table_that_names_too_high_a_map_is_refused(x):
    with pytest.raises(ValueError, match="row 1 of the table should name maps below 3"):
        PartialConv2D(((0,), (3,)), 3)(x)

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.spatial_pyramid_pooling import SpatialPyramidPooling


def oracle(x, levels):
    """Bin by bin, after appendix A of the paper."""
    batch, height, width, _ = x.shape
    vectors = []
    for n in levels:
        for i in range(n):
            rows = slice(math.floor(i * height / n), math.ceil((i + 1) * height / n))
            for j in range(n):
                columns = slice(math.floor(j * width / n), math.ceil((j + 1) * width / n))
                vectors.append(x[:, rows, columns].reshape(batch, -1, x.shape[-1]).max(axis=1))
    return np.concatenate(vectors, axis=-1)


def test_hand_computed_case():
    x = np.array([[1, 2, 3], [4, 5, 6], [9, 8, 7]], "float32")[None, :, :, None]
    # of 3 rows in 2 bins the middle one is in both
    np.testing.assert_array_equal(SpatialPyramidPooling((2, 1))(x), [[5, 6, 9, 8, 9]])


@pytest.mark.parametrize(("height", "width"), [(13, 13), (18, 18), (7, 10), (10, 6), (1, 1), (2, 5), (37, 12)])
def test_against_the_paper_s_bins(height, width):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")
    np.testing.assert_array_equal(SpatialPyramidPooling((6, 3, 2, 1))(x), oracle(x, (6, 3, 2, 1)))


def test_one_model_for_all_sizes(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 2)), SpatialPyramidPooling((3, 1))])
    assert model.output_shape == (None, 20)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for size in ((5, 9), (3, 3), (12, 4)):
        x = np.random.default_rng(1).normal(size=(3, *size, 2)).astype("float32")
        np.testing.assert_array_equal(loaded(x), oracle(x, (3, 1)))
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 2))])
    np.testing.assert_array_equal(graph(x), oracle(x, (3, 1)))


def test_gradient_goes_to_each_bin_s_maximum():
    x = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [9.0, 8.0, 7.0]])[None, :, :, None]
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(SpatialPyramidPooling((2, 1))(x) * [1.0, 10.0, 100.0, 1000.0, 10000.0])
    expected = [[0, 0, 0], [0, 1, 10], [10100, 1000, 0]]
    np.testing.assert_allclose(tape.gradient(loss, x)[0, :, :, 0], expected)


@pytest.mark.parametrize("levels", [(), (0,), (2.5,), (3, True)])
def test_wrong_levels(levels):
    with pytest.raises(ValueError, match="levels must be integers of at least 1"):
        SpatialPyramidPooling(levels)


def test_unknown_number_of_channels():
    with pytest.raises(ValueError, match="the number of channels must be known"):
        SpatialPyramidPooling()(keras.Input((4, 4, None)))

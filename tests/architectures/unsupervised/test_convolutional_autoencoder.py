"""The convolutional autoencoder: shapes, the transposed convolution, gradients, and what it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.convolutional_autoencoder import (
    VARIANTS,
    ConvolutionalAutoencoder,
    ConvolutionalAutoencoderConfig,
)
from kapps.errors import DataError, RecipeError, UnknownNameError


def crosses(count, seed=0):
    """Pictures 9x9x1 of a bright cross at some place."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 9, 9, 1), "float32")
    for image, (row, column) in zip(images, rng.integers(1, 8, (count, 2)), strict=True):
        image[row - 1 : row + 2, column] = image[row, column - 1 : column + 2] = 1
    return images


def small(**values):
    """A net of two stages, 9x9 -> 5x5 -> 3x3."""
    return ConvolutionalAutoencoder((9, 9, 1), ConvolutionalAutoencoderConfig(maps=(4, 6), kernel=3, **values))


def test_shapes_and_numbers_are_those_of_the_table():
    model = ConvolutionalAutoencoder((28, 28, 1), VARIANTS["convolutional_autoencoder"])
    assert model.count_params() == 416 + 12_832 + 16 + 1
    assert model.shapes == ((28, 28, 1), (14, 14, 16), (7, 7, 32))
    codes = model.transform(np.zeros((2, 28, 28, 1)))
    assert codes.shape == (2, 7, 7, 32)
    assert model.inverse_transform(codes).shape == (2, 28, 28, 1)
    assert model.components_.shape == (16, 5, 5, 1)
    assert small().transform(np.zeros((1, 9, 9, 1))).shape == (1, 3, 3, 6)


def test_a_kernel_of_one_pixel_by_hand():
    """1x1 kernels see every second pixel, and give back nothing but these."""
    config = ConvolutionalAutoencoderConfig(maps=(1,), kernel=1, activation="linear", output="linear")
    model = ConvolutionalAutoencoder((2, 2, 1), config)
    model.kernels[0].assign([[[[3.0]]]])
    model.code_biases[0].assign([1.0])
    model.output_biases[0].assign([0.5])
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(model.transform(x).ravel(), [4.0])
    np.testing.assert_allclose(model.inverse_transform([[[[4.0]]]]).ravel(), [12.5, 0.5, 0.5, 0.5])


def test_the_decoder_is_the_transposed_encoder():
    """<encode x, z> = <x, decode z> for linear units without biases, also where sides are odd."""
    model = small(activation="linear", output="linear")
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(1, 9, 9, 1)), rng.normal(size=(1, 3, 3, 6))
    assert (model.transform(x) * z).sum() == pytest.approx((x * model.inverse_transform(z)).sum(), rel=1e-4)


@pytest.mark.parametrize("values", [{}, {"tied": False, "output": "linear", "activation": "tanh"}])
def test_numerical_gradients(values, gradients_are_differences):
    config = ConvolutionalAutoencoderConfig(maps=(2, 2), kernel=2, **{"activation": "sigmoid", **values})
    model = ConvolutionalAutoencoder((3, 4, 1), config, dtype="float64")
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    x, seen = tf.constant(rng.random((3, 3, 4, 1))), tf.constant(rng.random((3, 3, 4, 1)))
    learned = model.trainable_variables
    assert len(learned) == (6 if config.tied else 8)
    gradients_are_differences(lambda: model.objective(x, seen)[0], learned)


@pytest.fixture(scope="module")
def learned():
    keras.utils.set_random_seed(0)
    model = small(corruption="masking", corruption_level=0.1, learning_rate=0.01, seed=1)
    return model, model.fit(crosses(300), epochs=8, batch_size=20, verbose=0).history


def test_it_learns_to_give_back_what_it_sees(learned):
    model, history = learned
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    fresh = crosses(50, seed=1)
    assert np.square(model.inverse_transform(model.transform(fresh)) - fresh).mean() < 0.5 * fresh.var()


def test_a_seed_gives_the_same_again(learned):
    codes = learned[0].transform(crosses(10, seed=2))
    assert (float(codes.mean()), float(codes.std())) == pytest.approx(FINGERPRINT, rel=2e-3)


FINGERPRINT = (1.1727, 0.95198)


def test_save_and_load(learned, comes_back_from_a_file, tmp_path):
    model, x = learned[0], crosses(5)
    comes_back_from_a_file(model, x, tmp_path)


@pytest.mark.parametrize(
    ("shape", "values", "error", "complaint"),
    [
        ((81,), {}, RecipeError, r"expected images \(h, w, channels\)"),
        ((9, 9, 1), {"maps": ()}, RecipeError, "as maps, got \\(\\)"),
        ((9, 9, 1), {"kernel": 0}, RecipeError, "a side of at least 1 as kernel"),
        ((9, 9, 1), {"activation": "swish"}, RecipeError, "as activation, got 'swish'"),
        ((9, 9, 1), {"output": "tanh"}, RecipeError, "as output, got 'tanh'"),
        ((9, 9, 1), {"learning_rate": -1.0}, RecipeError, "over 0 as learning_rate"),
        ((9, 9, 1), {"corruption": "mask"}, UnknownNameError, "did you mean 'masking'"),
        ((9, 9, 1), {"corruption": "salt_and_pepper", "output": "linear"}, RecipeError, "sigmoid outputs"),
        ((9, 9, 1), {"maps": (10**5, 10**5)}, RecipeError, "take fewer components"),
    ],
)
def test_configurations_that_are_refused_in_one_line(shape, values, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        ConvolutionalAutoencoder(shape, ConvolutionalAutoencoderConfig(**values))
    assert "\n" not in str(caught.value)


def test_data_that_is_refused():
    with pytest.raises(DataError, match="numbers from 0 to 1"):
        small().fit(255 * crosses(3))
    with pytest.raises(DataError, match=r"expected data \[N, 9, 9, 1\]"):
        small().fit(np.zeros((3, 9, 9)))

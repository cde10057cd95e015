from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.convolutional_dbn import VARIANTS, ConvolutionalDBN, ConvolutionalDBNConfig
from kapps.architectures.unsupervised.convolutional_rbm import ConvolutionalRBM
from kapps.errors import DataError, RecipeError

SMALL = ConvolutionalDBNConfig(
    filters=(4, 5), kernels=(3, 3), pools=(2, 2), learning_rates=(0.2, 0.1), sparsity_targets=(0.05, 0.05), seed=1
)


def squares(count=60):
    rng = np.random.default_rng(0)
    images = np.zeros((count, 14, 14, 1), "float32")
    for image, (top, left) in zip(images, rng.integers(0, 8, (count, 2)), strict=True):
        image[top : top + 6, left : left + 6] = 1
    return images


@pytest.fixture(scope="module")
def eagerly():
    """Without graphs, whose tracing takes far longer than these few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def learned(eagerly):
    keras.utils.set_random_seed(0)
    network = ConvolutionalDBN((14, 14, 1), SMALL)
    return network, network.fit(squares(), epochs=(2, 3), batch_size=20, verbose=0)


def taught(x, **arguments):
    keras.utils.set_random_seed(0)
    network = ConvolutionalDBN((14, 14, 1), SMALL)
    network.fit(x, epochs=1, verbose=0, **arguments)
    return network


def test_layers_learn_one_after_the_other(learned):
    _, histories = learned
    assert [len(history.epoch) for history in histories] == [2, 3]
    errors = histories[0].history["reconstruction_error"]
    assert errors[-1] < errors[0]


@pytest.mark.slow
def test_what_is_above_does_not_change_what_is_below(eagerly):
    network = taught(squares(), batch_size=20)
    keras.utils.set_random_seed(0)
    lowest = ConvolutionalRBM((14, 14, 1), network.rbms[0].config)
    lowest.fit(squares(), batch_size=20, verbose=0)
    np.testing.assert_array_equal(lowest.W.numpy(), network.rbms[0].W.numpy())


def test_codes_and_features(learned):
    network, _ = learned
    x = squares(3)
    assert network.code_shapes == ((6, 6, 4), (2, 2, 5))
    codes = network.transform(x)
    assert codes.shape == (3, 2, 2, 5)
    step_by_step = network.rbms[1].transform(network.rbms[0].transform(x))
    np.testing.assert_allclose(codes, step_by_step, rtol=1e-5)
    features = network.features(x)
    assert features.shape == (3, 144 + 20)
    np.testing.assert_allclose(features[:, 144:], codes.reshape(3, -1), rtol=1e-5)
    assert network.inverse_transform(codes).shape == (3, 14, 14, 1)
    assert network.components_.shape == (4, 3, 3, 1)
    np.testing.assert_allclose(network.encoder()(x), codes, rtol=1e-5)


def test_a_seed_gives_the_same_again_also_as_a_stream(eagerly):
    x = squares(40)
    first, again = (taught(x, batch_size=20, shuffle=False) for _ in range(2))
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    streamed = taught(tf.data.Dataset.from_tensor_slices((x, np.zeros(40))).batch(20))
    # The biases differ at the start, as of a stream only the first batch is looked at.
    for index in (0, 1):
        np.testing.assert_allclose(streamed.rbms[index].W, first.rbms[index].W, atol=3e-3)


def test_save_and_load(learned, tmp_path):
    learned[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.transform(squares(5)), learned[0].transform(squares(5)))


def test_the_variant_s_sizes():
    network = ConvolutionalDBN((28, 28, 1), VARIANTS["convolutional_dbn"])
    assert network.code_shapes == ((9, 9, 40), (2, 2, 40))
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)
    assert trained == (11 * 11 * 40 + 1 + 40) + (6 * 6 * 40 * 40 + 40 + 40)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"filters": (4,)}, "lengths: filters 1, kernels 2"),
        ({"kernels": (11, 10)}, "a kernel that fits into 9x9"),
        ({"visible_units": "binary"}, "bernoulli or gaussian"),
    ],
)
def test_what_cannot_be_made(fields, complaint):
    with pytest.raises(RecipeError, match=complaint) as caught:
        ConvolutionalDBN((28, 28, 1), ConvolutionalDBNConfig(**fields))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_learned(learned):
    with pytest.raises(RecipeError, match="expected epochs for 2 layers"):
        learned[0].fit(squares(), epochs=(1, 2, 3))
    with pytest.raises(DataError, match="from 0 to 1"):
        learned[0].fit(2 * squares())

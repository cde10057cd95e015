"""The variational autoencoder: its bound by hand and by sums over all there is, its gradients, its samples."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.variational_autoencoder import VAE, VARIANTS, VAEConfig, divergence
from kapps.errors import DataError, RecipeError


def bits(count, seed=0):
    """Six bits: either the first three are on, or the last three; one in twenty is wrong."""
    rng = np.random.default_rng(seed)
    first = rng.random((count, 1)) < 0.5
    x = np.where(first, [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1])
    return np.where(rng.random(x.shape) < 0.05, 1 - x, x).astype("float32")


def test_shapes_and_numbers_are_those_of_the_table():
    model = VAE((28, 28, 1), VARIANTS["vae"])
    assert model.count_params() == 392_500 + 10_020 + 10_020 + 10_500 + 392_784
    assert model.transform(np.zeros((2, 28, 28, 1))).shape == (2, 20)
    assert model.inverse_transform(np.zeros((2, 20))).shape == (2, 28, 28, 1)
    assert model.components_.shape == (500, 28, 28, 1)
    deep = VAE((7,), VAEConfig(hidden=(5, 4), code=2))
    assert [layer.kernel.shape for layer in deep.decoder_layers] == [(2, 4), (4, 5)]


def test_the_divergence_by_hand_and_by_sampling():
    mean, log_var = tf.constant([[1.0, 0.0], [0.0, 0.0]]), tf.constant([[0.0, np.log(4.0)], [0.0, 0.0]], tf.float32)
    np.testing.assert_allclose(divergence(mean, log_var), [0.5 + (4 - 1 - np.log(4)) / 2, 0], rtol=1e-6)
    z = np.random.default_rng(0).normal(0.4, 1.5, 200_000)  # E log q - log p
    log_q, log_p = -(((z - 0.4) / 1.5) ** 2) / 2 - np.log(1.5), -(z**2) / 2
    closed = divergence(tf.constant([[0.4]]), tf.constant([[2 * np.log(1.5)]], tf.float32))
    assert float(closed[0]) == pytest.approx((log_q - log_p).mean(), abs=0.01)


def test_the_bound_by_hand():
    model = VAE((2,), VAEConfig(hidden=(1,), code=1))
    for variable in model.trainable_variables:
        variable.assign(tf.zeros(variable.shape))
    model.output_layer.kernel.assign([[1.0, -1.0]])
    model.decoder_layers[0].kernel.assign([[2.0]])
    model.mean_layer.bias.assign([0.5])
    bound, again = model.bound(tf.constant([[1.0, 0.0]]), tf.constant([[-0.25]]))
    h = np.tanh(2 * (0.5 - 0.25))  # s is 1
    p = 1 / (1 + np.exp(-h))
    assert float(bound[0]) == pytest.approx(2 * np.log(p) - 0.125, rel=1e-5)
    np.testing.assert_allclose(again, [[p, 1 - p]], rtol=1e-5)


def test_numerical_gradients(gradients_are_differences):
    model = VAE((4,), VAEConfig(hidden=(3,), code=2), dtype="float64")
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    x, noise = tf.constant(rng.random((5, 4))), tf.constant(rng.normal(size=(5, 2)))
    learned = model.trainable_variables
    assert len(learned) == 10
    gradients_are_differences(lambda: tf.reduce_mean(model.bound(x, noise)[0]), learned)


@pytest.fixture(scope="module")
def learned():
    keras.utils.set_random_seed(0)
    model = VAE((6,), VAEConfig(hidden=(16,), code=1, learning_rate=0.02, seed=4))
    return model, model.fit(bits(500), epochs=12, batch_size=25, verbose=0).history


def test_the_bound_rises_and_stays_under_the_likelihood(learned):
    """One latent number: log p(x) is an integral that can be added up, for all 64 examples there can be."""
    model, history = learned
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    every = np.array(list(itertools.product([0.0, 1.0], repeat=6)), "float32")
    z = np.linspace(-6, 6, 2001)
    p = model.inverse_transform(z[:, None]).astype("float64").clip(1e-7, 1 - 1e-7)
    joint = np.exp(every @ np.log(p).T + (1 - every) @ np.log(1 - p).T) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    likelihood = np.log(joint.sum(axis=1) * (z[1] - z[0]))
    assert np.exp(likelihood).sum() == pytest.approx(1, abs=1e-3)
    bound = model.score_samples(every, samples=200)
    assert (bound < likelihood + 0.1).all()
    seen = bits(300, seed=1)
    assert model.score_samples(seen, samples=20).mean() > -3.5  # bits that are independent: -6 log 2 = -4.16


def test_samples_look_like_the_data(learned):
    samples = learned[0].sample(200)
    assert samples.shape == (200, 6)
    halves = samples.reshape(200, 2, 3).mean(axis=2)
    assert np.corrcoef(halves.T)[0, 1] < -0.7
    assert 0.2 < halves[:, 0].mean() < 0.8
    assert (learned[0].sample(3) != samples[:3]).any()


def test_a_seed_gives_the_same_again(learned):
    codes = learned[0].transform(bits(50, seed=2))
    assert (float(np.abs(codes).mean()), float(codes.std())) == pytest.approx(FINGERPRINT, rel=5e-3)


FINGERPRINT = (0.98116, 0.99889)


def test_save_and_load(learned, comes_back_from_a_file, tmp_path):
    model, x = learned[0], bits(5)
    comes_back_from_a_file(model, x, tmp_path)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"hidden": ()}, "as hidden, got \\(\\)"),
        ({"hidden": (3, 0)}, "as hidden"),
        ({"code": 0}, "at least 1 unit as code"),
        ({"learning_rate": 0.0}, "over 0 as learning_rate"),
        ({"hidden": (10**6, 10**6)}, "take fewer components"),
    ],
)
def test_configurations_that_are_refused_in_one_line(values, complaint):
    with pytest.raises(RecipeError, match=complaint) as caught:
        VAE((6,), VAEConfig(**values))
    assert "\n" not in str(caught.value)


def test_data_and_numbers_that_are_refused(learned):
    with pytest.raises(DataError, match="numbers from 0 to 1, got 0 to 2"):
        learned[0].fit(2 * bits(4))
    with pytest.raises(RecipeError, match="at least 1 sample, got 0"):
        learned[0].sample(0)
    with pytest.raises(RecipeError, match="at least 1 sample for each example"):
        learned[0].score_samples(bits(2), samples=0)

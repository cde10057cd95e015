"""The deep autoencoder on points of a curve in twelve dimensions, and its linear hidden units by integration."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.deep_autoencoder import (
    VARIANTS,
    DeepAutoencoder,
    DeepAutoencoderConfig,
    LinearHiddenRBM,
)
from kapps.architectures.unsupervised.rbm import RBMConfig
from kapps.errors import DataError, RecipeError


def curve(count=400, seed=0):
    """A bump that moves along twelve pixels, [N, 3, 4]: one number says all, but no linear one does."""
    places = np.random.default_rng(seed).uniform(1, 10, count)
    return np.exp(-np.square(np.arange(12) - places[:, None]) / 2).astype("float32").reshape(count, 3, 4)


def learned(epochs=60, **changes):
    keras.utils.set_random_seed(0)
    settings = {"hidden": (24, 12), "code": 2, "pretraining": 5, **changes}
    network = DeepAutoencoder((3, 4), DeepAutoencoderConfig(**settings))
    network.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    return network, network.fit(curve(), epochs=epochs, batch_size=20, verbose=0)


@pytest.fixture(scope="module")
def trained():
    """(network, history of the fine-tuning, kernels before it); no test changes the network."""
    keras.utils.set_random_seed(0)
    network = DeepAutoencoder((3, 4), DeepAutoencoderConfig(hidden=(24,), code=2))
    histories = network.pretrain(curve(), epochs=(5, 3), batch_size=20, verbose=0)
    assert [len(history.epoch) for history in histories] == [5, 3]
    kernels = [layer.kernel.numpy() for layer in (*network.encoding, *network.decoding)]
    network.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    return network, network.fit(curve(), epochs=60, batch_size=20, verbose=0), kernels


def test_it_gives_back_more_than_as_many_principal_components(trained):
    network, history, _ = trained
    data, train = curve(100, seed=1), curve()
    codes = network.transform(data)
    again = network.inverse_transform(codes)
    assert codes.shape == (100, 2)
    assert again.shape == data.shape
    mean = train.reshape(400, -1).mean(0)
    axes = np.linalg.svd(train.reshape(400, -1) - mean, full_matrices=False)[2][:2]
    centred = data.reshape(100, -1) - mean
    by_axes = np.square(centred - centred @ axes.T @ axes).mean()
    assert np.square(again - data).mean() < 0.5 * by_axes
    assert history.history["mse"][-1] < history.history["mse"][0]
    assert network.evaluate(data, verbose=0, return_dict=True)["mse"] == pytest.approx(
        np.square(again - data).mean(), rel=1e-3
    )
    assert network.components_.shape == (2, 3, 4)


def test_unrolling_gives_both_ways_the_weights_of_the_stack(trained):
    network, _, kernels = trained
    np.testing.assert_array_equal(kernels[0], kernels[3].T)
    np.testing.assert_array_equal(kernels[1], kernels[2].T)
    assert not np.array_equal(network.encoding[0].kernel.numpy(), network.decoding[1].kernel.numpy().T)


def test_fit_pretrains_once_and_only_where_it_is_asked_to(monkeypatch):
    calls = []

    def pretrain(self, x, **settings):
        calls.append(settings)
        self.encoding[0].bias.assign_add(np.ones(5))

    monkeypatch.setattr(DeepAutoencoder, "pretrain", pretrain)
    stream = tf.data.Dataset.from_tensor_slices(curve(40)).batch(10)
    for pretraining in (3, 0):
        network = DeepAutoencoder((3, 4), DeepAutoencoderConfig(hidden=(5,), code=2, pretraining=pretraining))
        network.fit(stream, verbose=0)
        network.fit(stream, verbose=0)
    assert [call["epochs"] for call in calls] == [3]


@pytest.mark.slow
def test_a_stream_teaches_the_stack_too():
    stream = tf.data.Dataset.from_tensor_slices(curve()).batch(20)
    network = DeepAutoencoder((3, 4), DeepAutoencoderConfig(hidden=(24,), code=2, pretraining=2))
    network.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    errors = network.fit(stream, epochs=20, verbose=0).history["mse"]
    assert errors[-1] < 0.5 * errors[0]


def test_the_loss_is_the_cross_entropy_of_the_pixels(trained):
    network, _, _ = trained
    data = curve(10, seed=2)
    again = network.inverse_transform(network.transform(data)).astype("float64")
    entropies = -(data * np.log(again) + (1 - data) * np.log(1 - again))
    measured = network.evaluate(data, verbose=0, return_dict=True)["loss"]
    assert measured == pytest.approx(entropies.sum(axis=(1, 2)).mean(), rel=1e-4)


def test_its_gradient_is_that_of_finite_differences():
    network = DeepAutoencoder((3, 4), DeepAutoencoderConfig(hidden=(5, 4), code=2, code_units="sigmoid", seed=3))
    data = tf.constant(curve(8))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network._errors_of(data, 0.0)[0])
    gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    rng = np.random.default_rng(0)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        start, direction = variable.numpy(), rng.choice([-1, 1], variable.shape).astype("float32")
        ends = []
        for step in (0.01, -0.01):
            variable.assign(start + step * direction)
            ends.append(float(tf.reduce_mean(network._errors_of(data, 0.0)[0])))
        variable.assign(start)
        assert (ends[0] - ends[1]) / 0.02 == pytest.approx(float(np.sum(gradient * direction)), abs=2e-3)


@pytest.mark.slow
def test_noise_drives_sigmoid_codes_to_their_ends():
    def edge(noise):
        network, _ = learned(code_units="sigmoid", code=6, code_noise=noise, epochs=40)
        codes = network.transform(curve(200, seed=4))
        assert codes.min() >= 0
        assert codes.max() <= 1
        return np.abs(codes - 0.5).mean()

    assert edge(4.0) > edge(0.0)
    assert edge(4.0) > 0.4


def test_a_saved_network_is_the_same_network(trained, tmp_path):
    network, _, _ = trained
    data = curve(20, seed=5)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    assert isinstance(again, DeepAutoencoder)
    assert again.config == network.config
    np.testing.assert_array_equal(again.transform(data), network.transform(data))
    np.testing.assert_array_equal(
        again.inverse_transform(again.transform(data)), network.inverse_transform(network.transform(data))
    )


@pytest.mark.slow
def test_a_seed_gives_the_same_again():
    one, other = (learned(epochs=2)[0] for _ in range(2))
    for mine, yours in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize(("name", "params"), [("deep_autoencoder", 2_837_314), ("deep_autoencoder_2d", 2_823_286)])
def test_the_variants_have_the_papers_sizes(name, params):
    assert DeepAutoencoder((28, 28, 1), VARIANTS[name]).count_params() == params


def test_the_free_energy_of_linear_hidden_units():
    """One hidden unit, so that exp(-E) can be summed up along a line."""
    machine = LinearHiddenRBM((4,), RBMConfig(hidden=1, seed=0))
    rng = np.random.default_rng(0)
    for weight in (machine.W, machine.b, machine.c):
        weight.assign(rng.normal(size=weight.shape))
    v = rng.integers(0, 2, (6, 4)).astype("float32")
    h = np.linspace(-20, 20, 40_001)
    w, b, c = (weight.numpy().astype("float64") for weight in (machine.W, machine.b, machine.c))
    energies = np.square(h - c) / 2 - (v @ b)[:, None] - (v @ w) * h
    expected = -np.log(np.exp(-energies).sum(axis=1) * (h[1] - h[0]))
    np.testing.assert_allclose(machine.free_energy(tf.constant(v)), expected, atol=1e-5)
    mean = (np.exp(-energies) * h).sum(axis=1) / np.exp(-energies).sum(axis=1)
    np.testing.assert_allclose(machine.hidden_probabilities(tf.constant(v))[:, 0], mean, atol=1e-5)
    drawn = machine.sample_hidden(tf.fill([4000, 1], 3.0)).numpy()
    assert drawn.mean() == pytest.approx(3, abs=0.1)
    assert drawn.std() == pytest.approx(1, abs=0.05)
    assert set(np.unique(machine.sample_visible(tf.fill([50, 4], 0.5)))) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (lambda: DeepAutoencoder((4,), DeepAutoencoderConfig(hidden=())), RecipeError, "at least one layer"),
        (lambda: DeepAutoencoder((4,), DeepAutoencoderConfig(code=0)), RecipeError, "at least 1 number as code, got 0"),
        (lambda: DeepAutoencoder((4,), DeepAutoencoderConfig(code_units="relu")), RecipeError, "'linear' or 'sigmoid'"),
        (lambda: DeepAutoencoder((4,), DeepAutoencoderConfig(code_noise=-1.0)), RecipeError, "code_noise, got -1.0"),
        (lambda: DeepAutoencoder((4,), DeepAutoencoderConfig(pretraining=-1)), RecipeError, "0 epochs or more"),
        (lambda: DeepAutoencoder((4,), DeepAutoencoderConfig(hidden=(10**6, 10**4))), RecipeError, "fewer components"),
        (lambda: DeepAutoencoder((12,)).fit(np.full((5, 12), 1.5)), DataError, "numbers from 0 to 1"),
        (lambda: DeepAutoencoder((12,)).fit(np.full((5, 11), 0.5)), DataError, r"expected data \[N, 12\]"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(call, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)

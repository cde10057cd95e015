from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.helmholtz_machine import VARIANTS, HelmholtzMachine, HelmholtzMachineConfig
from kapps.errors import DataError, RecipeError

TINY = HelmholtzMachineConfig(hidden=(3, 2), seed=1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bits_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, 6)).astype("float32")


@pytest.fixture
def machine():
    """6-3-2 units with weights that matter."""
    made = HelmholtzMachine((6,), TINY)
    rng = np.random.default_rng(2)
    for weight in made.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    return made


@pytest.fixture
def states():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 2, (5, units)).astype("float32") for units in (6, 3, 2)]


def test_all_data_together_have_probability_1(machine):
    everything = np.array(list(itertools.product([0, 1], repeat=6)), "float32")
    assert np.exp(machine.exact_log_likelihood(everything)).sum() == pytest.approx(1, rel=1e-5)


def test_the_bound_is_under_the_likelihood_and_sampling_finds_it(machine):
    x = bits_of(8)
    bound = machine.exact_bound(x)
    assert (bound < machine.exact_log_likelihood(x)).all()
    drawn = machine.score_samples(np.repeat(x, 500, axis=0), samples=4).reshape(8, 500)
    deviation = drawn.std(axis=1) / np.sqrt(500)
    assert (np.abs(drawn.mean(axis=1) - bound) < 4 * deviation).all()


def test_where_the_encoder_is_right_the_bound_is_the_likelihood():
    """A decoder without weights: the causes of anything are as likely as before it was seen."""
    machine = HelmholtzMachine((6,), TINY)
    rng = np.random.default_rng(4)
    for weight in machine.trainable_variables:
        weight.assign(np.zeros(weight.shape))
    biases = [rng.normal(size=size) for size in (6, 3, 2)]
    for level in (0, 1):
        machine.decoders[level][1].assign(biases[level])
        machine.encoders[level][1].assign(biases[level + 1])
    machine.top.assign(biases[2])
    x = bits_of(4)
    of_pixels = x * np.log(sigmoid(biases[0])) + (1 - x) * np.log(1 - sigmoid(biases[0]))
    np.testing.assert_allclose(machine.exact_log_likelihood(x), of_pixels.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(machine.exact_bound(x), of_pixels.sum(axis=1), rtol=1e-5)


def test_a_step_is_the_delta_rule_awake_and_asleep(machine, states, monkeypatch):
    dreamt = [1 - state for state in states]
    monkeypatch.setattr(machine, "recognise", lambda x: [tf.constant(state) for state in states])
    monkeypatch.setattr(machine, "dream", lambda count: [tf.constant(state) for state in dreamt])
    rate, before = 0.5, {weight.path: weight.numpy() for weight in machine.trainable_variables}
    expected = {}
    for level in (0, 1):
        for (weights, biases), inputs, targets in (
            (machine.decoders[level], states[level + 1], states[level]),
            (machine.encoders[level], dreamt[level], dreamt[level + 1]),
        ):
            wrong = targets - sigmoid(inputs @ before[weights.path] + before[biases.path])
            change = np.mean([np.outer(*pair) for pair in zip(inputs, wrong, strict=True)], axis=0)
            expected[weights.path] = before[weights.path] + rate * change
            expected[biases.path] = before[biases.path] + rate * wrong.mean(axis=0)
    top = before[machine.top.path]
    expected[machine.top.path] = top + rate * (states[2] - sigmoid(top)).mean(axis=0)

    machine.compile(keras.optimizers.SGD(rate))
    machine.train_on_batch(states[0])
    assert set(expected) == set(before)
    for weight in machine.trainable_variables:
        np.testing.assert_allclose(weight.numpy(), expected[weight.path], atol=1e-6, err_msg=weight.path)


def test_waking_climbs_the_bound(machine, states):
    """The changes of the decoder are the gradient of log P(x, s) in its weights, by differences."""
    seen = [tf.constant(state) for state in states]
    step = 1e-2
    for change, weight in machine.wake(seen):
        value = weight.numpy()
        place = tuple(size // 2 for size in value.shape)
        likelihoods = []
        for sign in (1, -1):
            moved = value.copy()
            moved[place] += sign * step
            weight.assign(moved)
            likelihoods.append(float(tf.reduce_mean(machine._log_joint(seen))))
        weight.assign(value)
        assert (likelihoods[0] - likelihoods[1]) / (2 * step) == pytest.approx(float(change[place]), abs=1e-3)


def test_the_hidden_units_of_drawn_layers_are_as_likely_as_said(machine):
    x = np.tile(bits_of(1), (4000, 1))
    states = machine.recognise(tf.constant(x))
    assert [state.shape for state in states] == [(4000, 6), (4000, 3), (4000, 2)]
    weights, biases = (some.numpy() for some in machine.encoders[0])
    np.testing.assert_allclose(np.mean(states[1], axis=0), sigmoid(x[0] @ weights + biases), atol=0.032)
    dreamt = machine.dream(4000)
    np.testing.assert_allclose(np.mean(dreamt[2], axis=0), sigmoid(machine.top.numpy()), atol=0.032)
    assert set(np.unique(dreamt[0])) == {0, 1}


@pytest.fixture(scope="module")
def two_patterns():
    patterns = np.zeros((1000, 2, 4), "float32")
    patterns[::2, 0] = patterns[1::2, 1] = 1
    return patterns


@pytest.fixture(scope="module")
def learned(two_patterns):
    keras.utils.set_random_seed(0)
    machine = HelmholtzMachine((2, 4), HelmholtzMachineConfig(hidden=(4, 2), seed=3))
    machine.compile(keras.optimizers.Adam(0.05), steps_per_execution=20)
    return machine, machine.fit(two_patterns, epochs=15, batch_size=50, verbose=0).history["surprise"]


def test_two_patterns_are_learned_and_dreamt_of(learned, two_patterns):
    machine, history = learned
    assert history[-1] < 0.4 * history[0]
    likelihood = machine.exact_log_likelihood(two_patterns[:2])
    assert (likelihood > -2).all()  # log(1 / 2) = -0.69 is the best; 8 coins have -5.5
    fantasies = machine.generate(200)
    assert fantasies.shape == (200, 2, 4)
    top, bottom = fantasies.mean(axis=2).T
    assert (np.abs(top - bottom) > 0.5).mean() > 0.7
    assert 0.2 < (top > bottom).mean() < 0.8


def test_codes_there_and_back(learned, two_patterns):
    machine, _ = learned
    codes = machine.transform(two_patterns[:4])
    assert codes.shape == (4, 2)
    again = machine.inverse_transform(codes)
    assert again.shape == (4, 2, 4)
    upper = again.mean(axis=2)[:, 0]
    assert upper.min() >= 0
    assert upper[0] != upper[1]  # the two patterns' codes do not paint the same
    assert machine.components_.shape == (4, 2, 4)
    np.testing.assert_allclose(machine.encoder()(two_patterns[:4]), codes, rtol=1e-5)


def test_a_seed_gives_the_same_again(two_patterns):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        machine = HelmholtzMachine((2, 4), TINY)
        machine.compile(machine.default_optimizer(), run_eagerly=True)
        machine.fit(two_patterns[:200], epochs=1, verbose=0)
        weights.append(machine.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_save_and_load(learned, two_patterns, tmp_path):
    learned[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.config == learned[0].config
    np.testing.assert_array_equal(loaded.transform(two_patterns), learned[0].transform(two_patterns))


def test_the_variant_s_sizes():
    machine = HelmholtzMachine((28, 28, 1), VARIANTS["helmholtz_machine"])
    assert machine.sizes == (784, 200, 100, 50)
    both_ways = 784 * 200 + 200 * 100 + 100 * 50
    assert machine.count_params() == 2 * both_ways + (200 + 100 + 50) + (784 + 200 + 100) + 50


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"hidden": ()}, "hidden layers of at least 1 unit"),
        ({"hidden": (5, 0)}, "hidden layers of at least 1 unit"),
        ({"learning_rate": 0.0}, "a learning_rate above 0"),
        ({"hidden": (10**9,)}, "take fewer components"),
    ],
)
def test_what_cannot_be_made(config, complaint):
    with pytest.raises(RecipeError, match=complaint) as caught:
        HelmholtzMachine((784,), HelmholtzMachineConfig(**config))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_scored(machine):
    with pytest.raises(DataError, match="expected bits, got 12 numbers between 0 and 1"):
        machine.score_samples(np.full((2, 6), 0.3))
    with pytest.raises(DataError, match="from 0 to 1, got 0 to 2"):
        machine.fit(np.array([[0.0] * 6, [2.0] * 6]))
    with pytest.raises(RecipeError, match="at least 1 sample"):
        machine.score_samples(bits_of(2), samples=0)
    with pytest.raises(RecipeError, match="at most 16 hidden units to count their settings, got 17"):
        HelmholtzMachine((6,), HelmholtzMachineConfig(hidden=(15, 2))).exact_bound(bits_of(1))

"""The deep Boltzmann machine, counted: with 6, 4 and 3 units all 8,192 states can be summed up."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.dbm import DBM, DBMConfig
from kapps.errors import DataError, RecipeError


def states(units):
    return np.array(list(itertools.product((0.0, 1.0), repeat=units)))


def random_machine(scale=0.7):
    machine = DBM((6,), DBMConfig(hidden=(4, 3), mean_field=50))
    rng = np.random.default_rng(0)
    for weights in (machine.W1, machine.W2, machine.b, machine.c1, machine.c2):
        weights.assign(scale * rng.normal(size=weights.shape))
    return machine


def negative_energies(machine):
    """-E of all states, float64 [2^V, 2^H1, 2^H2]."""
    w1, w2, b, c1, c2 = (
        weights.numpy().astype("float64") for weights in (machine.W1, machine.W2, machine.b, machine.c1, machine.c2)
    )
    v, h1, h2 = (states(len(biases)) for biases in (b, c1, c2))
    lower = (v @ b)[:, None] + v @ w1 @ h1.T
    upper = (h1 @ c1)[:, None] + h1 @ w2 @ h2.T + h2 @ c2
    return lower[:, :, None] + upper[None]


def log_likelihoods(machine):
    """log p(v) of all visible states, in the order of `states`."""
    of_v = np.logaddexp.reduce(negative_energies(machine), axis=(1, 2))
    return of_v - np.logaddexp.reduce(of_v)


def test_every_layer_has_its_probabilities_given_the_others():
    machine = random_machine()
    joint = np.exp(negative_energies(machine))
    v, h1, h2 = states(6), states(4), states(3)
    rows = {0: 37, 1: 9, 2: 5}
    expected_v = joint[:, rows[1], rows[2]] @ v / joint[:, rows[1], rows[2]].sum()
    expected_h1 = joint[rows[0], :, rows[2]] @ h1 / joint[rows[0], :, rows[2]].sum()
    expected_h2 = joint[rows[0], rows[1]] @ h2 / joint[rows[0], rows[1]].sum()
    one = (
        tf.constant(v[37][None], tf.float32),
        tf.constant(h1[9][None], tf.float32),
        tf.constant(h2[5][None], tf.float32),
    )
    np.testing.assert_allclose(machine.visible_mean(one[1])[0], expected_v, atol=1e-5)
    np.testing.assert_allclose(machine.first_probabilities(one[0], one[2])[0], expected_h1, atol=1e-5)
    np.testing.assert_allclose(machine.second_probabilities(one[1])[0], expected_h2, atol=1e-5)


def test_the_bound_is_below_the_likelihood_and_near_it():
    machine = random_machine()
    exact = np.logaddexp.reduce(negative_energies(machine), axis=(1, 2))
    bound = machine.bound(tf.constant(states(6), tf.float32)).numpy()
    assert (bound <= exact + 1e-4).all()
    assert (exact - bound).max() < 0.5
    assert (exact - bound).max() > 1e-3, "mean field is no exact inference here"
    machine.W2.assign(np.zeros((4, 3)))  # then the hidden units of a picture do not depend on each other
    exact = np.logaddexp.reduce(negative_energies(machine), axis=(1, 2))
    np.testing.assert_allclose(machine.bound(tf.constant(states(6), tf.float32)), exact, atol=1e-4)


def test_mean_field_settles_where_the_bound_is_highest():
    machine = random_machine()
    v = tf.constant(states(6)[[3, 44]], tf.float32)
    m1, m2 = machine.mean_field(v)
    np.testing.assert_allclose(machine.first_probabilities(v, m2), m1, atol=1e-4)
    np.testing.assert_allclose(machine.second_probabilities(m1), m2, atol=1e-4)


def test_its_chains_have_the_machines_distribution():
    machine = random_machine()
    joint = np.exp(negative_energies(machine))
    expected = joint.sum(axis=(1, 2)) @ states(6) / joint.sum()
    np.testing.assert_allclose(machine.sample(4000, steps=30).mean(axis=0), expected, atol=0.03)


def two_kinds(count=600):
    """Pictures of six pixels, of two kinds, each pixel turned around in one of twenty."""
    rng = np.random.default_rng(0)
    kinds = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 1.0]])
    return np.abs(kinds[rng.integers(0, 2, count)] - (rng.random((count, 6)) < 0.05)).astype("float32")


def part_explained(machine, data):
    """How far the exact log-likelihood is from that of independent pixels (0) to that of the data's own table (1)."""
    rows = data.astype(int) @ (2 ** np.arange(5, -1, -1))
    means = data.mean(axis=0)
    independent = (means * np.log(means) + (1 - means) * np.log(1 - means)).sum()
    _, counts = np.unique(rows, return_counts=True)
    best = (counts / len(data) * np.log(counts / len(data))).sum()
    return (log_likelihoods(machine)[rows].mean() - independent) / (best - independent)


@pytest.fixture(scope="module")
def trained():
    """(machine, data), learned jointly from random weights; no test changes it."""
    keras.utils.set_random_seed(0)
    settings = DBMConfig(hidden=(4, 3), pretraining=0, learning_rate=0.05, weight_decay=0.0)
    machine, data = DBM((6,), settings), two_kinds()
    machine.fit(data, epochs=60, batch_size=20, verbose=0)
    return machine, data


def test_learning_raises_the_exact_likelihood(trained):
    assert part_explained(*trained) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["array", "stream"])
def test_pretraining_makes_two_layers_that_fit_together(kind):
    keras.utils.set_random_seed(0)
    machine, data = DBM((6,), DBMConfig(hidden=(4, 3), pretraining_rate=0.2, weight_decay=0.0)), two_kinds()
    given = data if kind == "array" else tf.data.Dataset.from_tensor_slices(data).batch(20)
    histories = machine.pretrain(given, epochs=10, batch_size=20 if kind == "array" else None, verbose=0)
    assert len(histories) == 2
    assert part_explained(machine, data) > 0.7
    calls = []
    machine.pretrain = lambda *_, **__: calls.append(1)
    machine.fit(data, epochs=1, verbose=0)
    assert not calls, "it has learned already"


def test_it_gives_back_what_it_sees(trained):
    machine, data = trained
    codes = machine.transform(data)
    assert codes.shape == (600, 7)
    again = machine.inverse_transform(codes)
    assert np.square(again - data).mean() < 0.5 * data.var(axis=0).mean()
    assert machine.components_.shape == (7, 6)
    assert machine.sample(5, steps=3).shape == (5, 6)


def test_a_saved_machine_is_the_same_machine(trained, tmp_path):
    machine, data = trained
    machine.save(tmp_path / "machine.keras")
    again = keras.models.load_model(tmp_path / "machine.keras")
    assert again.config == machine.config
    np.testing.assert_array_equal(again.transform(data), machine.transform(data))


def test_a_seed_gives_the_same_again():
    data = np.random.default_rng(0).random((40, 6)).astype("float32")
    machines = [DBM((6,), DBMConfig(hidden=(4, 3), pretraining=0)) for _ in range(2)]
    for machine in machines:
        keras.utils.set_random_seed(0)
        machine.fit(data, epochs=2, batch_size=10, verbose=0)
    for mine, yours in zip(machines[0].get_weights(), machines[1].get_weights(), strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (lambda: DBM((6,), DBMConfig(hidden=(4,))), RecipeError, "two numbers of units"),
        (lambda: DBM((6,), DBMConfig(hidden=(4, 3), steps=0)), RecipeError, "at least 1 step"),
        (lambda: DBM((6,), DBMConfig(hidden=(4, 3), mean_field=0)), RecipeError, "at least 1 repetition"),
        (lambda: DBM((6,), DBMConfig(hidden=(10**6, 10**4))), RecipeError, "fewer components"),
        (lambda: DBM((6,)).sample(0), RecipeError, "0 samples"),
        (lambda: DBM((6,), DBMConfig(hidden=(4, 3))).fit(np.full((5, 6), 2.0)), DataError, "numbers from 0 to 1"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(call, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)

"""Learned ISTA: before it learns it is ISTA, then it comes nearer to the exact codes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.lista import LISTA, LISTAConfig
from kapps.architectures.unsupervised.sparse_coding import SparseCoding, SparseCodingConfig, ista
from kapps.errors import RecipeError


def examples(count: int, seed: int) -> np.ndarray:
    """Correlated numbers [count, 8]."""
    rng = np.random.default_rng(seed)
    return (rng.laplace(size=(count, 8)) @ np.random.default_rng(99).normal(size=(8, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def coder() -> SparseCoding:
    keras.utils.set_random_seed(0)
    learner = SparseCoding((8,), SparseCodingConfig(atoms=14, penalty=1.0, tolerance=1e-5))
    learner.fit(examples(600, 0), epochs=3, batch_size=100, verbose=0)
    return learner


@pytest.fixture(scope="module")
def taught(coder):
    """(learner with one step, its history, its mean squared error against the codes before, after)."""
    learner, x = LISTA.of(coder, steps=1), examples(200, 1)
    exact = coder.transform(x)
    before = np.square(learner.transform(x) - exact).mean()
    keras.utils.set_random_seed(0)
    history = learner.fit(examples(2000, 2), epochs=15, batch_size=50, verbose=0).history
    return learner, history, before, np.square(learner.transform(x) - exact).mean()


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_untaught_it_is_ista(coder, steps):
    x = examples(20, 3)
    atoms = tf.convert_to_tensor(coder.atoms)
    expected = ista(tf.constant(x), atoms, 1.0, tolerance=0, iterations=steps + 1)
    np.testing.assert_allclose(LISTA.of(coder, steps=steps).transform(x), expected, atol=1e-4)


def test_taught_it_is_nearer_to_the_exact_codes(taught):
    _, history, before, after = taught
    assert after < 0.75 * before  # with a single step
    assert history["code_error"][-1] < history["code_error"][0]
    assert 0 < history["relative_error"][-1] < 1


def test_its_gradient_is_the_numerical_one(coder):
    """Of 1/2 |z* - z|^2 by W, S and theta, at points where no coefficient is about to change its sign."""
    learner, x = LISTA.of(coder, steps=2), tf.constant(examples(4, 4))
    exact = tf.constant(coder.transform(x))

    def loss():
        return tf.reduce_sum(tf.square(exact - learner.encode(x))) / 2

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, learner.trainable_variables)
    assert [variable.name for variable in learner.trainable_variables] == ["W", "S", "theta"]
    for variable, gradient in zip(learner.trainable_variables, gradients, strict=True):
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        whole = variable.numpy()
        sides = []
        for step in (1e-3, -1e-3):
            moved = whole.copy()
            moved[place] += step
            variable.assign(moved)
            sides.append(float(loss()))
        variable.assign(whole)
        assert float(gradient[place]) == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=2e-2)


def test_thresholds_stay_at_zero_or_above(taught):
    learner, *_ = taught
    assert learner.theta.numpy().min() >= 0
    assert learner.count_params() == 14 * 8 + 14 * 14 + 14 + learner.coder.count_params()


def test_the_file_keeps_it(taught, tmp_path):
    learner, *_ = taught
    x = examples(10, 5)
    learner.save(tmp_path / "learner.keras")
    again = keras.saving.load_model(tmp_path / "learner.keras")
    np.testing.assert_array_equal(again.transform(x), learner.transform(x))
    np.testing.assert_array_equal(again.coder.components_, learner.coder.components_)
    np.testing.assert_allclose(again.inverse_transform(again.transform(x)), learner.transform(x) @ learner.coder.atoms,
                               atol=1e-5)  # fmt: skip
    assert again.components_.shape == (14, 8)


def test_alone_it_learns_its_dictionary_first_also_from_a_stream():
    keras.utils.set_random_seed(1)
    learner = LISTA((8,), LISTAConfig(atoms=10, steps=1, coder_epochs=2))
    stream = tf.data.Dataset.from_tensor_slices(examples(120, 6)).batch(40)
    history = learner.fit(stream, epochs=1, verbose=0).history
    assert learner.coder.batches.numpy() == 6
    assert np.isfinite(history["code_error"]).all()
    np.testing.assert_allclose(np.linalg.norm(learner.coder.components_, axis=1), 1, rtol=1e-5)


def test_a_seed_is_a_run(coder):
    def run():
        keras.utils.set_random_seed(3)
        learner = LISTA.of(coder, steps=1)
        learner.fit(examples(100, 7), batch_size=50, verbose=0)
        return learner.W.numpy()

    np.testing.assert_array_equal(run(), run())


@pytest.mark.parametrize(("field", "value"), [("steps", -1), ("coder_epochs", 0), ("penalty", 0.0), ("atoms", 1)])
def test_what_a_configuration_cannot_have(field, value):
    with pytest.raises(RecipeError, match=field) as caught:
        LISTA((4,), LISTAConfig(**{field: value}))
    assert "\n" not in str(caught.value)

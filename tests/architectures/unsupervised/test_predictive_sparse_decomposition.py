"""Predictive sparse decomposition: the best codes by hand and by another solver, the predictor, unit-norm atoms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.predictive_sparse_decomposition import PredictiveSparseDecomposition, PSDConfig
from kapps.errors import DataError, RecipeError

D, K = 6, 8


def mixtures(count, seed=0):
    """Each example two out of eight hidden directions, with coefficients about 2, and some noise."""
    rng = np.random.default_rng(seed)
    hidden = np.random.default_rng(99).normal(size=(K, D))
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    codes = np.zeros((count, K))
    for code in codes:
        code[rng.permutation(K)[:2]] = rng.normal(2, 0.3, 2) * rng.choice([-1, 1], 2)
    return (codes @ hidden + 0.05 * rng.normal(size=(count, D))).astype("float32")


def random_psd(**values):
    model = PredictiveSparseDecomposition((D,), PSDConfig(atoms=K, **values))
    rng = np.random.default_rng(1)
    for variable in (model.W, model.c, model.gain):
        variable.assign(rng.normal(size=variable.shape))
    return model


def test_the_predictor_is_the_papers():
    model, x = random_psd(), mixtures(5)
    expected = model.gain.numpy() * np.tanh(x @ model.W.numpy() + model.c.numpy())
    np.testing.assert_allclose(model.transform(x), expected, rtol=1e-4, atol=1e-5)


def test_the_best_code_of_one_atom_by_hand():
    """Orthogonal atoms: z = h(x + alpha f; lambda) / (1 + alpha), coefficient by coefficient."""
    model = PredictiveSparseDecomposition((2,), PSDConfig(atoms=2, penalty=0.5, prediction=3.0, tolerance=1e-7))
    model.atoms.assign(np.eye(2))
    model.W.assign(np.zeros((2, 2)))
    model.c.assign(np.arctanh([0.5, -0.1]))
    x = np.array([[1.0, 0.2], [-4.0, 0.9]], "float32")
    inputs = x + 3 * np.array([0.5, -0.1])
    expected = np.sign(inputs) * np.maximum(np.abs(inputs) - 0.5, 0) / 4
    np.testing.assert_allclose(model.infer(x), expected, atol=1e-5)


def test_the_best_codes_satisfy_the_conditions_of_the_optimum():
    """Of the smooth part, the gradient is -lambda sign z where z is not 0, and at most lambda elsewhere."""
    model, x = random_psd(penalty=0.4, prediction=0.7, tolerance=1e-8), mixtures(20)
    z, f, atoms = (some.astype("float64") for some in (model.infer(x), model.transform(x), model.atoms.numpy()))
    gradient = (z @ atoms - x) @ atoms.T + 0.7 * (z - f)
    assert 0 < (z == 0).mean() < 1
    np.testing.assert_allclose(gradient[z != 0], -0.4 * np.sign(z[z != 0]), atol=2e-3)
    assert np.abs(gradient[z == 0]).max() < 0.4 + 2e-3


def test_numerical_gradients(gradients_are_differences):
    model = PredictiveSparseDecomposition((4,), PSDConfig(atoms=3, penalty=0.3, prediction=0.6), dtype="float64")
    rng = np.random.default_rng(2)
    x, codes = tf.constant(rng.normal(size=(5, 4))), tf.constant(rng.normal(size=(5, 3)))
    learned = model.trainable_variables
    assert {variable.name for variable in learned} == {"atoms", "W", "c", "gain"}
    gradients_are_differences(lambda: tf.reduce_mean(model.objective(x, codes)), learned)


@pytest.fixture(scope="module")
def learned():
    keras.utils.set_random_seed(0)
    model = PredictiveSparseDecomposition((D,), PSDConfig(atoms=K, penalty=0.2, learning_rate=0.02, seed=1))
    return model, model.fit(mixtures(600), epochs=12, batch_size=50, verbose=0).history


def test_dictionary_and_predictor_learn(learned):
    model, history = learned
    assert history["objective"][-1] < 0.75 * history["objective"][0]
    assert history["prediction_error"][-1] < 0.6 * history["prediction_error"][0]
    assert 0 < history["nonzero"][-1] < 1
    fresh = mixtures(100, seed=1)
    best, foreseen = model.infer(fresh), model.transform(fresh)
    assert np.square(model.inverse_transform(best) - fresh).mean() < 0.3 * fresh.var()
    assert np.square(best - foreseen).sum() < 0.7 * np.square(best).sum()


def test_atoms_have_length_one(learned):
    np.testing.assert_allclose(np.linalg.norm(learned[0].components_, axis=1), 1, rtol=1e-5)


def test_no_code_is_better_than_the_best(learned):
    model, x = learned[0], mixtures(50, seed=2)
    best = model.objective(tf.constant(x), tf.constant(model.infer(x))).numpy()
    rng = np.random.default_rng(3)
    others = [model.transform(x), np.zeros((50, K), "float32")]
    others += [model.infer(x) + rng.normal(scale=0.05, size=(50, K)).astype("float32") for _ in range(3)]
    for codes in others:
        assert (model.objective(tf.constant(x), tf.constant(codes)).numpy() >= best - 1e-3).all()


def test_a_seed_gives_the_same_again(learned):
    codes = learned[0].transform(mixtures(20, seed=4))
    assert (float(np.abs(codes).mean()), float(codes.std())) == pytest.approx(FINGERPRINT, rel=5e-3)


FINGERPRINT = (0.56983, 0.69748)


def test_save_and_load(learned, comes_back_from_a_file, tmp_path):
    model, x = learned[0], mixtures(5)
    loaded = comes_back_from_a_file(model, x, tmp_path)
    np.testing.assert_array_equal(loaded.infer(x), model.infer(x))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"atoms": 1}, "at least 2 as atoms"),
        ({"penalty": 0.0}, "over 0 as penalty"),
        ({"prediction": -1.0}, "over 0 as prediction"),
        ({"tolerance": 0.0}, "over 0 as tolerance"),
        ({"iterations": 0}, "at least 1 as iterations"),
        ({"learning_rate": float("inf")}, "over 0 as learning_rate"),
        ({"atoms": 10**7}, "take fewer components"),
    ],
)
def test_configurations_that_are_refused_in_one_line(values, complaint):
    with pytest.raises(RecipeError, match=complaint) as caught:
        PredictiveSparseDecomposition((D,), PSDConfig(**values))
    assert "\n" not in str(caught.value)


def test_data_that_is_refused():
    model = PredictiveSparseDecomposition((D,), PSDConfig(atoms=K))
    with pytest.raises(DataError, match="at least 2 examples"):
        model.fit(np.zeros((1, D)))
    with pytest.raises(DataError, match="NaN or infinity in 1 of 3"):
        model.infer(np.array([[0.0] * D, [np.inf] * D, [1.0] * D]))

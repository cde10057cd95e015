"""Sparse coding: shrinkage by hand, scikit-learn's optimum, optimality conditions, and a dictionary that is found."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.decomposition import SparseCoder

from kapps.architectures.unsupervised import sparse_coding
from kapps.architectures.unsupervised.sparse_coding import (
    SparseCoding,
    SparseCodingConfig,
    duality_gap,
    fista,
    improve_atoms,
    ista,
    largest_penalty,
    lasso_objective,
    lipschitz,
    soft_threshold,
)
from kapps.data.patches import natural_patches, patch_stream
from kapps.errors import DataError, RecipeError


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """Examples [60, 16] and atoms [40, 16], float64."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 16)), unit(rng.normal(size=(40, 16)))


@pytest.fixture(scope="module")
def solve():
    """`solve(method, x, atoms, penalty, **settings)` in graph mode, NumPy to NumPy."""

    def call(method, x, atoms, penalty, **settings):
        function = tf.function(lambda x, atoms: method(x, atoms, penalty, **settings), autograph=False)
        return function(tf.constant(x), tf.constant(atoms)).numpy()

    return call


def mixed(count: int, rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    """Examples that are each made of two of the true atoms."""
    codes = np.zeros((count, len(truth)))
    for row in codes:
        row[rng.choice(len(truth), 2, replace=False)] = rng.choice([-1, 1], 2) * rng.uniform(1, 2, 2)
    return (codes @ truth).astype(np.float32)


# --- the coding stage


def test_soft_threshold_by_hand():
    values = tf.constant([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])
    np.testing.assert_allclose(soft_threshold(values, 1.0), [-2, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(soft_threshold(values, tf.constant([1.0, 0, 0.2, 1, 0.2, 3])), [-2, -1, -0.3, 0, 0.3, 0])


def test_codes_in_orthogonal_atoms_are_shrunk_coordinates(solve):
    """With D = 1 the minimum of 1/2 (x - z)^2 + lambda |z| is h(x; lambda)."""
    x = np.array([[3.0, -0.5, -2.0]])
    for method in (ista, fista):
        np.testing.assert_allclose(solve(method, x, np.eye(3), 1.0, tolerance=1e-9), [[2, 0, -1]], atol=1e-9)


def test_power_iteration_finds_the_largest_eigenvalue(problem):
    _, atoms = problem
    for some in (atoms, atoms[:10]):  # wide and tall
        expected = np.linalg.eigvalsh(some @ some.T).max()
        assert float(lipschitz(tf.constant(some))) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("count", [40, 20])  # there and back through the data; the Gram matrix
@pytest.mark.parametrize("penalty", [0.1, 0.5])
def test_the_objective_is_that_of_coordinate_descent(problem, solve, penalty, count):
    x, atoms = problem[0], problem[1][:count]
    oracle = SparseCoder(atoms, transform_algorithm="lasso_cd", transform_alpha=penalty).transform(x)
    codes = solve(fista, x, atoms, penalty, tolerance=1e-9, iterations=5000)
    ours, theirs = (lasso_objective(x, atoms, each, penalty).numpy() for each in (codes, oracle))
    np.testing.assert_allclose(ours.sum(), theirs.sum(), rtol=1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    np.testing.assert_allclose(codes, oracle, atol=0.1)  # where the oracle stops, the objective is flat


def test_kkt_conditions_hold_at_the_solution(problem, solve):
    """D r = lambda sign(z) where z is not zero, |D r| <= lambda where it is."""
    x, atoms = problem
    codes = solve(fista, x, atoms, 0.3, tolerance=1e-13, iterations=20_000)
    common = (x - codes @ atoms) @ atoms.T
    used = codes != 0
    assert 0.02 < used.mean() < 0.9
    np.testing.assert_allclose(common[used], 0.3 * np.sign(codes[used]), atol=1e-4)
    assert np.abs(common[~used]).max() <= 0.3 + 1e-4


def test_from_the_largest_penalty_on_codes_are_zero(problem, solve):
    x, atoms = problem
    largest = float(largest_penalty(tf.constant(x), tf.constant(atoms)).numpy().max())
    assert not solve(fista, x, atoms, largest * 1.0001).any()
    codes = solve(fista, x, atoms, largest * 0.95)
    assert np.count_nonzero(codes.any(axis=1)) >= 1


def test_ista_never_rises_and_fista_is_there_first(problem, solve):
    x, atoms = problem

    def after(method, steps):
        codes = solve(method, x, atoms, 0.2, tolerance=0, iterations=steps)
        return lasso_objective(x, atoms, codes, 0.2).numpy()

    course = np.stack([after(ista, steps) for steps in (1, 2, 3, 5, 9, 10, 11, 25)])
    assert (np.diff(course, axis=0) <= 1e-12).all()
    best = after(fista, 3000)
    assert (after(fista, 25) - best).sum() < 0.5 * (course[-1] - best).sum()
    assert (course >= best - 1e-9).all()


@pytest.mark.parametrize("count", [40, 20])  # there and back through the data; the Gram matrix
def test_fista_is_as_near_as_its_rate_of_convergence_says(problem, solve, count):
    """F(z_k) - F* <= 2 |z*|^2 / (rate (k + 1)^2) with the smallest rate, 1 / L (Beck, Teboulle 2009, theorem 4.4)."""
    x, atoms = problem[0], problem[1][:count]
    exact = solve(fista, x, atoms, 0.2, tolerance=1e-12, iterations=20_000)
    best = lasso_objective(x, atoms, exact, 0.2).numpy()
    largest = np.linalg.eigvalsh(atoms @ atoms.T).max()
    for steps in (1, 2, 4, 8, 16, 32, 64, 128):
        codes = solve(fista, x, atoms, 0.2, tolerance=0, iterations=steps)
        left = lasso_objective(x, atoms, codes, 0.2).numpy() - best
        assert (left <= 2 * largest * np.square(exact).sum(1) / (steps + 1) ** 2 + 1e-9).all()


def test_a_rate_that_grew_too_large_is_taken_back(solve):
    """Atoms that are nearly the same: one alone takes any rate up to 1, all together only one up to 1 / L."""
    rng = np.random.default_rng(6)
    atoms = unit(rng.normal(size=16) + 0.3 * rng.normal(size=(40, 16)))
    x = rng.normal(size=(50, 16))
    assert np.linalg.eigvalsh(atoms @ atoms.T).max() > 20
    codes = solve(fista, x, atoms, 0.01, tolerance=3e-3, iterations=20_000)
    gap = duality_gap(*map(tf.constant, (x, atoms, codes)), 0.01).numpy()
    assert gap.sum() <= 3e-3 * lasso_objective(x, atoms, codes, 0.01).numpy().sum()


def test_the_gap_bounds_what_is_left(problem, solve):
    x, atoms = problem
    best = lasso_objective(x, atoms, solve(fista, x, atoms, 0.2, tolerance=1e-12, iterations=20_000), 0.2).numpy()
    for steps in (1, 10, 100):
        codes = solve(fista, x, atoms, 0.2, tolerance=0, iterations=steps)
        left = lasso_objective(x, atoms, codes, 0.2).numpy() - best
        gap = duality_gap(*map(tf.constant, (x, atoms, codes)), 0.2).numpy()
        assert (gap >= left - 1e-9).all()
    assert gap.sum() < 1e-2 * best.sum()


def test_the_gradient_of_the_minimum_by_the_atoms(problem, solve):
    """d/dD min_z F = -(x - z D)^T z at the minimum (Danskin), against central differences."""
    x, atoms = problem[0][:5], problem[1][:12].copy()

    def lowest(atoms):
        codes = solve(fista, x, atoms, 0.3, tolerance=1e-11, iterations=5000)
        return lasso_objective(x, atoms, codes, 0.3).numpy().sum(), codes

    _, codes = lowest(atoms)
    variable = tf.Variable(atoms)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(lasso_objective(tf.constant(x), tf.convert_to_tensor(variable), codes, 0.3))
    gradient = tape.gradient(total, variable).numpy()
    np.testing.assert_allclose(gradient, -codes.T @ (x - codes @ atoms), atol=1e-10)
    for place in ((0, 0), (3, 7), (11, 15)):
        moved = []
        for step in (1e-5, -1e-5):
            shifted = atoms.copy()
            shifted[place] += step
            moved.append(lowest(shifted)[0])
        assert gradient[place] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-4)


# --- the learning stage


def test_a_sweep_lowers_the_quadratic_row_by_row():
    rng = np.random.default_rng(1)
    atoms, codes, x = unit(rng.normal(size=(6, 4))), rng.normal(size=(30, 6)), rng.normal(size=(30, 4))
    codes[:, 5] = 0  # nobody uses the last atom
    a, b, spare = codes.T @ codes / 30, codes.T @ x / 30, rng.normal(size=(6, 4))
    new = improve_atoms(*(tf.constant(each.astype(np.float32)) for each in (atoms, a, b, spare))).numpy()
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(new[5], spare[5] / np.linalg.norm(spare[5]), rtol=1e-4)

    def errors(atoms):
        return np.square(x - codes @ atoms).sum()

    assert errors(new) < errors(atoms)
    # By hand: the first row, the others as they were, is the direction of what they leave unexplained.
    left = codes[:, 0] @ (x - codes[:, 1:] @ atoms[1:])
    np.testing.assert_allclose(new[0], left / np.linalg.norm(left), rtol=1e-4)


@pytest.fixture(scope="module")
def found():
    """A dictionary that was learned from mixtures of a known one: (learner, truth, history)."""
    rng = np.random.default_rng(2)
    truth = unit(rng.normal(size=(12, 10)))
    keras.utils.set_random_seed(0)
    learner = SparseCoding((10,), SparseCodingConfig(atoms=16, penalty=0.1))
    history = learner.fit(mixed(1500, rng, truth), epochs=12, batch_size=100, verbose=0)
    return learner, truth, history.history


def test_the_atoms_that_made_the_data_are_found(found):
    learner, truth, history = found
    np.testing.assert_allclose(np.linalg.norm(learner.components_, axis=1), 1, rtol=1e-5)
    likeness = np.abs(truth @ learner.components_.T).max(axis=1)
    assert (likeness > 0.97).sum() >= 8  # of 12; an atom drawn at random is never so like one
    assert history["objective"][-1] < 0.9 * history["objective"][0]
    assert history["nonzero"][-1] < 0.5
    assert learner.batches.numpy() == 180


def test_codes_are_scikit_learns_and_give_the_data_back(found):
    learner, truth, _ = found
    x = mixed(30, np.random.default_rng(3), truth)
    codes = learner.transform(x)
    oracle = SparseCoder(learner.components_, transform_algorithm="lasso_cd", transform_alpha=0.1).transform(x)
    np.testing.assert_allclose(learner.objective(x, codes).sum(), learner.objective(x, oracle).sum(), rtol=1e-4)
    np.testing.assert_allclose(learner.inverse_transform(codes), codes @ learner.components_, atol=1e-5)
    assert np.square(learner.inverse_transform(codes) - x).mean() < 0.05 * np.square(x).mean()


def test_the_compiled_loop_gives_the_same_codes(found):
    """Full batches are coded by it, side by side, the last one padded."""
    learner, truth, _ = found
    exact = SparseCoding((10,), SparseCodingConfig(atoms=16, penalty=0.1, tolerance=1e-6))
    exact.atoms.assign(learner.atoms)
    x = mixed(45, np.random.default_rng(4), truth)
    codes = exact.transform(x, batch_size=20)
    assert codes.shape == (45, 16)
    for rows in (slice(0, 20), slice(20, 40), slice(40, 45)):
        np.testing.assert_allclose(codes[rows], exact.encode(x[rows]), atol=2e-3)
        np.testing.assert_allclose(exact.objective(x[rows], codes[rows]), exact.objective(x[rows]), rtol=1e-5)
    np.testing.assert_array_equal(codes, exact.transform(x, batch_size=20))


def test_the_file_keeps_it_and_learning_goes_on(found, tmp_path):
    learner, truth, _ = found
    x = mixed(20, np.random.default_rng(5), truth)
    learner.save(tmp_path / "learner.keras")
    again = keras.saving.load_model(tmp_path / "learner.keras")
    assert type(again) is SparseCoding
    assert again.config == learner.config
    np.testing.assert_array_equal(again.transform(x), learner.transform(x))
    assert again.has_learned
    before = again.components_
    again.fit(x, batch_size=20, verbose=0)
    moved = np.abs(again.components_ - before).max()
    assert 0 < moved < 0.2  # new data moves the atoms a little, as much was seen before


def test_the_encoder_is_a_functional_model(found):
    learner, truth, _ = found
    x = mixed(5, np.random.default_rng(6), truth)
    np.testing.assert_allclose(learner.encoder()(x), learner.transform(x), atol=1e-5)


def test_a_seed_is_a_run():
    def run():
        keras.utils.set_random_seed(7)
        learner = SparseCoding((2, 3), SparseCodingConfig(atoms=8, seed=7))
        learner.fit(np.random.default_rng(0).normal(size=(40, 2, 3)), batch_size=20, verbose=0)
        return learner.components_

    first = run()
    assert first.shape == (8, 2, 3)
    np.testing.assert_array_equal(first, run())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"atoms": 1}, "at least 2 as atoms, got 1"),
        ({"penalty": 0.0}, "over 0 as penalty"),
        ({"algorithm": "lars"}, "fista or ista as algorithm, got 'lars'"),
        ({"tolerance": 0.0}, "as tolerance"),
        ({"training_tolerance": -1.0}, "as training_tolerance"),
        ({"iterations": 0}, "at least 1 as iterations"),
        ({"forgetting": -1.0}, "0 or more as forgetting"),
        ({"atoms": 10**6}, "fewer components"),
    ],
)
def test_what_a_configuration_cannot_have(settings, words):
    with pytest.raises(RecipeError, match=words) as caught:
        SparseCoding((4,), SparseCodingConfig(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.ones((1, 4)), "at least 2 examples"),
        (np.ones((5, 3)), "expected data"),
        (np.full((5, 4), np.nan), "NaN"),
        (tf.data.Dataset.from_tensors(np.full((5, 4), np.inf)), "infinity"),
    ],
)
def test_what_it_cannot_learn_from(data, words):
    learner = SparseCoding((4,), SparseCodingConfig(atoms=3))
    with pytest.raises(DataError, match=words):
        learner.fit(data, verbose=0)
    assert not learner.has_learned


# --- on photographs


def tensors_of(atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of atoms [K, s, s]: how oriented and how localised each is.

    Orientation: the coherence (l1 - l2) / (l1 + l2) of the eigenvalues of the power spectrum's second moments: 1 for a
    grating, 0 for what has no direction. Locality: the standard deviation in pixels of its energy around its centre.
    """
    size = atoms.shape[1]
    power = np.abs(np.fft.fft2(atoms, s=(4 * size, 4 * size))) ** 2
    u, v = np.meshgrid(*2 * [np.fft.fftfreq(4 * size)], indexing="ij")
    uu, vv, uv = ((power * each).sum((1, 2)) for each in (u * u, v * v, u * v))
    coherence = np.hypot(uu - vv, 2 * uv) / (uu + vv)
    energy = atoms**2 / np.square(atoms).sum((1, 2), keepdims=True)
    rows, columns = np.meshgrid(*2 * [np.arange(size)], indexing="ij")
    spread = sum((energy * each**2).sum((1, 2)) - (energy * each).sum((1, 2)) ** 2 for each in (rows, columns))
    return coherence, np.sqrt(spread)


def test_the_measure_of_a_gabor_is_that_of_a_gabor():
    rows, columns = np.meshgrid(*2 * [np.arange(8) - 3.5], indexing="ij")
    gabor = np.exp(-(rows**2 + columns**2) / 4) * np.cos(2 * columns)
    noise = np.random.default_rng(0).normal(size=(200, 8, 8))
    (coherence,), (spread,) = tensors_of(gabor[np.newaxis])
    noisy_coherence, noisy_spread = (np.median(each) for each in tensors_of(noise))
    assert coherence > 0.6 > 0.3 > noisy_coherence
    assert spread < 2.2 < 2.8 < noisy_spread


@pytest.mark.slow
def test_atoms_of_photographs_are_oriented_and_localised():
    keras.utils.set_random_seed(0)
    learner = SparseCoding((8, 8, 1), SparseCodingConfig(atoms=128))
    patches = natural_patches(8, 20_000)
    learner.fit(patches, epochs=5, batch_size=256, verbose=0)
    coherence, spread = tensors_of(learner.components_[..., 0])
    noise_coherence, noise_spread = tensors_of(np.random.default_rng(0).normal(size=(128, 8, 8)))
    assert np.median(coherence) > 2 * np.median(noise_coherence)
    assert np.median(spread) < 0.8 * np.median(noise_spread)

    def like_a_gabor(atoms):
        coherence, spread = tensors_of(atoms)
        return ((coherence > 0.5) & (spread < 2.5)).mean()

    assert like_a_gabor(learner.components_[..., 0]) > 0.33
    assert like_a_gabor(patches[:2000, ..., 0]) < 0.03  # what it began with


_STREAM = """
import resource
from kapps.architectures.unsupervised.sparse_coding import SparseCoding, SparseCodingConfig
from kapps.data.patches import patch_stream
learner = SparseCoding((8, 8, 1), SparseCodingConfig(atoms=128))
learner.fit(patch_stream(8, 1000, batches=1000), verbose=0)
print(int(learner.batches.numpy()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_million_patches_in_one_and_a_half_gigabytes():
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", _STREAM], capture_output=True, text=True, check=True)
    batches, kilobytes = map(int, done.stdout.split()[-2:])
    assert batches == 1000
    assert kilobytes < 1.5 * 2**20


def test_a_stream_teaches_as_arrays_do():
    keras.utils.set_random_seed(0)
    learner = SparseCoding((4, 4, 1), SparseCodingConfig(atoms=20, penalty=0.5))
    history = learner.fit(patch_stream(4, 50, batches=6), verbose=0)
    assert learner.batches.numpy() == 6
    assert np.isfinite(history.history["objective"][0])
    assert set(sparse_coding.VARIANTS) == {"sparse_coding"}

"""Sparse coding: an example is the sum of a few atoms out of a dictionary that is learned and over-complete.

Idea: of all ways to make up an example x from more atoms than it has numbers, the one with the smallest coefficients
uses a few atoms only. On patches of natural photographs the atoms become what simple cells of the visual cortex answer
to: oriented, localised edges.

    stage   what                                                                      output
    codes   z = argmin 1/2 |x - z D|^2 + lambda |z|_1, by FISTA                       [256]
    data    z D: the rows of D are the atoms, each of length 1                        [8, 8, 1]

Coding stage, for a dictionary as it is. Both methods go down the quadratic term with the rate 1 / L, L the largest
eigenvalue of D D^T, and draw every coefficient towards zero (`soft_threshold`, h):

    ISTA    z' = h(z + 1/L (x - z D) D^T; lambda / L)
    FISTA   the same from y, which lies ahead: y' = z' + (t - 1) / t' (z' - z),   t' = (1 + sqrt(1 + 4 r t^2)) / 2

r, the last rate over the next one, is 1 while FISTA's rate stays; here it grows and is tested, see `fista`.

ISTA's objective never rises and is within O(1 / k) of the optimum after k steps, FISTA's within O(1 / k^2). The duality
gap bounds the distance that is left, and ends the steps.

Learning stage, batch by batch: the codes Z of a batch X enter the running averages A of Z^T Z and B of Z^T X, the
newest with a weight that falls with their number; one sweep of block coordinate descent then makes each atom the best
one for all batches seen so far, the other atoms held:

    d_j <- (b_j - a_j D) / a_jj + d_j,   d_j <- d_j / |d_j|

An atom that no example uses is replaced by an example.

Paper: Olshausen, Field: "Emergence of simple-cell receptive field properties by learning a sparse code for natural
images", Nature 381, 1996 (the objective, eq. 2 to 4); Beck, Teboulle: "A fast iterative shrinkage-thresholding
algorithm for linear inverse problems", SIAM J. Imaging Sciences 2, 2009, eq. 4.1 to 4.3; Mairal, Bach, Ponce, Sapiro:
"Online dictionary learning for sparse coding", ICML 2009, algorithms 1 and 2, section 3.4; Scheinberg, Goldfarb, Bai:
"Fast first-order methods for composite convex optimization with backtracking", Foundations of Computational Mathematics
14, 2014, algorithm 3 (rates that may grow).

Deviations: where FISTA's momentum points uphill, it starts anew, each example for itself (O'Donoghue, Candès 2015,
gradient scheme). Codes come from FISTA, where Mairal and others take LARS. Atoms have length 1, not at most 1: at the
optimum both are the same, as a longer atom needs a smaller coefficient.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.engines import processors
from kapps.errors import RecipeError

# Steps between two looks at the duality gap, which cost half as much as a step.
_CHECK_EVERY = 5

# By how much FISTA's rate grows after a sound step; what part of the largest sound rate it takes after another one; and
# the largest rate, in 1 / L: were it without bounds, codes that no longer move would let it grow to infinity.
_GROWTH = 1.05
_BACKTRACK = 0.8
_FASTEST = 16

# Of the power iteration. It comes to L from below, which does no harm: ISTA goes down with any rate under 2 / L.
_POWER_STEPS = 200

# What an atom's mean squared coefficient must reach, else nothing uses the atom.
_UNUSED = 1e-6


@dataclass(frozen=True)
class SparseCodingConfig:
    """A dictionary and how codes are found.

    Attributes:
        atoms: in the dictionary; it is over-complete where they are more than the numbers of an example.
        penalty: lambda.
        algorithm: `"fista"` or `"ista"`.
        tolerance: codes are good enough when the duality gap of their batch is at most this part of its objective. The
            gap is a bound: the objective itself is then a hundred times as near to its minimum.
        training_tolerance: the same while the dictionary is learned, where rough codes serve as well.
        iterations: the most steps for a batch.
        forgetting: how much more the newer batches count for the dictionary: the average over t of them weighs batch i
            about as (i / t)^forgetting; 0 = all alike.
        seed: of the first dictionary and of what replaces unused atoms.
    """

    atoms: int = 256
    penalty: float = 1.0
    algorithm: str = "fista"
    tolerance: float = 3e-3
    training_tolerance: float = 5e-2
    iterations: int = 1000
    forgetting: float = 3.0
    seed: int = 0


VARIANTS = {"sparse_coding": SparseCodingConfig()}


# --- the coding stage: x [B, d], atoms [K, d], codes [B, K]; all of one dtype


def soft_threshold(values: tf.Tensor, threshold: Any) -> tf.Tensor:
    """h: every value by `threshold` nearer to zero, and zero where it would change its sign."""
    return values - tf.clip_by_value(values, -threshold, threshold)


def lasso_objective(x: tf.Tensor, atoms: tf.Tensor, codes: tf.Tensor, penalty: float) -> tf.Tensor:
    """1/2 |x - z D|^2 + lambda |z|_1 of every example: [B]."""
    return _objective(x - tf.matmul(codes, atoms), codes, penalty)


def duality_gap(x: tf.Tensor, atoms: tf.Tensor, codes: tf.Tensor, penalty: float) -> tf.Tensor:
    """How far the objective can still be from its minimum, for every example: [B]; 0 at the optimum.

    The residual, scaled until no atom has more than lambda in common with it, is feasible in the dual problem:
    max 1/2 |x|^2 - 1/2 |x - u|^2 subject to |D u| <= lambda.
    """
    residual = x - tf.matmul(codes, atoms)
    common = tf.matmul(residual, atoms, transpose_b=True)
    return _objective(residual, codes, penalty) - _dual(x, residual, common, penalty)


def _objective(residual: tf.Tensor, codes: tf.Tensor, penalty: float) -> tf.Tensor:
    return tf.reduce_sum(tf.square(residual), axis=1) / 2 + penalty * tf.reduce_sum(tf.abs(codes), axis=1)


def _dual(x: tf.Tensor, residual: tf.Tensor, common: tf.Tensor, penalty: float) -> tf.Tensor:
    """The dual's value, [B], at the best feasible multiple of the residual; `common`: D r, [B, K]."""
    square = tf.reduce_sum(tf.square(residual), axis=1)
    along = tf.reduce_sum(x * residual, axis=1)
    best = tf.math.divide_no_nan(along, square)  # of all multiples
    steepest = tf.reduce_max(tf.abs(common), axis=1)
    limit = penalty / tf.maximum(steepest, tf.constant(1e-30, x.dtype))
    scale = tf.clip_by_value(best, -limit, limit)
    return scale * along - tf.square(scale) * square / 2


def largest_penalty(x: tf.Tensor, atoms: tf.Tensor) -> tf.Tensor:
    """lambda_max of every example, [B]: from here on all its coefficients are zero."""
    return tf.reduce_max(tf.abs(tf.matmul(x, atoms, transpose_b=True)), axis=1)


def lipschitz(atoms: tf.Tensor) -> tf.Tensor:
    """L, the largest eigenvalue of D D^T, by power iteration."""
    count, numbers = atoms.shape
    # D D^T and D^T D have the same eigenvalues but for zeros: the smaller one does.
    gram = tf.matmul(atoms, atoms, transpose_a=count > numbers, transpose_b=count <= numbers)
    # No direction that anybody would choose, so that it is not orthogonal to the one that is looked for.
    first = tf.cos(tf.range(1, gram.shape[0] + 1, dtype=atoms.dtype))[:, tf.newaxis]

    def multiply(step: tf.Tensor, direction: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        direction = tf.matmul(gram, direction)
        return step + 1, direction / tf.norm(direction)

    _, direction = tf.while_loop(
        lambda step, _: step < _POWER_STEPS, multiply, (tf.constant(0), first / tf.norm(first))
    )
    return tf.norm(tf.matmul(gram, direction))


def ista(
    x: tf.Tensor, atoms: tf.Tensor, penalty: float, *, tolerance: float = 3e-3, iterations: int = 1000
) -> tf.Tensor:
    """Codes [B, K] by iterative shrinkage and thresholding, from zero.

    Args:
        x: examples [B, d].
        atoms: [K, d].
        penalty: lambda.
        tolerance: ends the steps when the batch's duality gap is at most this part of its objective; 0 = never.
        iterations: the most steps.
    """
    problem = _Problem(x, atoms, penalty)
    rate = 1 / lipschitz(atoms)

    def step(z: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        new = soft_threshold(z + rate * problem.descent(image), rate * penalty)
        return new, problem.image(new)

    return _repeat(step, problem.zeros(), problem, tolerance, iterations)


def fista(
    x: tf.Tensor, atoms: tf.Tensor, penalty: float, *, tolerance: float = 3e-3, iterations: int = 1000
) -> tf.Tensor:
    """Codes [B, K] by ISTA with momentum, every example at its own rate; arguments as `ista`.

    A step from y to z' is sound where |(z' - y) D|^2 <= |z' - y|^2 / rate, which holds for every rate up to 1 / L. But
    few coefficients move, and for these alone L is several times smaller: so an example's rate grows until a step fails
    the test, which is then made again with a smaller one.
    """
    problem = _Problem(x, atoms, penalty)
    safe = 1 / lipschitz(atoms)

    def step(
        z: tf.Tensor, image: tf.Tensor, y: tf.Tensor, y_image: tf.Tensor, t: tf.Tensor, rate: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        new = soft_threshold(y + rate * problem.descent(y_image), rate * penalty)
        new_image = problem.image(new)
        change = new - y
        square = tf.reduce_sum(tf.square(change), axis=1, keepdims=True)
        curvature = problem.curvature(change, new_image - y_image)
        sound = tf.logical_or(rate * curvature <= square, rate <= safe)
        smaller = tf.maximum(_BACKTRACK * tf.math.divide_no_nan(square, curvature), safe)
        following_rate = tf.where(sound, tf.minimum(_GROWTH * rate, _FASTEST * safe), smaller)

        moved = new - z
        uphill = tf.reduce_sum(change * moved, axis=1, keepdims=True) < 0
        begun = tf.where(uphill, tf.ones_like(t), t)  # 1: from here as at the first step, without momentum
        following = (1 + tf.sqrt(1 + 4 * rate / following_rate * tf.square(begun))) / 2
        ahead = (begun - 1) / following

        def if_sound(taken: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
            return tf.where(sound, taken, kept)

        return (
            if_sound(new, z),
            if_sound(new_image, image),
            if_sound(new + ahead * moved, y),
            if_sound(new_image + ahead * (new_image - image), y_image),
            if_sound(following, t),
            following_rate,
        )

    codes, image = problem.zeros()
    start = (codes, image, codes, image, tf.ones_like(x[:, :1]), safe * tf.ones_like(x[:, :1]))
    return _repeat(step, start, problem, tolerance, iterations)


class _Problem:
    """A batch's lasso: what one step and the gap need, in as few multiplications as they can be had.

    Where atoms are many, there and back through the data takes fewer than the Gram matrix D D^T. So the `image` of
    codes is z D, [B, d], or, with few atoms, z D D^T, [B, K]: all that the gradient needs, and linear in the codes.
    """

    def __init__(self, x: tf.Tensor, atoms: tf.Tensor, penalty: float):
        count, numbers = atoms.shape
        self.x, self.atoms, self.penalty = x, atoms, penalty
        self.by_gram = count <= 2 * numbers
        if self.by_gram:
            self.gram = tf.matmul(atoms, atoms, transpose_b=True)
            self.common = tf.matmul(x, atoms, transpose_b=True)

    def zeros(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes of zeros and their image."""
        codes = tf.zeros([tf.shape(self.x)[0], self.atoms.shape[0]], self.x.dtype)
        return codes, codes if self.by_gram else tf.zeros_like(self.x)

    def image(self, codes: tf.Tensor) -> tf.Tensor:
        return tf.matmul(codes, self.gram if self.by_gram else self.atoms)

    def descent(self, image: tf.Tensor) -> tf.Tensor:
        """(x - z D) D^T, [B, K]: the way down of the quadratic term."""
        return self.common - image if self.by_gram else tf.matmul(self.x - image, self.atoms, transpose_b=True)

    def curvature(self, change: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """|z D|^2 of a change of the codes, [B, 1]."""
        return tf.reduce_sum((change if self.by_gram else image) * image, axis=1, keepdims=True)

    def is_good(self, codes: tf.Tensor, image: tf.Tensor, tolerance: float) -> tf.Tensor:
        """Whether the duality gap of all is at most this part of their objective; never for 0."""
        if not tolerance:
            return tf.constant(False)
        residual = self.x - (tf.matmul(codes, self.atoms) if self.by_gram else image)
        objective = _objective(residual, codes, self.penalty)
        left = objective - _dual(self.x, residual, self.descent(image), self.penalty)
        return tf.reduce_sum(left) <= tolerance * tf.reduce_sum(objective)


def _repeat(
    step: Callable[..., tuple[tf.Tensor, ...]],
    state: tuple[tf.Tensor, ...],
    problem: _Problem,
    tolerance: float,
    iterations: int,
) -> tf.Tensor:
    """`step` on the state, codes, their image and more, again and again, until the codes are good; returns these."""

    def some(count: tf.Tensor, done: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        end = tf.minimum(count + _CHECK_EVERY, iterations)
        count, *rest = tf.while_loop(
            lambda count, *state: count < end, lambda count, *state: (count + 1, *step(*state)), (count, *state)
        )
        return count, problem.is_good(rest[0], rest[1], tolerance), *rest

    found = tf.while_loop(
        lambda count, done, *state: tf.logical_and(count < iterations, tf.logical_not(done)),
        some,
        (tf.constant(0), tf.constant(False), *state),
    )
    return found[2]


ALGORITHMS = {"fista": fista, "ista": ista}

# XLA joins everything between two products into one pass over the memory. It compiles for every size of batch.
_COMPILED = {name: tf.function(method, jit_compile=True, autograph=False) for name, method in ALGORITHMS.items()}


# --- the learning stage


def improve_atoms(atoms: tf.Tensor, a: tf.Tensor, b: tf.Tensor, spare: tf.Tensor) -> tf.Tensor:
    """One sweep of block coordinate descent (Mairal and others 2009, algorithm 2).

    Args:
        atoms: D [K, d], rows of length 1.
        a: mean Z^T Z, [K, K].
        b: mean Z^T X, [K, d].
        spare: what replaces an unused atom, [K, d].

    Returns:
        [K, d]: the minimum of 1/2 tr(D^T A D) - tr(D^T B) over each row on the unit sphere, one after the other.
    """

    def one(j: tf.Tensor, atoms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        atom, row = tf.gather(atoms, j), tf.gather(a, j)
        use = tf.gather(row, j)
        missing = tf.gather(b, j) - tf.linalg.matvec(atoms, row, transpose_a=True)
        wanted = tf.where(use > _UNUSED, atom + missing / tf.maximum(use, _UNUSED), tf.gather(spare, j))
        length = tf.norm(wanted)
        better = tf.where(length > 1e-6, wanted / tf.maximum(length, 1e-6), atom)
        return j + 1, tf.tensor_scatter_nd_update(atoms, [[j]], better[tf.newaxis])

    return tf.while_loop(lambda j, _: j < atoms.shape[0], one, (tf.constant(0), atoms))[1]


# Compiled it is ten times as fast, which pays for the half second of compiling where atoms are many.
_COMPILED_SWEEP = tf.function(improve_atoms, jit_compile=True, autograph=False)
_MANY_ATOMS = 64


@keras.saving.register_keras_serializable("kapps")
class SparseCoding(FeatureLearner):
    """A dictionary and the codes in it; any finite data, without a mean for good atoms.

    `fit` starts with examples as atoms where the dictionary is new, and goes on with what was learned where it is not.
    It reports the mean `objective` of the batches, each before it was learned from, and the share of coefficients that
    are `nonzero`. The optimizer that `compile` takes has nothing to do.

    Args:
        data_shape: of one example, without the batch.
        config: the configuration; None = all defaults.

    Raises:
        RecipeError: a value of the configuration that cannot be used.

    Attributes:
        atoms: D, float32 [K, d]; d = the numbers of an example.
    """

    CONFIG = SparseCodingConfig

    def __init__(self, data_shape: tuple[int, ...], config: SparseCodingConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check(config)
        count, numbers = config.atoms, self.n_features_in_
        self.check_memory(2 * count * numbers + count**2)
        self.seeds = keras.random.SeedGenerator(config.seed)

        def directions(shape: tuple[int, ...], dtype: Any = None) -> Any:
            return keras.ops.normalize(keras.random.normal(shape, dtype=dtype, seed=config.seed), axis=-1)

        def weight(name: str, shape: tuple[int, ...], initializer: Any = "zeros") -> keras.Variable:
            return self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)

        self.atoms = weight("atoms", (count, numbers), directions)
        self.mean_zz = weight("mean_zz", (count, count))
        self.mean_zx = weight("mean_zx", (count, numbers))
        self.batches = weight("batches", ())
        self.objective_mean = keras.metrics.Mean(name="objective")
        self.nonzero_mean = keras.metrics.Mean(name="nonzero")
        self.built = True

    @property
    def has_learned(self) -> bool:
        """Whether the dictionary has seen a batch."""
        return float(self.batches.numpy()) > 0

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        config = self.config
        return ALGORITHMS[config.algorithm](
            self._rows(inputs),
            tf.convert_to_tensor(self.atoms),
            config.penalty,
            tolerance=config.tolerance,
            iterations=config.iterations,
        )

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.matmul(codes, tf.convert_to_tensor(self.atoms)), [-1, *self.data_shape])

    @property
    def components_(self) -> np.ndarray:
        return self.atoms.numpy().reshape(-1, *self.data_shape)

    def transform(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The codes of data: float32 [N, K]. Full batches are coded by a compiled loop.

        Raises:
            DataError: as in `fit`; a single example is enough here.
        """
        data = self.check(x, least=1)
        if len(data) < batch_size:  # not worth the seconds of compiling
            return super().transform(data, batch_size=batch_size)
        config, atoms = self.config, tf.convert_to_tensor(self.atoms)
        rows = data.reshape(len(data), -1)
        codes = np.empty((len(rows), config.atoms), np.float32)

        def code(start: int) -> None:
            some = rows[start : start + batch_size]
            padded = np.pad(some, ((0, batch_size - len(some)), (0, 0)))  # the compiled loop knows one size
            found = _COMPILED[config.algorithm](
                tf.constant(padded), atoms, config.penalty, tolerance=config.tolerance, iterations=config.iterations
            )
            codes[start : start + batch_size] = found.numpy()[: len(some)]

        # XLA shares out the products over the processors, but not what lies between them.
        with ThreadPoolExecutor(processors()) as pool:
            list(pool.map(code, range(0, len(rows), batch_size)))
        return codes

    def objective(self, x: Any, codes: np.ndarray | None = None) -> np.ndarray:
        """1/2 |x - z D|^2 + lambda |z|_1 of every example, float32 [N]; codes are found where none are given.

        Raises:
            DataError: as in `transform`.
        """
        data = self.check(x, least=1)
        codes = self.transform(data) if codes is None else np.asarray(codes, np.float32)
        atoms = self.atoms.numpy()
        errors = data.reshape(len(data), -1) - codes @ atoms
        return np.square(errors).sum(1) / 2 + self.config.penalty * np.abs(codes).sum(1)

    def fit(self, x: Any, y: Any = None, **kwargs: Any) -> Any:
        """Learn the dictionary; see `FeatureLearner.fit`. Labels have no part in it."""
        if not self.has_learned:
            self._begin_with_examples(x)
        return super().fit(x, **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        x, atoms = self._rows(inputs), tf.convert_to_tensor(self.atoms)
        config = self.config
        codes = ALGORITHMS[config.algorithm](
            x, atoms, config.penalty, tolerance=config.training_tolerance, iterations=config.iterations
        )
        self.objective_mean.update_state(lasso_objective(x, atoms, codes, config.penalty))
        self.nonzero_mean.update_state(tf.cast(codes != 0, tf.float32))

        count = tf.cast(tf.shape(x)[0], tf.float32)
        self.batches.assign_add(1.0)
        newest = (1 + config.forgetting) / (tf.convert_to_tensor(self.batches) + config.forgetting)  # the first: 1
        for mean, others in ((self.mean_zz, codes), (self.mean_zx, x)):
            mean.assign_add(newest * (tf.matmul(codes, others, transpose_a=True) / count - mean))
        places = keras.random.randint((config.atoms,), 0, tf.shape(x)[0], seed=self.seeds)
        sweep = _COMPILED_SWEEP if config.atoms >= _MANY_ATOMS else improve_atoms
        self.atoms.assign(
            sweep(atoms, tf.convert_to_tensor(self.mean_zz), tf.convert_to_tensor(self.mean_zx), tf.gather(x, places))
        )
        return {metric.name: metric.result() for metric in (self.objective_mean, self.nonzero_mean)}

    def _rows(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.cast(inputs, tf.float32), [-1, self.n_features_in_])

    def _begin_with_examples(self, x: Any) -> None:
        """Examples, drawn without repetition, become the first atoms; where there are too few, the rest stay random."""
        if isinstance(x, tf.data.Dataset):
            parts, found = [], 0
            for batch in x:
                parts.append(self.check(batch[0] if isinstance(batch, tuple) else batch, least=1))
                found += len(parts[-1])
                if found >= self.config.atoms:
                    break
            data = np.concatenate(parts) if parts else np.zeros((0, *self.data_shape), np.float32)
        else:
            data = self.check(x)
        order = np.random.default_rng(self.config.seed).permutation(len(data))[: 2 * self.config.atoms]
        rows = data.reshape(len(data), -1)[order]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = (rows / np.maximum(lengths, 1e-6))[lengths[:, 0] > 1e-6][: self.config.atoms]
        self.atoms.assign(np.concatenate([rows, self.atoms.numpy()[len(rows) :]]))


def _check(config: SparseCodingConfig) -> None:
    def expect(right: bool, field: str, expected: str) -> None:
        if not right:
            raise RecipeError(f"sparse_coding: expected {expected} as {field}, got {getattr(config, field)!r}")

    expect(config.atoms >= 2, "atoms", "at least 2")
    expect(config.penalty > 0, "penalty", "a number over 0")
    expect(config.algorithm in ALGORITHMS, "algorithm", " or ".join(ALGORITHMS))
    expect(config.tolerance > 0, "tolerance", "a number over 0")
    expect(config.training_tolerance > 0, "training_tolerance", "a number over 0")
    expect(config.iterations >= 1, "iterations", "at least 1")
    expect(config.forgetting >= 0, "forgetting", "0 or more")


LEARNER = SparseCoding

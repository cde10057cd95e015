"""Predictive sparse decomposition: sparse codes that one product of matrices predicts.

Idea: the best sparse code of an example takes many steps to find. So a small network learns to foresee it, while the
dictionary learns to be of use with codes that can be foreseen. Afterwards the network alone gives the codes.

    stage      what                                                                   output   numbers (8x8, 256 atoms)
    predictor  f(x) = g * tanh(x W + c): the gain g gives each unit its scale         [256]    16,896
    code       z = argmin of the objective below, from x and f(x)                     [256]
    data       z D: the rows of D are the atoms, each of length 1                     [64]     16,384

    objective  1/2 |x - z D|^2 + lambda |z|_1 + alpha / 2 |z - f(x)|^2

Learning alternates, batch by batch: with all parameters held, the codes z that make the objective least; with these
codes held, one step down the gradient for D, W, c and g, after which every atom is brought back to length 1 (else the
penalty would be evaded by large atoms and small coefficients).

`transform` gives f(x), `infer` the best code. Both last terms of the objective are squares, so the best code is that of
plain sparse coding with sqrt(alpha) f(x) written beside x, and sqrt(alpha) times the unit matrix beside D: FISTA finds
it.

Paper: Kavukcuoglu, Ranzato, LeCun: "Fast inference in sparse coding algorithms with applications to object
recognition", CBLL-TR-2008-12-01, New York University, 2008, section 2.

Deviations: both squares are halved, which halves lambda. Codes are found by FISTA, where the paper goes down the
gradient from f(x): the minimum is the same and there is only one. Adam, where the paper has a fixed rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.sparse_coding import fista
from kapps.errors import RecipeError


@dataclass(frozen=True)
class PSDConfig:
    """A dictionary, a predictor, and how they learn.

    Attributes:
        atoms: in the dictionary, K.
        penalty: lambda.
        prediction: alpha, how much it counts that a code can be foreseen.
        tolerance: codes are good enough when the duality gap of their batch is at most this part of its objective.
        training_tolerance: the same while learning, where rough codes serve as well.
        iterations: the most steps for a batch.
        learning_rate: of Adam, where `fit` comes without `compile`.
        seed: of the weights.
    """

    atoms: int = 256
    penalty: float = 0.5
    prediction: float = 1.0
    tolerance: float = 1e-4
    training_tolerance: float = 1e-2
    iterations: int = 500
    learning_rate: float = 1e-3
    seed: int = 0


VARIANTS = {"psd": PSDConfig()}


@keras.saving.register_keras_serializable("kapps")
class PredictiveSparseDecomposition(FeatureLearner):
    """Data [B, *data_shape] -> the predicted codes f(x), float32 [B, K]; any finite data, best without a mean.

    `fit` reports, each before the step that was made: the `objective`, the share of coefficients that are `nonzero`,
    and the `prediction_error`, |z - f(x)|^2 over |z|^2, of the batch.

    Args:
        data_shape: of one example; d is its number of values.
        config: see `PSDConfig`.

    Attributes:
        atoms: D, [K, d], rows of length 1.
        W: [d, K], of the predictor.
        c: [K].
        gain: g, [K].

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
    """

    CONFIG = PSDConfig

    def __init__(self, data_shape: tuple[int, ...], config: PSDConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config)
        self.supports_jit = False  # XLA makes a step half as long again, and takes seconds to compile it
        count, numbers = config.atoms, self.n_features_in_
        self.check_memory(2 * count * numbers + 2 * count + count**2)  # the last is the Gram matrix of the search

        def directions(shape: tuple[int, ...], dtype: Any = None) -> Any:
            return keras.ops.normalize(keras.random.normal(shape, dtype=dtype, seed=config.seed), axis=-1)

        self.atoms = self.add_weight(name="atoms", shape=(count, numbers), initializer=directions)
        start = keras.initializers.GlorotUniform(seed=config.seed + 1)
        self.W = self.add_weight(name="W", shape=(numbers, count), initializer=start)
        self.c = self.add_weight(name="c", shape=(count,), initializer="zeros")
        self.gain = self.add_weight(name="gain", shape=(count,), initializer="ones")
        self.objective_mean = keras.metrics.Mean(name="objective")
        self.nonzero_mean = keras.metrics.Mean(name="nonzero")
        self.prediction_error = keras.metrics.Mean(name="prediction_error")
        self.built = True

    # ---- codes, on tensors

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """f(x): [B, *data_shape] -> [B, K]."""
        scores = tf.nn.bias_add(tf.matmul(self._rows(inputs), tf.convert_to_tensor(self.W)), self.c)
        return self.gain * tf.tanh(scores)

    def best_codes(self, inputs: tf.Tensor, tolerance: float) -> tf.Tensor:
        """z that makes the objective least: [B, *data_shape] -> [B, K]; nothing is differentiated through it."""
        config = self.config
        weight = config.prediction**0.5
        rows, atoms = self._rows(inputs), tf.convert_to_tensor(self.atoms)
        unit = tf.eye(config.atoms, dtype=atoms.dtype)
        codes = fista(
            tf.concat([rows, weight * self.encode(inputs)], axis=1),
            tf.concat([atoms, weight * unit], axis=1),
            config.penalty,
            tolerance=tolerance,
            iterations=config.iterations,
        )
        return tf.stop_gradient(codes)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """z D: [B, K] -> [B, *data_shape]."""
        codes = tf.cast(codes, self.compute_dtype)
        return tf.reshape(tf.matmul(codes, tf.convert_to_tensor(self.atoms)), [-1, *self.data_shape])

    def objective(self, x: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """1/2 |x - z D|^2 + lambda |z|_1 + alpha / 2 |z - f(x)|^2: [B, *data_shape] and [B, K] -> [B]."""
        errors = self._rows(x) - tf.matmul(codes, tf.convert_to_tensor(self.atoms))
        unforeseen = codes - self.encode(x)
        return (
            tf.reduce_sum(tf.square(errors), axis=1) / 2
            + self.config.penalty * tf.reduce_sum(tf.abs(codes), axis=1)
            + self.config.prediction / 2 * tf.reduce_sum(tf.square(unforeseen), axis=1)
        )

    # ---- learning

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam with the configuration's rate."""
        return keras.optimizers.Adam(self.config.learning_rate)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.objective_mean, self.nonzero_mean, self.prediction_error]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        codes = self.best_codes(x, self.config.training_tolerance)
        self.nonzero_mean.update_state(tf.cast(codes != 0, tf.float32))
        missed = tf.reduce_sum(tf.square(codes - self.encode(x)))
        self.prediction_error.update_state(tf.math.divide_no_nan(missed, tf.reduce_sum(tf.square(codes))))
        learned = self.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.objective(x, codes))
        self.optimizer.apply(tape.gradient(loss, learned), learned)
        self.atoms.assign(tf.math.l2_normalize(tf.convert_to_tensor(self.atoms), axis=1))
        self.objective_mean.update_state(loss)
        return {metric.name: metric.result() for metric in self.metrics}

    # ---- what it gives

    def infer(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The best codes of data, float32 [N, K]; `transform` gives the predicted ones.

        Raises:
            DataError: as in `transform`.
        """
        search = tf.function(lambda inputs: self.best_codes(inputs, self.config.tolerance))
        return self._in_batches(search, self.check(x, least=1), batch_size)

    @property
    def components_(self) -> np.ndarray:
        """The atoms, float32 [K, *data_shape]. `W` holds the predictor's filters."""
        return self.atoms.numpy().reshape(-1, *self.data_shape)

    def _rows(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.cast(inputs, self.compute_dtype), [-1, self.n_features_in_])


def _check_config(config: PSDConfig) -> None:
    def expect(right: bool, field: str, expected: str) -> None:
        if not right:
            raise RecipeError(f"psd: expected {expected} as {field}, got {getattr(config, field)!r}")

    expect(config.atoms >= 2, "atoms", "at least 2")
    for field in ("penalty", "prediction", "tolerance", "training_tolerance", "learning_rate"):
        expect(0 < getattr(config, field) < np.inf, field, "a number over 0")
    expect(config.iterations >= 1, "iterations", "at least 1")


LEARNER = PredictiveSparseDecomposition

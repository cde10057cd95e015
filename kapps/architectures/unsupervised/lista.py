"""LISTA: a network of a few layers that predicts the codes for which sparse coding takes hundreds of steps.

Idea: a step of ISTA is a layer: two products and a shrinkage. With its matrices and thresholds learned, instead of
derived from the dictionary, and shared by all layers, a few such layers come near the exact codes of data like that
which they learned from.

    stage   what                                                         output
    codes   b = W x, z = h(b), then T times z <- h(b + S z)              [256]
    data    z D, with the dictionary D that the codes are for            [8, 8, 1]

h is the soft threshold with a threshold theta_k of its own for every atom. W, S and theta begin as those of ISTA,

    W = D / L,   S = I - D D^T / L,   theta = lambda / L   (the rows of D are atoms, L: see sparse_coding.py)

so that LISTA gives the codes of T + 1 steps of ISTA before it learns. It learns from pairs of an example x and its code
z* from FISTA, by gradient descent on 1/2 |z* - z|^2.

Paper: Gregor, LeCun: "Learning fast approximations of sparse coding", ICML 2010, algorithms 1 (ISTA)
and 3 (LISTA).

Deviations: it begins as ISTA, where the paper only says that this is possible. Adam instead of plain stochastic
gradient descent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.sparse_coding import (
    SparseCoding,
    SparseCodingConfig,
    lipschitz,
    soft_threshold,
)
from kapps.errors import RecipeError


@dataclass(frozen=True)
class LISTAConfig:
    """A network and the dictionary whose codes it predicts.

    Attributes:
        atoms: in the dictionary.
        steps: T, the layers behind the first; 0 = a plain encoder h(W x).
        penalty: lambda of the codes.
        coder_epochs: for which `fit` learns the dictionary first, where there is none.
        seed: of the dictionary.
    """

    atoms: int = 256
    steps: int = 3
    penalty: float = 1.0
    coder_epochs: int = 5
    seed: int = 0


VARIANTS = {"lista": LISTAConfig()}


@keras.saving.register_keras_serializable("kapps")
class LISTA(FeatureLearner):
    """A fast predictor of sparse codes.

    `fit` learns the dictionary, where there is none, and then to predict its codes, which are found beforehand: for
    arrays all at once (as many numbers as examples times atoms), for a `tf.data.Dataset` batch by batch. It reports the
    mean `code_error`, 1/2 |z* - z|^2, and what part of |z*|^2 its double is, `relative_error`.

    Args:
        data_shape: of one example, without the batch.
        config: the configuration; None = all defaults.

    Raises:
        RecipeError: a value of the configuration that cannot be used.

    Attributes:
        coder: the `SparseCoding` whose codes are predicted.
        W: float32 [K, d]. S: float32 [K, K]. theta: float32 [K].
    """

    CONFIG = LISTAConfig

    def __init__(self, data_shape: tuple[int, ...], config: LISTAConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        for field, least in (("steps", 0), ("coder_epochs", 1)):
            if getattr(config, field) < least:
                raise RecipeError(f"lista: expected at least {least} as {field}, got {getattr(config, field)!r}")
        count, numbers = config.atoms, self.n_features_in_
        self.check_memory(3 * count * numbers + 2 * count**2)
        self.coder = SparseCoding(
            self.data_shape,
            # What is to be predicted is to be exact.
            SparseCodingConfig(atoms=count, penalty=config.penalty, tolerance=1e-4, seed=config.seed),
            name="coder",
        )
        self.W = self.add_weight(shape=(count, numbers), initializer="zeros", name="W")
        self.S = self.add_weight(shape=(count, count), initializer="zeros", name="S")
        self.theta = self.add_weight(
            shape=(count,), initializer="zeros", constraint=keras.constraints.NonNeg(), name="theta"
        )
        self.code_error = keras.metrics.Mean(name="code_error")
        self.code_size = keras.metrics.Mean(name="code_size")
        self.built = True
        self.begin_as_ista()

    @classmethod
    def of(cls, coder: SparseCoding, steps: int = 3) -> LISTA:
        """A LISTA for the codes of a dictionary that was learned; it does not change with the coder any more."""
        config = LISTAConfig(
            atoms=coder.config.atoms, steps=steps, penalty=coder.config.penalty, seed=coder.config.seed
        )
        learner = cls(coder.data_shape, config)
        learner.coder.set_weights(coder.get_weights())
        learner.begin_as_ista()
        return learner

    def begin_as_ista(self) -> None:
        """Set W, S and theta to those with which the layers are steps of ISTA."""
        atoms = tf.convert_to_tensor(self.coder.atoms)
        rate = 1 / lipschitz(atoms)
        self.W.assign(rate * atoms)
        self.S.assign(tf.eye(self.config.atoms) - rate * tf.matmul(atoms, atoms, transpose_b=True))
        self.theta.assign(tf.fill([self.config.atoms], rate * self.config.penalty))

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(tf.cast(inputs, tf.float32), [-1, self.n_features_in_])
        weights, mutual, theta = (tf.convert_to_tensor(each) for each in (self.W, self.S, self.theta))
        pull = tf.matmul(x, weights, transpose_b=True)
        codes = soft_threshold(pull, theta)
        for _ in range(self.config.steps):
            codes = soft_threshold(pull + tf.matmul(codes, mutual, transpose_b=True), theta)
        return codes

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        return self.coder.decode(codes)

    @property
    def components_(self) -> np.ndarray:
        return self.W.numpy().reshape(-1, *self.data_shape)

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: int = 1, **kwargs: Any) -> Any:
        """Learn to predict the codes; see the class and `FeatureLearner.fit`. Labels have no part in it."""
        if not self.coder.has_learned:
            self.coder.fit(
                x, batch_size=batch_size, epochs=self.config.coder_epochs, verbose=kwargs.get("verbose", "auto")
            )
            self.begin_as_ista()
        if isinstance(x, tf.data.Dataset):
            pairs = x.map(lambda examples, *_: (examples, self.coder.encode(examples)), tf.data.AUTOTUNE)
            return super().fit(pairs, epochs=epochs, **kwargs)
        x = self.check(x)
        return super().fit(x, self.coder.transform(x), batch_size=batch_size, epochs=epochs, **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, exact, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            errors = tf.reduce_sum(tf.square(exact - self.encode(inputs)), axis=1) / 2
            loss = tf.reduce_mean(errors)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.code_error.update_state(errors)
        self.code_size.update_state(tf.reduce_sum(tf.square(exact), axis=1) / 2)
        error, size = self.code_error.result(), self.code_size.result()
        return {"code_error": error, "relative_error": tf.math.divide_no_nan(error, size)}


LEARNER = LISTA

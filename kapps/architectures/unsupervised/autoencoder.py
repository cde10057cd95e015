"""Autoencoders: a code from which the input can be made again, kept from being a mere copy by one of four means.

Idea: what the hidden units keep of an example is whatever is needed to give it back. With fewer of them than inputs,
that is compression. With more, something must stand in the way of the identity: activity that costs (sparse), an input
that was damaged before (denoising), or a code that may not follow every small change of the input (contractive).

    stage   what                                                         output   numbers (`autoencoder`, 784-500)
    code    h = s(x W + c)                                               [500]    392,500
    output  y = t(h W^T + b), or t(h U + b) where weights are not tied   [784]        784

The objective of an example x; its mean over a batch is what is learned from:

    reconstruction   t sigmoid:  -sum_i x_i log y_i + (1 - x_i) log(1 - y_i),   for x in [0, 1]
                     t linear:   1/2 |x - y|^2,                                 for any x
    sparse           + l1 sum_j |h_j|, or + sparsity_cost sum_j KL(r || mean of h_j over the batch), r the target
    denoising        the same, but y comes from the code of a damaged x
    contractive      + contraction |J|^2, J the derivatives of the code by the input:
                     |J|^2 = sum_j s'_j^2 sum_i W_ij^2,     with s'_j = h_j (1 - h_j) for sigmoid units

Paper: Rumelhart, Hinton, Williams: "Learning internal representations by error propagation", Parallel Distributed
Processing 1, 1986 (the encoder problem). Lee, Ekanadham, Ng: "Sparse deep belief net model for visual area V2", NIPS
2007, and Ng: "Sparse autoencoder", lecture notes of CS294A, 2011, section 3 (the target and its KL divergence).
Vincent, Larochelle, Bengio, Manzagol: "Extracting and composing robust features with denoising autoencoders", ICML
2008, section 2. Rifai, Vincent, Muller, Glorot, Bengio: "Contractive auto-encoders: explicit invariance during feature
extraction", ICML 2011, eq. 1 (|J|^2).

Deviations: Adam, where the papers go down the gradient with a fixed rate. The closed form is given for tanh, ReLU and
linear units, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.errors import RecipeError
from kapps.layers.corruption import corruption

# name -> (function, its derivative as a function of its value)
ACTIVATIONS: dict[str, tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]] = {
    "sigmoid": (tf.sigmoid, lambda h: h * (1 - h)),
    "tanh": (tf.tanh, lambda h: 1 - tf.square(h)),
    "relu": (tf.nn.relu, lambda h: tf.cast(h > 0, h.dtype)),
    "linear": (tf.identity, tf.ones_like),
}
OUTPUTS = ("sigmoid", "linear")

# A unit that is never (always) on: its divergence from the target would be infinite.
_LEAST_ACTIVITY = 1e-6


@dataclass(frozen=True)
class AutoencoderConfig:
    """Units, and what keeps the code from being a copy.

    Attributes:
        hidden: units of the code, H.
        activation: s: `"sigmoid"`, `"tanh"`, `"relu"` or `"linear"`.
        output: t: `"sigmoid"` for data in [0, 1], learned by its cross-entropy, or `"linear"` for any, by its squared
            error.
        tied: decode with the encoder's weights, transposed.
        corruption: of the input in training: `"none"`, `"masking"`, `"salt_and_pepper"` (for data in [0, 1]) or
            `"gaussian"`.
        corruption_level: the probability that a value is damaged, or the standard deviation of Gaussian noise.
        l1: what a unit's activity costs.
        sparsity_target: r, the mean activity that a sigmoid unit should have; None = whatever it likes.
        sparsity_cost: how much the KL divergence from it counts.
        contraction: how much |J|^2 counts.
        learning_rate: of Adam, where `fit` comes without `compile`.
        seed: of the weights and of the corruption.
    """

    hidden: int = 500
    activation: str = "sigmoid"
    output: str = "sigmoid"
    tied: bool = True
    corruption: str = "none"
    corruption_level: float = 0.25
    l1: float = 0.0
    sparsity_target: float | None = None
    sparsity_cost: float = 0.0
    contraction: float = 0.0
    learning_rate: float = 1e-3
    seed: int = 0


VARIANTS = {
    "autoencoder": AutoencoderConfig(),
    "sparse_autoencoder": AutoencoderConfig(sparsity_target=0.05, sparsity_cost=1.0),
    "denoising_autoencoder": AutoencoderConfig(corruption="masking"),
    "contractive_autoencoder": AutoencoderConfig(contraction=0.1),
}


class ReconstructionLearner(FeatureLearner):
    """What goes down the gradient of one objective, most of which is how badly data is given back.

    A subclass gives `objective` and sets `noise` in `__init__`, if it damages what it sees. Reported are the `loss` and
    the `reconstruction_error`, the mean squared error of a value, of data as it was seen.
    """

    def __init__(self, data_shape: tuple[int, ...], config: Any = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        self.supports_jit = False  # products of large matrices: compiled by XLA, they take three times as long here
        self.noise: keras.layers.Layer | None = None
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")

    def objective(self, x: tf.Tensor, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What is to be small: scalar, the mean over the batch; and the reconstruction [B, *data_shape].

        Args:
            x: data [B, *data_shape].
            seen: what the encoder gets of it, of the same shape.
        """
        raise NotImplementedError

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam with the configuration's rate."""
        return keras.optimizers.Adam(self.config.learning_rate)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_mean, self.reconstruction_error]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        x = tf.cast(x, self.compute_dtype)
        seen = x if self.noise is None else self.noise(x, training=True)
        learned = self.trainable_variables
        with tf.GradientTape() as tape:
            loss, again = self.objective(x, seen)
        self.optimizer.apply(tape.gradient(loss, learned), learned)
        return self._report(x, loss, again)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        x = tf.cast(x, self.compute_dtype)
        return self._report(x, *self.objective(x, x))

    def _report(self, x: tf.Tensor, loss: tf.Tensor, again: tf.Tensor) -> dict[str, tf.Tensor]:
        self.loss_mean.update_state(loss)
        self.reconstruction_error.update_state(tf.square(x - again))
        return {metric.name: metric.result() for metric in self.metrics}


@keras.saving.register_keras_serializable("kapps")
class Autoencoder(ReconstructionLearner):
    """One layer of code: data [B, *data_shape] -> h, float32 [B, H].

    Args:
        data_shape: of one example; V is its number of values.
        config: see `AutoencoderConfig`.

    Attributes:
        W: [V, H].
        c: [H], biases of the code.
        b: [V], biases of the output.
        U: [H, V], the decoder's weights where they are not tied.

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
        UnknownNameError: no corruption has this name.
    """

    CONFIG = AutoencoderConfig

    def __init__(self, data_shape: tuple[int, ...], config: AutoencoderConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config)
        self.noise = corruption(config.corruption, config.corruption_level, seed=config.seed + 1)
        visible, hidden = self.n_features_in_, config.hidden
        self.check_memory(visible * hidden * (1 if config.tied else 2) + visible + hidden)
        self.bounded = config.output == "sigmoid"
        start = keras.initializers.GlorotUniform(seed=config.seed)
        self.W = self.add_weight(name="W", shape=(visible, hidden), initializer=start)
        self.c = self.add_weight(name="c", shape=(hidden,), initializer="zeros")
        self.b = self.add_weight(name="b", shape=(visible,), initializer="zeros")
        if not config.tied:
            other = keras.initializers.GlorotUniform(seed=config.seed + 2)
            self.U = self.add_weight(name="U", shape=(hidden, visible), initializer=other)
        self.built = True

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """h: [B, *data_shape] -> [B, H]."""
        rows = tf.reshape(tf.cast(inputs, self.compute_dtype), [-1, self.n_features_in_])
        function, _ = ACTIVATIONS[self.config.activation]
        return function(tf.nn.bias_add(tf.matmul(rows, tf.convert_to_tensor(self.W)), self.c))

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """y: [B, H] -> [B, *data_shape]."""
        return tf.reshape(as_output(self._scores(codes), self.config.output), [-1, *self.data_shape])

    def objective(self, x: tf.Tensor, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        config = self.config
        h = self.encode(seen)
        scores = self._scores(h)
        rows = tf.reshape(x, [-1, self.n_features_in_])
        loss = tf.reduce_mean(reconstruction_loss(rows, scores, config.output))
        if config.l1:
            loss += config.l1 * tf.reduce_mean(tf.reduce_sum(tf.abs(h), axis=1))
        if config.sparsity_target is not None and config.sparsity_cost:
            loss += config.sparsity_cost * sparsity(h, config.sparsity_target)
        if config.contraction:
            weights = tf.convert_to_tensor(self.W)
            loss += config.contraction * tf.reduce_mean(contraction(h, weights, config.activation))
        return loss, tf.reshape(as_output(scores, config.output), [-1, *self.data_shape])

    @property
    def components_(self) -> np.ndarray:
        """The weights of every hidden unit, float32 [H, *data_shape]."""
        return self.W.numpy().T.reshape(-1, *self.data_shape)

    def _scores(self, codes: tf.Tensor) -> tf.Tensor:
        """The outputs before t: [B, H] -> [B, V]."""
        codes = tf.cast(codes, self.compute_dtype)
        decoder = tf.convert_to_tensor(self.W if self.config.tied else self.U)
        return tf.nn.bias_add(tf.matmul(codes, decoder, transpose_b=self.config.tied), self.b)


# --- the parts of the objective, for tensors of any float type


def as_output(scores: tf.Tensor, output: str) -> tf.Tensor:
    """y from what comes before t; any shape."""
    return tf.sigmoid(scores) if output == "sigmoid" else scores


def reconstruction_loss(x: tf.Tensor, scores: tf.Tensor, output: str) -> tf.Tensor:
    """How badly each example is given back: [B, ...] and [B, ...] -> [B], in nats for sigmoid outputs.

    Args:
        x: data.
        scores: the outputs before t.
        output: t, one of `OUTPUTS`.
    """
    if output == "sigmoid":
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=scores)
    else:
        each = tf.square(x - scores) / 2
    return tf.reduce_sum(tf.reshape(each, [tf.shape(x)[0], -1]), axis=1)


def sparsity(h: tf.Tensor, target: float) -> tf.Tensor:
    """Sum over the units of KL(r || mean activity): codes [B, H] in (0, 1) -> scalar."""
    mean = tf.clip_by_value(tf.reduce_mean(h, axis=0), _LEAST_ACTIVITY, 1 - _LEAST_ACTIVITY)
    on = target * (np.log(target) - tf.math.log(mean))
    off = (1 - target) * (np.log(1 - target) - tf.math.log(1 - mean))
    return tf.reduce_sum(on + off)


def contraction(h: tf.Tensor, weights: tf.Tensor, activation: str) -> tf.Tensor:
    """|J|^2 of h = s(x W + c) by x, for every example: codes [B, H], weights [V, H] -> [B]."""
    _, slope = ACTIVATIONS[activation]
    return tf.linalg.matvec(tf.square(slope(h)), tf.reduce_sum(tf.square(weights), axis=0))


def _check_config(config: AutoencoderConfig) -> None:
    def expect(right: bool, field: str, expected: str) -> None:
        if not right:
            raise RecipeError(f"autoencoder: expected {expected} as {field}, got {getattr(config, field)!r}")

    expect(config.hidden >= 1, "hidden", "at least 1 unit")
    expect(config.activation in ACTIVATIONS, "activation", " or ".join(ACTIVATIONS))
    expect(config.output in OUTPUTS, "output", " or ".join(OUTPUTS))
    for field in ("l1", "sparsity_cost", "contraction"):
        expect(0 <= getattr(config, field) < np.inf, field, "a number from 0")
    expect(0 < config.learning_rate < np.inf, "learning_rate", "a number over 0")
    target = config.sparsity_target
    expect(target is None or 0 < target < 1, "sparsity_target", "an activity between 0 and 1")
    if target is not None and config.activation != "sigmoid":
        raise RecipeError(
            f"autoencoder: expected sigmoid units for a target of their activity, got {config.activation}: take l1"
        )
    if config.corruption == "salt_and_pepper" and config.output != "sigmoid":
        raise RecipeError(
            "autoencoder: expected data in [0, 1], so sigmoid outputs, for salt and pepper, got linear ones: take "
            "gaussian or masking"
        )


LEARNER = Autoencoder

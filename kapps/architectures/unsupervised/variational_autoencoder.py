"""The variational autoencoder: a code that is a distribution, and a decoder from which new examples can be drawn.

Idea: examples come from a few hidden numbers z, drawn from a normal distribution, by a network. What an example's z may
have been is guessed by a second network, and both learn to raise one bound on the log-likelihood.

    stage       what                                                         output   numbers (784-500-20)
    hidden      tanh(x W + c)                                                [500]       392,500
    mean        m, linear                                                    [20]         10,020
    log_var     log s^2, linear                                              [20]         10,020
    z           m + s * e, e drawn from the standard normal distribution     [20]
    hidden      tanh, the mirror image of the encoder's                      [500]        10,500
    output      p(x_i = 1 | z), sigmoid                                      [784]       392,784

    log p(x) >= E [log p(x | z)] - KL(q(z | x) || N(0, 1)),    KL = 1/2 sum_j (m_j^2 + s_j^2 - 1 - log s_j^2)

The expectation over q is taken with one z for each example; as z is a function of m, s and e, the gradient goes through
it (the reparametrisation). The code of an example is m.

Paper: Kingma, Welling: "Auto-encoding variational Bayes", ICLR 2014: eq. 3 (the bound), 10 (its estimate), appendix B
(the divergence) and C (both networks); 500 hidden units and 20 latent ones in figure 2.

Deviations: Adam, where the paper has Adagrad; no weight decay.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.autoencoder import ReconstructionLearner, reconstruction_loss
from kapps.errors import RecipeError


@dataclass(frozen=True)
class VAEConfig:
    """The size of both networks.

    Attributes:
        hidden: units of the encoder's hidden layers, from the data on; the decoder's are the same backwards.
        code: latent units.
        learning_rate: of Adam, where `fit` comes without `compile`.
        seed: of the weights and of all that is drawn.
    """

    hidden: tuple[int, ...] = (500,)
    code: int = 20
    learning_rate: float = 1e-3
    seed: int = 0


VARIANTS = {"vae": VAEConfig()}


@keras.saving.register_keras_serializable("kapps")
class VAE(ReconstructionLearner):
    """Data in [0, 1], [B, *data_shape] -> the mean of q(z | x), float32 [B, code].

    `fit` reports as `loss` minus the bound, in nats.

    Args:
        data_shape: of one example.
        config: see `VAEConfig`.

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
    """

    CONFIG = VAEConfig

    def __init__(self, data_shape: tuple[int, ...], config: VAEConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config)
        self.bounded = True
        self.seeds = keras.random.SeedGenerator(config.seed)
        sizes = (self.n_features_in_, *config.hidden)
        between = sum(below * above for below, above in itertools.pairwise(sizes))
        self.check_memory(2 * between + 3 * sizes[-1] * config.code)
        made = 0

        def dense(below: int, units: int, activation: str | None, name: str) -> keras.layers.Dense:
            nonlocal made
            made += 1
            start = keras.initializers.GlorotUniform(seed=1000 * config.seed + made)
            layer = keras.layers.Dense(units, activation, kernel_initializer=start, dtype=self.dtype_policy, name=name)
            layer.build((None, below))
            return layer

        down = sizes[::-1]
        self.encoder_layers = [
            dense(below, units, "tanh", f"encoder{number}")
            for number, (below, units) in enumerate(zip(sizes, config.hidden, strict=False), start=1)
        ]
        self.mean_layer = dense(sizes[-1], config.code, None, "mean")
        self.log_var_layer = dense(sizes[-1], config.code, None, "log_var")
        self.decoder_layers = [
            dense(below, units, "tanh", f"decoder{number}")
            for number, (below, units) in enumerate(zip((config.code, *down), down[:-1], strict=False), start=1)
        ]
        self.output_layer = dense(sizes[1], self.n_features_in_, None, "output")
        self.built = True

    # ---- both networks, on tensors

    def posterior(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """m and log s^2 of q(z | x): [B, *data_shape] -> twice [B, code]."""
        h = tf.reshape(tf.cast(inputs, self.compute_dtype), [-1, self.n_features_in_])
        for layer in self.encoder_layers:
            h = layer(h)
        return self.mean_layer(h), self.log_var_layer(h)

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """m: [B, *data_shape] -> [B, code]."""
        return self.posterior(inputs)[0]

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """p(x = 1 | z): [B, code] -> [B, *data_shape]."""
        return tf.reshape(tf.sigmoid(self._scores(codes)), [-1, *self.data_shape])

    def bound(self, x: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What log p(x) is at least, by one z each: [B] in nats; and what z is decoded to, [B, *data_shape].

        Args:
            x: [B, *data_shape].
            noise: e, [B, code].
        """
        mean, log_var = self.posterior(x)
        scores = self._scores(mean + tf.exp(log_var / 2) * noise)
        rows = tf.reshape(x, [-1, self.n_features_in_])
        again = tf.reshape(tf.sigmoid(scores), [-1, *self.data_shape])
        return -reconstruction_loss(rows, scores, "sigmoid") - divergence(mean, log_var), again

    def objective(self, x: tf.Tensor, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        bound, again = self.bound(seen, self._noise(tf.shape(x)[0]))
        return -tf.reduce_mean(bound), again

    # ---- what it gives

    @property
    def components_(self) -> np.ndarray:
        """The weights of the encoder's first hidden units, float32 [hidden[0], *data_shape]."""
        return self.encoder_layers[0].kernel.numpy().T.reshape(-1, *self.data_shape)

    def sample(self, count: int) -> np.ndarray:
        """New examples, float32 [count, *data_shape]: their means p(x = 1 | z), z from the normal distribution.

        Raises:
            RecipeError: fewer than 1.
        """
        if count < 1:
            raise RecipeError(f"vae: expected at least 1 sample, got {count}")
        return self.inverse_transform(self._noise(count).numpy())

    def score_samples(self, x: Any, *, samples: int = 1, batch_size: int = 1000) -> np.ndarray:
        """The bound on log p(x) of data, float32 [N] in nats.

        Args:
            samples: codes that are drawn for each example; the result is their mean.

        Raises:
            RecipeError: fewer than 1 sample.
            DataError: as in `transform`.
        """
        if samples < 1:
            raise RecipeError(f"vae: expected at least 1 sample for each example, got {samples}")

        def score(data: tf.Tensor) -> tf.Tensor:
            data = tf.cast(data, self.compute_dtype)
            return self.bound(data, self._noise(tf.shape(data)[0]))[0]

        data, scored = self.check(x, least=1), tf.function(score)
        return np.mean([self._in_batches(scored, data, batch_size) for _ in range(samples)], axis=0)

    def _scores(self, codes: tf.Tensor) -> tf.Tensor:
        """The outputs before the sigmoid: [B, code] -> [B, V]."""
        h = tf.cast(codes, self.compute_dtype)
        for layer in self.decoder_layers:
            h = layer(h)
        return self.output_layer(h)

    def _noise(self, count: tf.Tensor | int) -> tf.Tensor:
        return keras.random.normal((count, self.config.code), dtype=self.compute_dtype, seed=self.seeds)


def divergence(mean: tf.Tensor, log_var: tf.Tensor) -> tf.Tensor:
    """KL(N(m, s^2) || N(0, 1)) in nats: m and log s^2 [B, code] -> [B]."""
    return tf.reduce_sum(tf.square(mean) + tf.exp(log_var) - 1 - log_var, axis=1) / 2


def _check_config(config: VAEConfig) -> None:
    if not config.hidden or min(config.hidden) < 1:
        raise RecipeError(f"vae: expected numbers of units of at least 1 as hidden, got {config.hidden!r}")
    if config.code < 1:
        raise RecipeError(f"vae: expected at least 1 unit as code, got {config.code}")
    if not 0 < config.learning_rate < np.inf:
        raise RecipeError(f"vae: expected a number over 0 as learning_rate, got {config.learning_rate!r}")


LEARNER = VAE

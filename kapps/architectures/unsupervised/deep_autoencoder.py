"""The deep autoencoder: a stack of restricted Boltzmann machines, unrolled and fine-tuned to give back its input.

Idea: principal components are the best linear code; many layers find a curved one. Such a network hardly learned from
random weights; that of a stack of RBMs already encodes and decodes, and backpropagation only has to refine it.

    layer            what                                            output   weights (`deep_autoencoder`)
    encode1          full connection, sigmoid                        [1000]   785,000
    encode2          full connection, sigmoid                        [500]    500,500
    encode3          full connection, sigmoid                        [250]    125,250
    code             full connection, linear (or sigmoid)            [30]       7,530
    decode3          full connection, sigmoid                        [250]      7,750
    decode2          full connection, sigmoid                        [500]    125,500
    decode1          full connection, sigmoid                        [1000]   501,000
    reconstruction   full connection, sigmoid                        [784]    784,784

Pre-training: an RBM for each pair of layers, each on the probabilities of the one below. The hidden units of the top
one are linear with noise of variance 1: E(v, h) = |h - c|^2 / 2 - b.v - v W h, so that h has the mean c + v W.
Unrolling gives W and c to the encoder and the transposed W and b to the decoder; from there on they are learned apart.
The loss is the cross-entropy of pixels and reconstruction, summed over the pixels.

`code_noise` adds normal noise to what the code units take in while the network learns. With sigmoid code units it
teaches them to be nearly 0 or 1, and the code can be rounded to bits: see `kapps.tasks.retrieval.hashing`.

Papers: Hinton, Salakhutdinov: "Reducing the dimensionality of data with neural networks", Science 313, 2006, with its
supporting text. Salakhutdinov, Hinton: "Semantic hashing", International Journal of Approximate Reasoning 50, 2009: the
noise.

Deviations: Adam in place of conjugate gradients on large batches; the noise is drawn anew for every example seen, where
the papers keep it fixed for their line search.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.dbn import DBN, DBNConfig
from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
from kapps.errors import RecipeError


@dataclass(frozen=True)
class DeepAutoencoderConfig:
    """The layers, and how they are pre-trained.

    Attributes:
        hidden: units of the encoder's layers before the code; the decoder has the same in reverse.
        code: numbers in a code.
        code_units: `"linear"` or `"sigmoid"`.
        code_noise: deviation of the noise in the code units' inputs while the network learns.
        pretraining: epochs of each RBM, which `fit` does first where the network has not learned anything yet; 0 =
            backpropagation from random weights (Glorot, Bengio 2010).
        learning_rate: of the RBMs.
        linear_learning_rate: of the one with linear hidden units, whose states have no bounds.
        seed: of the weights and the sampling.
    """

    hidden: tuple[int, ...] = (1000, 500, 250)
    code: int = 30
    code_units: str = "linear"
    code_noise: float = 0.0
    pretraining: int = 10
    learning_rate: float = 0.1
    linear_learning_rate: float = 0.002
    seed: int = 0


VARIANTS = {
    "deep_autoencoder": DeepAutoencoderConfig(),
    "deep_autoencoder_2d": DeepAutoencoderConfig(code=2),
}


@keras.saving.register_keras_serializable("kapps")
class LinearHiddenRBM(RBM):
    """An RBM of Bernoulli visible and linear hidden units: given v, h is normal around c + v W with variance 1.

    F(v) = -b.v - c.a - |a|^2 / 2 - H / 2 log(2 pi) with a = v W.
    """

    def hidden_probabilities(self, v: tf.Tensor) -> tf.Tensor:
        """The mean of p(h | v): [B, V] -> [B, H]."""
        return tf.nn.bias_add(tf.matmul(v, tf.convert_to_tensor(self.W)), self.c)

    def sample_hidden(self, p: tf.Tensor) -> tf.Tensor:
        """Hidden states around these means."""
        return p + tf.random.stateless_normal(tf.shape(p), self.seeds.next())

    def sample_visible(self, m: tf.Tensor) -> tf.Tensor:
        """Visible states, 0 or 1, with these probabilities of 1."""
        return super().sample_hidden(m)

    def free_energy(self, v: tf.Tensor) -> tf.Tensor:
        """F(v): [B, V] -> [B], in nats."""
        a = tf.matmul(v, tf.convert_to_tensor(self.W))
        hidden = tf.reduce_sum(self.c * a + tf.square(a) / 2, axis=1) + self.config.hidden / 2 * math.log(2 * math.pi)
        return -tf.linalg.matvec(v, tf.convert_to_tensor(self.b)) - hidden


class CodeStack(DBN):
    """The DBN that is unrolled: its top RBM has linear hidden units where `linear_rate` is a number."""

    def __init__(self, data_shape: tuple[int, ...], config: DBNConfig, *, linear_rate: float | None):
        self.linear_rate = linear_rate
        super().__init__(data_shape, config)

    def make_rbm(self, number: int) -> RBM:
        machine = super().make_rbm(number)
        if self.linear_rate is None or number < len(self.config.hidden) - 1:
            return machine
        settings = RBMConfig(
            hidden=self.config.hidden[number], learning_rate=self.linear_rate, seed=self.config.seed + number
        )
        return LinearHiddenRBM(machine.data_shape, settings, name=machine.name)


@keras.saving.register_keras_serializable("kapps")
class DeepAutoencoder(FeatureLearner):
    """Data [B, *data_shape] -> codes, float32 [B, code].

    Args:
        data_shape: of one example, whose values lie in [0, 1].
        config: see `DeepAutoencoderConfig`.

    Attributes:
        encoding, decoding: the layers in the order in which data pass them.

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
    """

    CONFIG = DeepAutoencoderConfig

    def __init__(self, data_shape: tuple[int, ...], config: DeepAutoencoderConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config)
        self.bounded = True
        sizes = (self.n_features_in_, *config.hidden, config.code)
        self.check_memory(2 * sum(below * above for below, above in itertools.pairwise(sizes)))
        self.seeds = keras.random.SeedGenerator(config.seed)
        depth = len(config.hidden)
        up = [f"encode{number}" for number in range(1, depth + 1)] + ["code"]
        down = [f"decode{number}" for number in range(depth, 0, -1)] + ["reconstruction"]
        self.encoding = [
            self._full_connection(below, above, name)
            for (below, above), name in zip(itertools.pairwise(sizes), up, strict=True)
        ]
        self.decoding = [
            self._full_connection(above, below, name)
            for (above, below), name in zip(itertools.pairwise(sizes[::-1]), down, strict=True)
        ]
        self._code_activation = keras.activations.get("linear" if config.code_units == "linear" else "sigmoid")
        self.squared_error = keras.metrics.Mean(name="mse")
        self.cross_entropy = keras.metrics.Mean(name="loss")
        self.built = True

    def _full_connection(self, inputs: int, units: int, name: str) -> keras.layers.Dense:
        """Linear at the code, as noise comes before its activation, and at the end, as the loss is computed there."""
        activation = None if name in ("code", "reconstruction") else "sigmoid"
        start = keras.initializers.GlorotUniform(seed=self.seeds)
        layer = keras.layers.Dense(units, activation, kernel_initializer=start, name=name)
        layer.build((None, inputs))
        return layer

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """[B, *data_shape] -> [B, code], without noise."""
        return self._code_activation(self._code_inputs(inputs))

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """[B, code] -> [B, *data_shape]."""
        return tf.reshape(tf.sigmoid(self._pixel_inputs(codes)), [-1, *self.data_shape])

    def _code_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        x = self._rows(inputs)
        for layer in self.encoding:
            x = layer(x)
        return x

    def _pixel_inputs(self, codes: tf.Tensor) -> tf.Tensor:
        for layer in self.decoding:
            codes = layer(codes)
        return codes

    def _rows(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.cast(inputs, tf.float32), [-1, self.n_features_in_])

    # ---- learning

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: int = 1, **kwargs: Any) -> Any:
        """Learn to give back what comes in, as `FeatureLearner.fit` says; labels are left aside.

        A network whose biases are all 0 has not learned anything yet: it is pre-trained first, as its config says.
        Callbacks belong to the epochs after that.
        """
        if not self.compiled:
            self.compile(optimizer=self.default_optimizer(), jit_compile=False)
        fresh = not any(layer.bias.numpy().any() for layer in (*self.encoding, *self.decoding))
        if fresh and self.config.pretraining:
            self.pretrain(
                x, epochs=self.config.pretraining, batch_size=batch_size, verbose=kwargs.get("verbose", "auto")
            )
        return super().fit(x, None, batch_size=batch_size, epochs=epochs, **kwargs)

    def pretrain(
        self, x: Any, *, epochs: int | Sequence[int] = 10, batch_size: int | None = None, **kwargs: Any
    ) -> list[keras.callbacks.History]:
        """Learn a stack of RBMs and unroll it: all weights are replaced by its own.

        Args:
            x: as in `fit`.
            epochs: of each RBM, or one number for each.
            batch_size, kwargs: as in `kapps.architectures.unsupervised.dbn.DBN.pretrain`, as is what is returned.
        """
        config = self.config
        if not isinstance(x, tf.data.Dataset):
            x = self.check(x)
        settings = DBNConfig(hidden=(*config.hidden, config.code), learning_rate=config.learning_rate, seed=config.seed)
        linear_rate = config.linear_learning_rate if config.code_units == "linear" else None
        stack = CodeStack(self.data_shape, settings, linear_rate=linear_rate)
        histories = stack.pretrain(x, epochs=epochs, batch_size=batch_size, **kwargs)
        for up, down, rbm in zip(self.encoding, reversed(self.decoding), stack.rbms, strict=True):
            weights = rbm.W.numpy()
            up.set_weights([weights, rbm.c.numpy()])
            down.set_weights([weights.T, rbm.b.numpy()])
        return histories

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            entropies, squared = self._errors_of(data, self.config.code_noise)
            loss = tf.reduce_mean(entropies)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return self._report(entropies, squared)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        return self._report(*self._errors_of(data, 0.0))

    def _errors_of(self, data: Any, noise: float) -> tuple[tf.Tensor, tf.Tensor]:
        """Cross-entropy, summed over the pixels, and mean squared error of a pixel, of each example: [B] and [B]."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        pixels = self._rows(x)
        inputs = self._code_inputs(x)
        if noise:
            inputs += noise * tf.random.stateless_normal(tf.shape(inputs), self.seeds.next())
        logits = self._pixel_inputs(self._code_activation(inputs))
        entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels=pixels, logits=logits)
        return (
            tf.reduce_sum(entropies, axis=1),
            tf.reduce_mean(tf.square(tf.sigmoid(logits) - pixels), axis=1),
        )

    def _report(self, entropies: tf.Tensor, squared: tf.Tensor) -> dict[str, tf.Tensor]:
        self.cross_entropy.update_state(entropies)
        self.squared_error.update_state(squared)
        return self.get_metrics_result()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.cross_entropy, self.squared_error]

    @property
    def components_(self) -> np.ndarray:
        """The filters of the first layer, summed with the weights that lead from them to each number of the code.

        float32 [code, *data_shape].
        """
        filters = self.encoding[0].kernel.numpy()
        for layer in self.encoding[1:]:
            filters = filters @ layer.kernel.numpy()
        return filters.T.reshape(-1, *self.data_shape)


def _check_config(config: DeepAutoencoderConfig) -> None:
    """Refuse what makes no sense.

    Raises:
        RecipeError: the first value that does.
    """
    rules = (
        ("hidden", bool(config.hidden) and min(config.hidden) >= 1, "at least one layer of at least 1 unit"),
        ("code", config.code >= 1, "at least 1 number"),
        ("code_units", config.code_units in ("linear", "sigmoid"), "'linear' or 'sigmoid'"),
        ("code_noise", 0 <= config.code_noise < math.inf, "0 or a positive number"),
        ("pretraining", config.pretraining >= 0, "0 epochs or more"),
        ("learning_rate", 0 < config.learning_rate < math.inf, "a positive number"),
        ("linear_learning_rate", 0 < config.linear_learning_rate < math.inf, "a positive number"),
    )
    for name, right, expected in rules:
        if not right:
            raise RecipeError(
                f"DeepAutoencoder: expected {expected} as {name}, got {getattr(config, name)!r}: change the config"
            )


LEARNER = DeepAutoencoder

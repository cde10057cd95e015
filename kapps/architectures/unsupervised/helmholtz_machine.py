"""The Helmholtz machine: one network that paints, one that recognises, each the other's teacher in turn.

Idea: the decoder turns a few hidden causes into data, the encoder guesses the causes of data. By day the encoder
explains what is seen, and the decoder learns to paint it from that explanation; by night the decoder dreams, and the
encoder learns to name the causes of the dream, which are known. No gradient goes through more than one layer.

    layer     units                                              (784 pixels, the variant here)
    s0 = x    the data, bits                                     [784]
    s1        hidden                                             [200]
    s2        hidden                                             [100]
    s3        hidden, the top: in the decoder it has biases only [50]

All units are binary and drawn: upwards P(s_l+1 = 1) = sigmoid(s_l R_l + r_l) with the encoder's weights, downwards
P(s_l = 1) = sigmoid(s_l+1 G_l + g_l) with the decoder's, at the top sigmoid(g_top). One step of learning, on a batch:

    wake    1. draw s1, s2, s3 by the encoder from the data
            2. predict each layer from the drawn one above it by the decoder: p_l
            3. change the decoder: G_l by rate s_l+1 (s_l - p_l), g_l by rate (s_l - p_l)
    sleep   1. draw s3, s2, s1, x by the decoder: a fantasy
            2. predict each layer from the drawn one below it by the encoder: q_l
            3. change the encoder: R_l by rate s_l (s_l+1 - q_l+1), r_l by rate (s_l+1 - q_l+1)

Step 3 of the wake phase goes up the bound

    log p(x) >= sum over s of Q(s | x) (log P(x, s) - log Q(s | x))

in the decoder's weights. The sleep phase is not its gradient in the encoder's: it follows the divergence the wrong way
round, which needs samples of P alone. That is the method's known price.

Papers: Hinton, Dayan, Frey, Neal: "The wake-sleep algorithm for unsupervised neural networks", Science 268, 1995: the
two phases, its equations 3 to 5. Dayan, Hinton, Neal, Zemel: "The Helmholtz machine", Neural Computation 7, 1995: the
bound.

Deviations: updates are means over a batch and go through an optimizer, plain SGD unless `compile` says otherwise. Both
phases of a step start from the same weights. Layer sizes are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.errors import DataError, RecipeError

# More hidden units than this have too many settings to be counted one by one.
MOST_COUNTED = 16


@dataclass(frozen=True)
class HelmholtzMachineConfig:
    """What a Helmholtz machine may differ in.

    Attributes:
        hidden: units of the hidden layers, from below.
        learning_rate: of the default optimizer, SGD.
        seed: of the first weights and of the sampling.
    """

    hidden: tuple[int, ...] = (200, 100, 50)
    learning_rate: float = 0.1
    seed: int = 0


VARIANTS = {"helmholtz_machine": HelmholtzMachineConfig()}


@keras.saving.register_keras_serializable("kapps")
class HelmholtzMachine(FeatureLearner):
    """A Helmholtz machine, taught by wake-sleep. Codes are the top layer's probabilities, float32 [B, hidden[-1]].

    Data are bits. Numbers between 0 and 1 are taken as the probabilities of bits, which are drawn anew in every step.

    Args:
        data_shape: of one example, any.
        config: see `HelmholtzMachineConfig`.

    Attributes:
        sizes: units of all layers, from the data to the top.
        encoders: (R_l, r_l) for each layer but the top: [sizes[l], sizes[l + 1]] and [sizes[l + 1]].
        decoders: (G_l, g_l) for each layer but the top: [sizes[l + 1], sizes[l]] and [sizes[l]].
        top: g_top, [sizes[-1]].

    Raises:
        RecipeError: no hidden layer, one without units, or a learning rate that is not above 0.
    """

    CONFIG = HelmholtzMachineConfig

    def __init__(self, data_shape: tuple[int, ...], config: HelmholtzMachineConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        hidden = self.config.hidden
        if not hidden or min(hidden) < 1:
            raise RecipeError(f"HelmholtzMachine: expected hidden layers of at least 1 unit, got {hidden}")
        if not self.config.learning_rate > 0:
            raise RecipeError(f"HelmholtzMachine: expected a learning_rate above 0, got {self.config.learning_rate}")
        self.bounded = True
        self.sizes = (self.n_features_in_, *hidden)
        pairs = list(itertools.pairwise(self.sizes))
        self.check_memory(2 * sum(below * above for below, above in pairs))
        self.seeds = keras.random.SeedGenerator(self.config.seed)
        encoders, decoders = [], []
        for level, (below, above) in enumerate(pairs):
            encoders.append(self._dense(f"encoder{level + 1}", below, above, level))
            decoders.append(self._dense(f"decoder{level + 1}", above, below, len(pairs) + level))
        self.encoders, self.decoders = encoders, decoders
        self.top = self.add_weight(shape=(hidden[-1],), initializer="zeros", name="top")
        self.surprise = keras.metrics.Mean(name="surprise")
        self.built = True

    def _dense(self, name: str, inputs: int, outputs: int, number: int) -> tuple[Any, Any]:
        start = keras.initializers.RandomNormal(stddev=0.01, seed=self.config.seed + number)
        weights = self.add_weight(shape=(inputs, outputs), initializer=start, name=f"{name}_weights")
        return weights, self.add_weight(shape=(outputs,), initializer="zeros", name=f"{name}_biases")

    # ---- the two networks, layer by layer

    def up(self, level: int, below: tf.Tensor) -> tf.Tensor:
        """The encoder's scores of layer `level + 1` from layer `level`: [B, sizes[level]] -> [B, sizes[level + 1]]."""
        weights, biases = self.encoders[level]
        return tf.matmul(below, weights) + biases

    def down(self, level: int, above: tf.Tensor) -> tf.Tensor:
        """The decoder's scores of layer `level` from layer `level + 1`: [B, sizes[level + 1]] -> [B, sizes[level]]."""
        weights, biases = self.decoders[level]
        return tf.matmul(above, weights) + biases

    def recognise(self, x: tf.Tensor) -> list[tf.Tensor]:
        """All layers, drawn upwards from bits [B, sizes[0]]: [x, s1, ..., top], each [B, sizes[l]]."""
        states = [x]
        for level in range(len(self.encoders)):
            states.append(self._draw(tf.sigmoid(self.up(level, states[-1]))))
        return states

    def dream(self, count: int | tf.Tensor) -> list[tf.Tensor]:
        """All layers of fantasies, drawn downwards: [x, s1, ..., top], each [count, sizes[l]]."""
        states = [self._draw(tf.tile(tf.sigmoid(self.top)[None], (count, 1)))]
        for level in reversed(range(len(self.decoders))):
            states.insert(0, self._draw(tf.sigmoid(self.down(level, states[0]))))
        return states

    def _draw(self, probabilities: tf.Tensor) -> tf.Tensor:
        return tf.cast(keras.random.uniform(tf.shape(probabilities), seed=self.seeds) < probabilities, tf.float32)

    # ---- wake and sleep

    def train_step(self, data: Any) -> dict[str, Any]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        seen = self.recognise(self._draw(self._flat(x)))
        dreamt = self.dream(tf.shape(x)[0])
        self.surprise.update_state(self._log_encoder(seen) - self._log_joint(seen))
        changes = {weight.path: change for change, weight in (*self.wake(seen), *self.sleep(dreamt))}
        # An optimizer goes against what it is given.
        self.optimizer.apply_gradients([(-changes[weight.path], weight) for weight in self.trainable_variables])
        return self.get_metrics_result()

    def wake(self, states: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, Any]]:
        """The wake phase's changes of the decoder, by the delta rule, as (change, weight), means over the batch.

        Args:
            states: all layers, as `recognise` drew them from data.
        """
        changes = []
        for level, (weights, biases) in enumerate(self.decoders):
            wrong = states[level] - tf.sigmoid(self.down(level, states[level + 1]))
            changes += [(_mean_product(states[level + 1], wrong), weights), (tf.reduce_mean(wrong, axis=0), biases)]
        return [*changes, (tf.reduce_mean(states[-1], axis=0) - tf.sigmoid(self.top), self.top)]

    def sleep(self, states: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, Any]]:
        """The sleep phase's changes of the encoder, by the delta rule, as (change, weight), means over the batch.

        Args:
            states: all layers, as `dream` drew them.
        """
        changes = []
        for level, (weights, biases) in enumerate(self.encoders):
            wrong = states[level + 1] - tf.sigmoid(self.up(level, states[level]))
            changes += [(_mean_product(states[level], wrong), weights), (tf.reduce_mean(wrong, axis=0), biases)]
        return changes

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD(self.config.learning_rate)

    # ---- how likely data are

    def _log_joint(self, states: Sequence[tf.Tensor]) -> tf.Tensor:
        """log P(x, s1, ..., top) by the decoder: [B]."""
        total = _log_bernoulli(states[-1], self.top)
        for level in range(len(self.decoders)):
            total += _log_bernoulli(states[level], self.down(level, states[level + 1]))
        return total

    def _log_encoder(self, states: Sequence[tf.Tensor]) -> tf.Tensor:
        """log Q(s1, ..., top | x) by the encoder: [B]."""
        scores = [self.up(level, states[level]) for level in range(len(self.encoders))]
        return tf.add_n([_log_bernoulli(above, score) for above, score in zip(states[1:], scores, strict=True)])

    def score_samples(self, x: Any, *, samples: int = 10, batch_size: int = 500) -> np.ndarray:
        """The bound on log p(x), in nats, as the mean over so many drawn explanations: numpy [N].

        Its expectation is under log p(x), by the divergence between what the encoder and what the decoder hold for the
        causes of x.

        Args:
            x: bits [N, *data_shape].
            samples: explanations drawn for every example.

        Raises:
            DataError: as `fit`, or numbers other than 0 and 1.
            RecipeError: no samples.
        """
        if samples < 1:
            raise RecipeError(f"HelmholtzMachine: expected at least 1 sample of an explanation, got {samples}")

        def bound(bits: tf.Tensor) -> tf.Tensor:
            states = self.recognise(bits)
            return self._log_joint(states) - self._log_encoder(states)

        bits, once = self._bits(x), tf.function(bound)
        return np.mean([self._in_batches(once, bits, batch_size) for _ in range(samples)], axis=0)

    def exact_bound(self, x: Any) -> np.ndarray:
        """What `score_samples` estimates, by counting all settings of the hidden units: numpy [N], in nats.

        Raises:
            RecipeError: more hidden units than `MOST_COUNTED`.
        """
        joint, encoder = self._of_all_settings(x)
        return (np.exp(encoder) * (joint - encoder)).sum(axis=1)

    def exact_log_likelihood(self, x: Any) -> np.ndarray:
        """log p(x) by counting all settings of the hidden units: numpy [N], in nats.

        Raises:
            RecipeError: more hidden units than `MOST_COUNTED`.
        """
        joint, _ = self._of_all_settings(x)
        return np.logaddexp.reduce(joint, axis=1)

    def _of_all_settings(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """log P(x, s) and log Q(s | x) for every setting s of the hidden units: float64 [N, 2 ** units] each."""
        units = sum(self.config.hidden)
        if units > MOST_COUNTED:
            raise RecipeError(
                f"HelmholtzMachine: expected at most {MOST_COUNTED} hidden units to count their settings, got {units}: "
                f"use score_samples"
            )
        settings = np.array(list(itertools.product([0, 1], repeat=units)), "float32")
        hidden = tf.split(tf.constant(settings), self.config.hidden, axis=1)
        joint, encoder = [], []
        for bits in self._bits(x):
            states = [tf.tile(bits[None], (len(settings), 1)), *hidden]
            joint.append(self._log_joint(states).numpy())
            encoder.append(self._log_encoder(states).numpy())
        return np.array(joint, "float64"), np.array(encoder, "float64")

    def _bits(self, x: Any) -> np.ndarray:
        """Checked bits float32 [N, sizes[0]]."""
        data = self.check(x, least=1)
        between = int(((data != 0) & (data != 1)).sum())
        if between:
            raise DataError(
                f"HelmholtzMachine: expected bits, got {between:,} numbers between 0 and 1: draw bits first, or take "
                f"x > 0.5"
            )
        return data.reshape(len(data), -1)

    # ---- codes and fantasies

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.cast(x, tf.float32), (-1, self.sizes[0]))

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        x = self._flat(inputs)
        for level in range(len(self.encoders)):
            x = tf.sigmoid(self.up(level, x))
        return x

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        x = codes
        for level in reversed(range(len(self.decoders))):
            x = tf.sigmoid(self.down(level, x))
        return tf.reshape(x, (-1, *self.data_shape))

    def generate(self, count: int) -> np.ndarray:
        """Fantasies: the probabilities of the bits given drawn hidden layers, float32 [count, *data_shape]."""
        states = self.dream(count)
        return tf.reshape(tf.sigmoid(self.down(0, states[1])), (-1, *self.data_shape)).numpy()

    @property
    def components_(self) -> np.ndarray:
        """What each unit of the first hidden layer paints, as scores: float32 [hidden[0], *data_shape]."""
        return self.decoders[0][0].numpy().reshape(-1, *self.data_shape)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.surprise]


def _mean_product(inputs: tf.Tensor, wrong: tf.Tensor) -> tf.Tensor:
    """The delta rule's change of weights: the mean over the batch of inputs x errors, [inputs, outputs]."""
    return tf.matmul(inputs, wrong, transpose_a=True) / tf.cast(tf.shape(inputs)[0], tf.float32)


def _log_bernoulli(bits: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The log probability of bits [B, n] whose probabilities are sigmoid(scores): [B]."""
    scores = tf.broadcast_to(tf.convert_to_tensor(scores), tf.shape(bits))
    return -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=bits, logits=scores), axis=1)


LEARNER = HelmholtzMachine

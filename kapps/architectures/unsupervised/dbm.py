"""The deep Boltzmann machine: two hidden layers without directions, each unit listening to both of its neighbours.

Idea: unlike in a deep belief net, what an upper layer believes corrects the layer below while a picture is looked at.

    E(v, h1, h2) = - b.v - c1.h1 - c2.h2 - v W1 h1 - h1 W2 h2

    unit      on with probability                    numbers (784-500-1000)
    v         sigmoid(b + W1 h1)                     784
    h1        sigmoid(c1 + v W1 + W2 h2)             500, and W1 392,000
    h2        sigmoid(c2 + h1 W2)                    1,000, and W2 500,000; `fantasies` [chains, 500], not trained

Given v the hidden units depend on each other, and the posterior cannot be summed up. Mean field takes independent units
with probabilities m1 and m2, and repeats until they agree:

    m1 = sigmoid(c1 + v W1 + W2 m2),   m2 = sigmoid(c2 + m1 W2)

which gives a bound: log p(v) >= -E(v, m1, m2) + entropy of m1 and m2 - log Z. Learning goes up its gradient: the
products of the data's v, m1, m2 less those of persistent Markov chains of the model.

Pre-training by two RBMs makes up for the input that each lacks: the lower one's hidden units see 2 v W1, as they will
have a second neighbour, and the upper one's visible units see 2 W2 h2. Halved again, the two fit together: h1 gets the
mean of what both give it, and so the mean of both biases.

The code of an example is m1 and m2 side by side, float32 [B, H1 + H2]; the example of a code is the mean of p(v | m1).

Paper: Salakhutdinov, Hinton: "Deep Boltzmann machines", AISTATS 2009: sections 2.1 (learning, eq. 4 to 6) and 2.2
(pre-training); the sizes are those of section 4.1.

Deviations: the chains' products take probabilities of h1 given v and h2, not states: the same mean with less noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
from kapps.errors import RecipeError

# Probabilities nearer to 0 and 1 than this have no entropy worth counting, and no finite logarithm.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class DBMConfig:
    """The two layers, and how they learn.

    Attributes:
        hidden: units of h1 and h2.
        mean_field: repetitions of the mean-field equations.
        chains: of the model's Markov chains.
        steps: of Gibbs sampling that the chains take an update.
        learning_rate: of the joint learning.
        pretraining: epochs of each RBM, which `fit` does first where the machine has not learned anything yet; or 0.
        pretraining_rate: the learning rate of the RBMs.
        weight_decay: L2, on W1 and W2.
        seed: of the weights and the sampling.
    """

    hidden: tuple[int, int] = (500, 1000)
    mean_field: int = 10
    chains: int = 100
    steps: int = 5
    learning_rate: float = 0.005
    pretraining: int = 10
    pretraining_rate: float = 0.05
    weight_decay: float = 2e-4
    seed: int = 0


VARIANTS = {"dbm": DBMConfig()}


class LowerRBM(RBM):
    """What becomes v and h1: on the way up everything is seen twice."""

    def hidden_probabilities(self, v: tf.Tensor) -> tf.Tensor:
        """p(h = 1 | v, v): [B, V] -> [B, H]."""
        return tf.sigmoid(tf.nn.bias_add(2 * tf.matmul(v, tf.convert_to_tensor(self.W)), self.c))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.reconstruction_error]  # with two copies of v, RBM's free energy is another machine's

    def _measure(self, v: tf.Tensor) -> None:
        again = self.visible_mean(self.hidden_probabilities(v))
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(v - again)))


class UpperRBM(LowerRBM):
    """What becomes h1 and h2: on the way down everything is seen twice."""

    def hidden_probabilities(self, v: tf.Tensor) -> tf.Tensor:
        """p(h = 1 | v): [B, V] -> [B, H]."""
        return tf.sigmoid(tf.nn.bias_add(tf.matmul(v, tf.convert_to_tensor(self.W)), self.c))

    def visible_mean(self, h: tf.Tensor) -> tf.Tensor:
        """p(v = 1 | h, h): [B, H] -> [B, V]."""
        return tf.sigmoid(tf.nn.bias_add(2 * tf.matmul(h, tf.convert_to_tensor(self.W), transpose_b=True), self.b))


@keras.saving.register_keras_serializable("kapps")
class DBM(FeatureLearner):
    """A deep Boltzmann machine: data in [0, 1], [B, *data_shape] -> m1 and m2, [B, H1 + H2].

    Methods on tensors take visible states as rows, float32 [B, V].

    Args:
        data_shape: of one example; V is its number of values.
        config: see `DBMConfig`.

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
    """

    CONFIG = DBMConfig

    def __init__(self, data_shape: tuple[int, ...], config: DBMConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config)
        visible, (first, second) = self.n_features_in_, config.hidden
        self.check_memory(visible * first + first * second)
        self.bounded = True
        self.seeds = keras.random.SeedGenerator(config.seed)
        self.W1, self.W2 = (
            self.add_weight(
                name=name, shape=shape, initializer=keras.initializers.RandomNormal(0.0, 0.01, seed=self.seeds)
            )
            for name, shape in (("W1", (visible, first)), ("W2", (first, second)))
        )
        self.b, self.c1, self.c2 = (
            self.add_weight(name=name, shape=(units,), initializer="zeros")
            for name, units in (("b", visible), ("c1", first), ("c2", second))
        )
        self.fantasies = self.add_weight(
            name="fantasies", shape=(config.chains, first), initializer="zeros", trainable=False
        )
        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")
        self.built = True

    # ---- each layer given its neighbours, on tensors

    def visible_mean(self, h1: tf.Tensor) -> tf.Tensor:
        """p(v = 1 | h1): [B, H1] -> [B, V]."""
        return tf.sigmoid(tf.matmul(h1, tf.convert_to_tensor(self.W1), transpose_b=True) + self.b)

    def first_probabilities(self, v: tf.Tensor, h2: tf.Tensor) -> tf.Tensor:
        """p(h1 = 1 | v, h2): [B, V] and [B, H2] -> [B, H1]."""
        above = tf.matmul(h2, tf.convert_to_tensor(self.W2), transpose_b=True)
        return tf.sigmoid(tf.matmul(v, tf.convert_to_tensor(self.W1)) + above + self.c1)

    def second_probabilities(self, h1: tf.Tensor) -> tf.Tensor:
        """p(h2 = 1 | h1): [B, H1] -> [B, H2]."""
        return tf.sigmoid(tf.matmul(h1, tf.convert_to_tensor(self.W2)) + self.c2)

    def mean_field(self, v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """m1 [B, H1] and m2 [B, H2] of visible states [B, V], from a way up with everything from below seen twice."""
        below = tf.matmul(v, tf.convert_to_tensor(self.W1)) + self.c1  # the same in all repetitions
        m1 = tf.sigmoid(2 * below - self.c1)
        m2 = self.second_probabilities(m1)
        for _ in range(self.config.mean_field):
            m1 = tf.sigmoid(below + tf.matmul(m2, tf.convert_to_tensor(self.W2), transpose_b=True))
            m2 = self.second_probabilities(m1)
        return m1, m2

    def bound(self, v: tf.Tensor) -> tf.Tensor:
        """log p(v) + log Z is at least this: [B, V] -> [B], in nats."""
        m1, m2 = self.mean_field(v)
        energy = -tf.linalg.matvec(v, tf.convert_to_tensor(self.b)) - tf.linalg.matvec(
            m1, tf.convert_to_tensor(self.c1)
        )
        energy -= tf.linalg.matvec(m2, tf.convert_to_tensor(self.c2))
        energy -= tf.reduce_sum(tf.matmul(v, tf.convert_to_tensor(self.W1)) * m1, axis=1)
        energy -= tf.reduce_sum(tf.matmul(m1, tf.convert_to_tensor(self.W2)) * m2, axis=1)
        return _entropy(m1) + _entropy(m2) - energy

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """m1 and m2 side by side: [B, *data_shape] -> [B, H1 + H2]."""
        return tf.concat(self.mean_field(self._rows(inputs)), axis=1)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """The mean of v given h1, which is all that v depends on: [B, H1 + H2] -> [B, *data_shape]."""
        return tf.reshape(self.visible_mean(codes[:, : self.config.hidden[0]]), [-1, *self.data_shape])

    def _rows(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.cast(inputs, tf.float32), [-1, self.n_features_in_])

    def _sample(self, p: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.random.stateless_uniform(tf.shape(p), self.seeds.next()) < p, tf.float32)

    # ---- learning

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: int = 1, **kwargs: Any) -> Any:
        """Learn all weights together, as `FeatureLearner.fit` says; labels are left aside.

        A machine whose biases are all 0 has not learned anything yet: it is pre-trained first, as its config says.
        Callbacks belong to the epochs after that.
        """
        if not self.compiled:
            self.compile(optimizer=self.default_optimizer(), jit_compile=False)
        fresh = not any(biases.numpy().any() for biases in (self.b, self.c1, self.c2))
        if fresh and self.config.pretraining:
            self.pretrain(
                x, epochs=self.config.pretraining, batch_size=batch_size, verbose=kwargs.get("verbose", "auto")
            )
        return super().fit(x, None, batch_size=batch_size, epochs=epochs, **kwargs)

    def pretrain(
        self, x: Any, *, epochs: int = 10, batch_size: int | None = None, **kwargs: Any
    ) -> list[keras.callbacks.History]:
        """Learn the two layers one after the other, and put them together; all weights are replaced.

        Args:
            x, batch_size, kwargs: as in `fit`.
            epochs: of each of the two RBMs.

        Returns:
            What their `fit` returned.
        """
        config = self.config
        lower, upper = (
            kind(
                shape,
                RBMConfig(hidden=units, learning_rate=config.pretraining_rate, seed=config.seed + number),
            )
            for number, (kind, shape, units) in enumerate(
                zip((LowerRBM, UpperRBM), (self.data_shape, config.hidden[:1]), config.hidden, strict=True)
            )
        )
        if not isinstance(x, tf.data.Dataset):
            x = self.check(x)
        histories = [lower.fit(x, batch_size=batch_size, epochs=epochs, **kwargs)]
        if isinstance(x, tf.data.Dataset):
            codes: Any = x.map(lambda *batch: lower.encode(batch[0])).prefetch(1)
        else:
            codes = lower.transform(x)
        histories.append(upper.fit(codes, batch_size=batch_size, epochs=epochs, **kwargs))
        self.W1.assign(lower.W)
        self.W2.assign(upper.W)
        self.b.assign(lower.b)
        self.c1.assign((lower.c + upper.b) / 2)
        self.c2.assign(upper.c)
        return histories

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD(self.config.learning_rate)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        v = self._rows(x)
        m1, m2 = self.mean_field(v)
        v_model, p1, h2 = self._go_on()
        decay = self.config.weight_decay
        gradients = (
            _products(v_model, p1) - _products(v, m1) + decay * tf.convert_to_tensor(self.W1),
            _products(p1, h2) - _products(m1, m2) + decay * tf.convert_to_tensor(self.W2),
            tf.reduce_mean(v_model, axis=0) - tf.reduce_mean(v, axis=0),
            tf.reduce_mean(p1, axis=0) - tf.reduce_mean(m1, axis=0),
            tf.reduce_mean(h2, axis=0) - tf.reduce_mean(m2, axis=0),
        )
        self.optimizer.apply(gradients, [self.W1, self.W2, self.b, self.c1, self.c2])
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(v - self.visible_mean(m1))))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        v = self._rows(x)
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(v - self.visible_mean(self.mean_field(v)[0]))))
        return self.get_metrics_result()

    def _go_on(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The chains some steps later: v [chains, V], p(h1 | v, h2) [chains, H1] and h2 [chains, H2].

        Given h1, v and h2 are independent of each other, so h1 is all that has to be kept.
        """
        h1 = tf.convert_to_tensor(self.fantasies)
        for _ in range(self.config.steps):
            v, h2 = self._sample(self.visible_mean(h1)), self._sample(self.second_probabilities(h1))
            p1 = self.first_probabilities(v, h2)
            h1 = self._sample(p1)
        self.fantasies.assign(h1)
        return v, p1, h2

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.reconstruction_error]

    # ---- what a trained machine tells

    @property
    def components_(self) -> np.ndarray:
        """The filters of h1, then for each unit of h2 their sum with the weights that lead to it.

        float32 [H1 + H2, *data_shape].
        """
        filters = self.W1.numpy()
        return np.concatenate([filters, filters @ self.W2.numpy()], axis=1).T.reshape(-1, *self.data_shape)

    def sample(self, count: int, *, steps: int = 1000) -> np.ndarray:
        """New examples, float32 [count, *data_shape]: the means in which chains end that start at random.

        Raises:
            RecipeError: fewer than 1 example or step.
        """
        if count < 1 or steps < 1:
            raise RecipeError(f"DBM: expected at least 1 sample and 1 step, got {count} samples and {steps} steps")
        start = self._sample(tf.fill([count, self.config.hidden[0]], 0.5))
        return tf.reshape(self.visible_mean(self._chain(start, tf.constant(steps))), [-1, *self.data_shape]).numpy()

    @tf.function(reduce_retracing=True)
    def _chain(self, h1: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(steps):
            v, h2 = self._sample(self.visible_mean(h1)), self._sample(self.second_probabilities(h1))
            h1 = self._sample(self.first_probabilities(v, h2))
        return h1


def _products(below: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
    """The mean over a batch of all products: [B, D] and [B, E] -> [D, E]."""
    return tf.matmul(below, above, transpose_a=True) / tf.cast(tf.shape(below)[0], tf.float32)


def _entropy(p: tf.Tensor) -> tf.Tensor:
    """Of independent units with these probabilities, in nats: [B, H] -> [B]."""
    p = tf.clip_by_value(p, _SMALLEST, 1 - _SMALLEST)
    return -tf.reduce_sum(p * tf.math.log(p) + (1 - p) * tf.math.log1p(-p), axis=1)


def _check_config(config: DBMConfig) -> None:
    """Refuse what makes no sense.

    Raises:
        RecipeError: the first value that does.
    """
    rules = (
        ("hidden", len(config.hidden) == 2 and min(config.hidden) >= 1, "two numbers of units of at least 1"),
        ("mean_field", config.mean_field >= 1, "at least 1 repetition"),
        ("chains", config.chains >= 1, "at least 1 chain"),
        ("steps", config.steps >= 1, "at least 1 step of Gibbs sampling"),
        ("learning_rate", 0 < config.learning_rate < math.inf, "a positive number"),
        ("pretraining", config.pretraining >= 0, "0 epochs or more"),
        ("pretraining_rate", 0 < config.pretraining_rate < math.inf, "a positive number"),
        ("weight_decay", 0 <= config.weight_decay < math.inf, "0 or a positive number"),
    )
    for name, right, expected in rules:
        if not right:
            raise RecipeError(f"DBM: expected {expected} as {name}, got {getattr(config, name)!r}: change the config")


LEARNER = DBM

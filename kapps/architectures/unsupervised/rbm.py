"""Restricted Boltzmann machines: what is seen and what explains it, each independent given the other.

Idea: visible units v and hidden units h, joined by weights W, without any within a side. The energy of a state gives
its probability, and learning lowers the energy of the data against that of what the machine itself dreams up.

    visible units   energy E(v, h)                     p(h_j = 1 | v)             p(v_i | h)
    "bernoulli"     -b.v - c.h - v W h                 sigmoid(c_j + (v W)_j)     1 with sigmoid(b_i + (W h)_i)
    "gaussian"      |v - b|^2 / 2 - c.h - v W h        sigmoid(c_j + (v W)_j)     normal, mean b_i + (W h)_i, variance 1

    free energy     F(v) = -log sum_h exp(-E(v, h)) = -b.v - sum_j softplus(c_j + (v W)_j)      ("bernoulli")
                                              = |v - b|^2 / 2 - sum_j softplus(c_j + (v W)_j)   ("gaussian")
    likelihood      p(v) = exp(-F(v)) / Z; Z is what `kapps.architectures.unsupervised.ais` estimates
    its gradient    d log p(v) / dW = <v h> of the data - <v h> of the model, likewise for b and c

The model's part needs samples of the model. Contrastive divergence (CD-k) takes k steps of Gibbs sampling that start at
the data; persistent contrastive divergence (PCD) goes on with the same chains from one update to the next.

    name      shape   numbers for 784-500
    W         [V, H]              392,000
    b         [V]                     784   of the visible units
    c         [H]                     500   of the hidden units
    together                      393,284   and for PCD `fantasies` [chains, H], which are not trained

The code of an example is p(h | v), float32 [B, H]; the example of a code is the mean of p(v | h). Gaussian units see
the data standardised column by column; its means and deviations are those of the data that `fit` is given first.

Papers: Smolensky: "Information processing in dynamical systems: foundations of harmony theory", in "Parallel
distributed processing", 1986. Hinton: "Training products of experts by minimizing contrastive divergence", Neural
Computation 14, 2002: CD, eq. 5. Tieleman: "Training restricted Boltzmann machines using approximations to the
likelihood gradient", ICML 2008: PCD. Hinton: "A practical guide to training restricted Boltzmann machines", UTML TR
2010-003: the initial weights (section 8), momentum (9), weight decay (10), sparsity (11), Gaussian units (13.2).

Deviations: none of the equations. The last hidden states of a chain enter the gradient as probabilities (section 3.3 of
the guide), everything else in a chain is sampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner, aligned_float32, is_aligned
from kapps.errors import DataError, RecipeError
from kapps.streams import untuned

# Probabilities of visible units that are never (always) on in the data: their bias would be infinite.
_LEAST_PROBABILITY = 1e-3

# Of a stream, so many examples are read to set the visible biases.
_FIRST_EXAMPLES = 10_000

# Arrays are trained on in blocks of so many bytes, each one call of the compiled step.
_BLOCK_BYTES = 2**24

# How much of the hidden units' mean activity, as sparsity sees it, is remembered from one batch to the next.
_MEMORY_OF_ACTIVITY = 0.9


@dataclass(frozen=True)
class RBMConfig:
    """A machine and how it learns.

    Attributes:
        hidden: hidden units, H.
        visible_units: `"bernoulli"` for data in [0, 1], `"gaussian"` for any other.
        steps: k of CD-k, or the steps that PCD's chains take an update.
        persistent: PCD instead of CD.
        chains: of PCD.
        learning_rate: of the mean gradient of a batch. Gaussian units need about a tenth of Bernoulli units', and
            thousands of hidden units less than hundreds do: if all are off after a few epochs, it was too much.
        momentum: in the first `momentum_epochs` epochs of a `fit`.
        final_momentum: in those after them.
        momentum_epochs: see there.
        weight_decay: L2, on W only.
        sparsity_target: the probability with which a hidden unit should be on; None = whatever it likes.
        sparsity_cost: how much a unit's distance from it counts.
        binarise: draw binary examples anew from the data, taken as probabilities, whenever they are seen.
        seed: of the weights, the sampling and the order of the examples.
    """

    hidden: int = 500
    visible_units: str = "bernoulli"
    steps: int = 1
    persistent: bool = False
    chains: int = 100
    learning_rate: float = 0.05
    momentum: float = 0.5
    final_momentum: float = 0.9
    weight_decay: float = 2e-4
    sparsity_target: float | None = None
    sparsity_cost: float = 0.0
    seed: int = 0
    momentum_epochs: int = 5
    binarise: bool = False


VARIANTS = {
    "rbm": RBMConfig(),
    "gaussian_rbm": RBMConfig(visible_units="gaussian", learning_rate=0.005),
}


@keras.saving.register_keras_serializable("kapps")
class FusedMomentum(keras.optimizers.SGD):
    """Keras' SGD whose update of a weight is one operation, so that its memory is gone through once instead of five
    times; with small batches that is a good part of a step.

    Args:
        momentum: 0 saves the memory for it. What counts is `current_momentum`, which starts there and may be assigned.
        kwargs: as `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.9, **kwargs: Any):
        super().__init__(learning_rate=learning_rate, momentum=momentum, **kwargs)
        self.current_momentum = self.add_variable(
            (), initializer=keras.initializers.Constant(momentum), dtype="float32", name="current_momentum"
        )

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        rate = tf.convert_to_tensor(learning_rate, tf.float32)
        if self.momentum == 0:
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=rate,
            grad=gradient,
            momentum=tf.convert_to_tensor(self.current_momentum),
            use_nesterov=self.nesterov,
        )


@keras.saving.register_keras_serializable("kapps")
class RBM(FeatureLearner):
    """A restricted Boltzmann machine: data [B, *data_shape] -> p(h | v), float32 [B, H].

    Its methods on tensors (`hidden_probabilities` to `free_energy`) take visible states as rows, float32 [B, V], those
    of Gaussian units standardised; what takes arrays takes data as it is.

    Args:
        data_shape: of one example; V is its number of values.
        config: see `RBMConfig`.

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
    """

    CONFIG = RBMConfig

    def __init__(self, data_shape: tuple[int, ...], config: RBMConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        _check_config(self.config)
        visible, hidden = self.n_features_in_, self.config.hidden
        self.check_memory(visible * hidden + visible + hidden)
        self.gaussian = self.config.visible_units == "gaussian"
        self.bounded = not self.gaussian
        self.seeds = keras.random.SeedGenerator(self.config.seed)
        small = keras.initializers.RandomNormal(0.0, 0.01, seed=self.config.seed)
        self.W = self.add_weight(name="W", shape=(visible, hidden), initializer=small)
        self.b = self.add_weight(name="b", shape=(visible,), initializer="zeros")
        self.c = self.add_weight(name="c", shape=(hidden,), initializer="zeros")
        if self.gaussian:
            self.mean = self.add_weight(name="mean", shape=(visible,), initializer="zeros", trainable=False)
            self.deviation = self.add_weight(name="deviation", shape=(visible,), initializer="ones", trainable=False)
        if self.config.persistent:
            self.fantasies = self.add_weight(
                name="fantasies", shape=(self.config.chains, hidden), initializer="zeros", trainable=False
            )
        if self.sparse:
            target = keras.initializers.Constant(self.config.sparsity_target)
            self.activity = self.add_weight(name="activity", shape=(hidden,), initializer=target, trainable=False)
        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")
        if not self.gaussian:
            self.pseudo_likelihood = keras.metrics.Mean(name="pseudo_likelihood")
        self.built = True

    @property
    def sparse(self) -> bool:
        """Whether the hidden units are kept near a target."""
        return self.config.sparsity_target is not None and self.config.sparsity_cost > 0

    # ---- the two sides, on tensors

    def hidden_probabilities(self, v: tf.Tensor) -> tf.Tensor:
        """p(h = 1 | v): [B, V] -> [B, H]."""
        return tf.sigmoid(self._hidden_inputs(v))

    def visible_mean(self, h: tf.Tensor) -> tf.Tensor:
        """The mean of p(v | h): [B, H] -> [B, V]; of Bernoulli units their probabilities."""
        inputs = tf.nn.bias_add(tf.matmul(h, tf.convert_to_tensor(self.W), transpose_b=True), self.b)
        return inputs if self.gaussian else tf.sigmoid(inputs)

    def sample_hidden(self, p: tf.Tensor) -> tf.Tensor:
        """States 0 or 1 with these probabilities of 1; any shape."""
        return tf.cast(tf.random.stateless_uniform(tf.shape(p), self.seeds.next()) < p, tf.float32)

    def sample_visible(self, m: tf.Tensor) -> tf.Tensor:
        """Visible states with these means, [B, V]."""
        if self.gaussian:
            return m + tf.random.stateless_normal(tf.shape(m), self.seeds.next())
        return self.sample_hidden(m)

    def gibbs_step(self, v: tf.Tensor) -> tf.Tensor:
        """Hidden states drawn from v and visible ones drawn from these: [B, V] -> [B, V]."""
        return self.sample_visible(self.visible_mean(self.sample_hidden(self.hidden_probabilities(v))))

    def free_energy(self, v: tf.Tensor) -> tf.Tensor:
        """F(v) = -log sum_h exp(-E(v, h)): [B, V] -> [B], in nats."""
        hidden = tf.reduce_sum(tf.nn.softplus(self._hidden_inputs(v)), axis=1)
        if self.gaussian:
            return tf.reduce_sum(tf.square(v - self.b), axis=1) / 2 - hidden
        return -tf.linalg.matvec(v, tf.convert_to_tensor(self.b)) - hidden

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """p(h = 1 | data): [B, *data_shape] -> [B, H]."""
        return self.hidden_probabilities(self.visible_states(inputs))

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """The mean of the data given hidden units: [B, H] -> [B, *data_shape]."""
        return self._data(self.visible_mean(codes))

    # ---- learning

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Momentum that `fit` changes from `momentum` to `final_momentum`.

        A Keras optimizer, so that schedules, callbacks and checkpoints know it.
        """
        config = self.config
        return FusedMomentum(float(config.learning_rate), float(max(config.momentum, config.final_momentum)))

    def initialise_from(self, x: Any) -> None:
        """Set the visible biases from data [N, *data_shape]: b = log(p / (1 - p)), p how often a unit is on.

        Gaussian units take means and deviations to standardise with; their biases are 0 then.

        Raises:
            DataError: as in `fit`.
        """
        data = self.check(x).reshape(-1, self.n_features_in_)
        mean = data.mean(axis=0, dtype="float64")
        if not self.gaussian:
            p = mean.clip(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
            self.b.assign(np.log(p / (1 - p)))
            return
        constant = int((data.max(axis=0) == data.min(axis=0)).sum())
        if constant:
            raise DataError(
                f"{type(self).__name__}: expected columns that vary, as they are standardised, got {constant} constant "
                f"ones of {data.shape[1]}: leave them out"
            )
        self.mean.assign(mean)
        self.deviation.assign(data.std(axis=0, dtype="float64"))

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: int = 1, **kwargs: Any) -> Any:
        """Learn as `FeatureLearner.fit` says; labels are left aside.

        A machine whose biases are all 0 takes its visible ones from the data first (`initialise_from`), of a stream
        from its first 10,000 examples. In arrays, what `on_train_batch_end` is called with is a block of batches.

        Raises:
            DataError: as there; for Gaussian units also columns that are constant.
        """
        if not self.compiled:
            self.compile(optimizer=self.default_optimizer())
        fresh = not (self.b.numpy().any() or self.c.numpy().any())
        if isinstance(x, tf.data.Dataset):
            first = self._first(x, _FIRST_EXAMPLES if fresh else 1)
            if fresh:
                self.initialise_from(first)
        else:
            data = self.check(x)
            if fresh:
                self.initialise_from(data)
            x = self._blocks(data, 100 if batch_size is None else batch_size, shuffle=kwargs.get("shuffle", True))
        kwargs["shuffle"] = False  # Keras warns that it cannot shuffle a stream
        callbacks = [*keras.tree.flatten(kwargs.pop("callbacks", None) or []), _MomentumByEpoch()]
        return super(FeatureLearner, self).fit(x, epochs=epochs, callbacks=callbacks, **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """An update from a batch [B, *data_shape], or one after the other from a block of them [K, B, *data_shape].

        What is measured is the last batch after the updates; a batch that came alone an eighth of it, as measuring
        would cost as much as learning.
        """
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if len(x.shape) == len(self.data_shape) + 1:
            self._learn(self.visible_states(x))
            self._measure(self.visible_states(x[: tf.maximum(1, tf.shape(x)[0] // 8)]))
            return self.get_metrics_result()

        def learn(index: tf.Tensor) -> list[tf.Tensor]:
            self._learn(self.visible_states(x[index]))
            return [index + 1]

        tf.while_loop(lambda index: index < tf.shape(x)[0], learn, [tf.constant(0)], parallel_iterations=1)
        self._measure(self.visible_states(x[-1]))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self._measure(self.visible_states(x))
        return self.get_metrics_result()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.reconstruction_error] if self.gaussian else [self.reconstruction_error, self.pseudo_likelihood]

    def _learn(self, v: tf.Tensor) -> None:
        """One update from visible states [B, V]."""
        if self.config.binarise:
            v = self.sample_hidden(v)
        h, v_model, h_model = self._persistent_chains(v) if self.config.persistent else self._short_chains(v)
        up = h
        if self.sparse:
            # The cross-entropy between target and activity changes with a unit's total input by their difference; the
            # same for W and c, or one makes up for the other.
            kept = _MEMORY_OF_ACTIVITY
            self.activity.assign(kept * self.activity + (1 - kept) * tf.reduce_mean(h, axis=0))
            up = h - self.config.sparsity_cost * (self.activity - self.config.sparsity_target)
        # Minus the gradient of the likelihood. Data and model in one product of matrices: half the writing to memory.
        h_both = tf.concat([up * (-1 / _count(v)), h_model * (1 / _count(v_model))], axis=0)
        of_w = tf.matmul(tf.concat([v, v_model], axis=0), h_both, transpose_a=True)
        if self.config.weight_decay:
            of_w += self.config.weight_decay * self.W
        # Of Gaussian units -dE/db is v - b, but b falls out of the difference.
        of_b = tf.reduce_mean(v_model, axis=0) - tf.reduce_mean(v, axis=0)
        of_c = tf.reduce_sum(h_both, axis=0)
        self.optimizer.apply([of_w, of_b, of_c], [self.W, self.b, self.c])

    def _short_chains(self, v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """CD: hidden probabilities of the data [B, H]; visible states and hidden probabilities k steps later."""
        h_model = h = self.hidden_probabilities(v)
        v_model = v
        for _ in range(self.config.steps):
            v_model = self.sample_visible(self.visible_mean(self.sample_hidden(h_model)))
            h_model = self.hidden_probabilities(v_model)
        return h, v_model, h_model

    def _persistent_chains(self, v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """PCD: the same, of chains [chains, .] that go on where they were left."""
        v_model = self.sample_visible(self.visible_mean(tf.convert_to_tensor(self.fantasies)))
        for _ in range(self.config.steps - 1):
            v_model = self.gibbs_step(v_model)
        both = self.hidden_probabilities(tf.concat([v, v_model], axis=0))  # one product of matrices, as in `_learn`
        h, h_model = both[: tf.shape(v)[0]], both[tf.shape(v)[0] :]
        self.fantasies.assign(self.sample_hidden(h_model))
        return h, v_model, h_model

    def _measure(self, v: tf.Tensor) -> None:
        again = self.visible_mean(self.hidden_probabilities(v))
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(v - again)))
        if not self.gaussian:
            self.pseudo_likelihood.update_state(self._pseudo_likelihood(v, self._some_units(v)))

    # ---- what a trained machine tells

    @property
    def components_(self) -> np.ndarray:
        """The weights of every hidden unit, float32 [H, *data_shape]."""
        return self.W.numpy().T.reshape(-1, *self.data_shape)

    def score_samples(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The pseudo-log-likelihood of data [N, *data_shape], float32 [N] in nats, as scikit-learn's BernoulliRBM.

        V log p(v_i | all others) for one unit i drawn for every example: log p(v) would need Z.

        Raises:
            RecipeError: Gaussian units, to which it does not apply.
            DataError: as in `transform`.
        """
        if self.gaussian:
            raise RecipeError(
                f"{type(self).__name__}: expected Bernoulli units for a pseudo-likelihood, got Gaussian ones: take "
                f"free_energy to compare examples"
            )

        def score(data: tf.Tensor) -> tf.Tensor:
            v = self.visible_states(data)
            return self._pseudo_likelihood(v, self._some_units(v))

        return self._in_batches(tf.function(score), self.check(x, least=1), batch_size)

    def gibbs(self, v: Any, steps: int = 1) -> np.ndarray:
        """Chains that start at data [N, *data_shape], so many steps later: float32 of the same shape.

        Raises:
            RecipeError: fewer than 1 step.
            DataError: as in `transform`.
        """
        if steps < 1:
            raise RecipeError(f"{type(self).__name__}: expected at least 1 step of Gibbs sampling, got {steps}")
        return self._data(self._chain(self.visible_states(self.check(v, least=1)), tf.constant(steps))).numpy()

    def sample(self, count: int, *, steps: int = 1000) -> np.ndarray:
        """New examples, float32 [count, *data_shape]: the means in which chains end that start at the visible biases.

        Raises:
            RecipeError: fewer than 1 example or step.
        """
        if count < 1 or steps < 1:
            raise RecipeError(
                f"{type(self).__name__}: expected at least 1 sample and 1 step, got {count} samples and {steps} steps"
            )
        start = self.sample_visible(self.visible_mean(tf.zeros([count, self.config.hidden])))
        v = self._chain(start, tf.constant(steps - 1))
        return self._data(self.visible_mean(self.sample_hidden(self.hidden_probabilities(v)))).numpy()

    @tf.function(reduce_retracing=True)
    def _chain(self, v: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(steps):
            v = self.gibbs_step(v)
        return v

    def _pseudo_likelihood(self, v: tf.Tensor, units: tf.Tensor) -> tf.Tensor:
        """V log p(v_i | all others), i = `units` [B]: [B, V] -> [B]."""
        other = v + tf.one_hot(units, self.n_features_in_) * (1 - 2 * v)
        return self.n_features_in_ * tf.math.log_sigmoid(self.free_energy(other) - self.free_energy(v))

    def _some_units(self, v: tf.Tensor) -> tf.Tensor:
        """A visible unit for every row, int32 [B]."""
        return tf.random.stateless_uniform(tf.shape(v)[:1], self.seeds.next(), 0, self.n_features_in_, tf.int32)

    # ---- data

    def _hidden_inputs(self, v: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.matmul(v, tf.convert_to_tensor(self.W)), self.c)

    def visible_states(self, data: tf.Tensor) -> tf.Tensor:
        """Data [B, *data_shape] -> visible states [B, V]; for Gaussian units standardised."""
        v = tf.reshape(tf.cast(data, tf.float32), [-1, self.n_features_in_])
        return (v - self.mean) / self.deviation if self.gaussian else v

    def _data(self, v: tf.Tensor) -> tf.Tensor:
        """Visible states [B, V] -> data [B, *data_shape]."""
        data = v * self.deviation + self.mean if self.gaussian else v
        return tf.reshape(data, [-1, *self.data_shape])

    def _first(self, stream: tf.data.Dataset, least: int) -> np.ndarray:
        """At least so many first examples of a stream, checked; fewer where it ends."""
        parts: list[np.ndarray] = []
        for batch in stream:
            parts.append(self.check(batch[0] if isinstance(batch, tuple) else batch, least=1))
            if sum(map(len, parts)) >= least:
                break
        if not parts:
            raise DataError(f"{type(self).__name__}: expected a stream with batches in it, got an empty one")
        return np.concatenate(parts)

    def _blocks(self, data: np.ndarray, batch_size: int, *, shuffle: bool) -> tf.data.Dataset:
        """Data as blocks of batches [K, B, *data_shape]; the last batch of an epoch may be smaller, alone in its block.

        An update from ten examples (784-500) takes about 1.5 ms of a core. A batch out of tf.data and a call for each
        cost 2.5 ms more, with `steps_per_execution=50` still 1 ms. In blocks it is paid for once in many updates.
        """
        if batch_size < 1:
            raise RecipeError(f"{type(self).__name__}: expected batches of at least 1 example, got {batch_size}")
        count = len(data)
        batch_size = min(batch_size, count)
        batches = count // batch_size
        in_block = max(1, _BLOCK_BYTES // (4 * batch_size * self.n_features_in_))
        # All of it is made of tf.data's own operations: a Python generator would make TensorFlow give memory back at
        # once from then on, in the whole process, and a step, which asks for megabytes again and again, take longer.
        examples = _held(data)
        left = int(count % batch_size > 0)

        def epoch(_: tf.Tensor) -> tf.data.Dataset:
            order = tf.range(count)
            if shuffle:
                # The updates so far, read when the epoch begins: the same machine at the same point sees the same.
                updates = tf.cast(self.optimizer.iterations, tf.int64)
                seed = tf.stack([tf.constant(self.config.seed, tf.int64), updates])
                order = tf.random.experimental.stateless_shuffle(order, seed)
            whole = tf.reshape(order[: batches * batch_size], [batches, batch_size])
            rows = tf.data.Dataset.from_tensor_slices(whole).batch(in_block)
            return rows.concatenate(tf.data.Dataset.from_tensors(order[None, batches * batch_size :]).take(left))

        # Gathering from a variable itself would copy all of it.
        blocks = (
            tf.data.Dataset.from_tensors(0).flat_map(epoch).map(lambda rows: tf.gather(examples.read_value(), rows))
        )
        number = math.ceil(batches / in_block) + left
        return untuned(blocks.apply(tf.data.experimental.assert_cardinality(number)).prefetch(1))


def _held(data: np.ndarray) -> tf.Variable:
    """Data as a variable that tf.data can gather from; not copied if its memory can be a tensor's.

    TensorFlow itself would copy an array twice, the second time into memory that is taken page by page, and tf.data
    would make up another tensor of the same size to plan with, unless it sees a variable: with MNIST, all this takes
    half as long as an epoch.
    """
    if not (is_aligned(data) and data.flags.writeable):
        data = aligned_float32(data)
    return tf.Variable(tf.experimental.dlpack.from_dlpack(data.__dlpack__()), trainable=False)


class _MomentumByEpoch(keras.callbacks.Callback):
    """Little momentum as long as the gradients are large (section 9 of the guide)."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        config, optimizer = self.model.config, self.model.optimizer
        if isinstance(optimizer, FusedMomentum):
            early = epoch < config.momentum_epochs
            optimizer.current_momentum.assign(config.momentum if early else config.final_momentum)


def _count(rows: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(rows)[0], tf.float32)


def _check_config(config: RBMConfig) -> None:
    """Refuse what makes no sense.

    Raises:
        RecipeError: the first value that does.
    """
    gaussian = config.visible_units == "gaussian"
    target = config.sparsity_target
    rules = (
        ("hidden", config.hidden >= 1, "at least 1 hidden unit"),
        ("visible_units", config.visible_units in ("bernoulli", "gaussian"), "'bernoulli' or 'gaussian'"),
        ("steps", config.steps >= 1, "at least 1 step of Gibbs sampling"),
        ("chains", config.chains >= 1, "at least 1 chain"),
        ("learning_rate", 0 < config.learning_rate < math.inf, "a positive number"),
        ("momentum", 0 <= config.momentum < 1, "a number from 0 to below 1"),
        ("final_momentum", 0 <= config.final_momentum < 1, "a number from 0 to below 1"),
        ("momentum_epochs", config.momentum_epochs >= 0, "0 epochs or more"),
        ("weight_decay", 0 <= config.weight_decay < math.inf, "0 or a positive number"),
        ("sparsity_target", target is None or 0 < target < 1, "None or a number between 0 and 1"),
        ("sparsity_cost", 0 <= config.sparsity_cost < math.inf, "0 or a positive number"),
        ("sparsity_cost", target is not None or not config.sparsity_cost, "0 where sparsity_target is None"),
        ("seed", config.seed >= 0, "0 or a positive number"),
        ("binarise", not (config.binarise and gaussian), "False for Gaussian units"),
    )
    for name, right, expected in rules:
        if not right:
            raise RecipeError(f"RBM: expected {expected} as {name}, got {getattr(config, name)!r}: change the config")


LEARNER = RBM

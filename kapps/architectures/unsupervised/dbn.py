"""The deep belief net: restricted Boltzmann machines on top of each other, learned one by one, then refined together.

Idea: the hidden units of an RBM are data for the next one, and every layer learned so can only raise a bound on the
log-likelihood. What comes out is a generative model: an associative memory (the top RBM) with a causal net below it.

    layer     what                                                     units        numbers for 784-500-500-2000
    visible   pixels                                                   [784]
    hidden1   recognised by W1, c1 from below; generates by G1, b1     [500]        393,284 + 392,000 (G1)
    hidden2   recognised by W2, c2; generates by G2, b2                [500]        251,000 + 250,000 (G2)
    label     a softmax group beside hidden2, where `classes` > 0      [classes]    classes x 2,001
    hidden3   the hidden side of the top RBM (W3, b3, c3)              [2000]       1,002,500

`fit` is the greedy learning: each RBM by contrastive divergence, on the probabilities of the hidden units below it.
Until then and after it G = W. From there three ways lead on:

    up_down   the wake-sleep algorithm with contrastive divergence at the top. Up: states are drawn by the recognition
              weights W, and the generative weights learn to give each layer back,   dG ~ (s_below - p_below) s_above.
              Top: some steps of Gibbs sampling, and the RBM learns from their ends. Down: states are drawn by the
              generative weights from there, and the recognition weights learn,      dW ~ s_below (s_above - p_above).
    to_mlp    the recognition weights as a network of sigmoid units, to be fine-tuned by backpropagation
    transform the top hidden units' probabilities, for any classifier, e.g. a linear support vector machine

`generate` clamps a label, lets the top RBM settle and goes down by the generative weights. `classify` goes up and takes
the label with the least free energy of the top RBM: exact, as all hidden units are summed out.

Papers: Hinton, Osindero, Teh: "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006: section 4
(greedy learning), 5 and appendix B (up-down), 6.1 (labels by free energy), figure 9 (samples). Hinton, Salakhutdinov:
"Reducing the dimensionality of data with neural networks", Science 313, 2006 (to_mlp: its supporting text).

Deviations: the statistics of the top RBM take probabilities, not states, of its hidden units: the same mean with less
noise. Labels take no part in `transform` and `to_mlp`: their units are off there.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
from kapps.errors import DataError, RecipeError

# What one layer's probabilities for all examples may take of the memory; beyond that they are made batch by batch.
_MEMORY_SHARE = 0.1

# Examples that go up or down at a time outside training.
_AT_A_TIME = 1000

# Gaussian units need so much smaller steps.
_GAUSSIAN_RATE = 0.1


@dataclass(frozen=True)
class DBNConfig:
    """The layers, and how the RBMs learn.

    Attributes:
        hidden: units of each hidden layer, from the data on.
        classes: label units beside the last but one layer; 0 = none.
        visible_units: `"bernoulli"` for data in [0, 1], `"gaussian"` for any other, which is then standardised.
        steps: k of CD-k.
        learning_rate: of each RBM, a tenth of it for Gaussian units; and of `up_down`.
        momentum: in the first five epochs of each RBM.
        final_momentum: after them, and in `up_down`.
        weight_decay: L2, on all matrices of weights, in `up_down`, too.
        seed: of the weights and the sampling.
    """

    hidden: tuple[int, ...] = (500, 500, 2000)
    classes: int = 0
    visible_units: str = "bernoulli"
    steps: int = 1
    learning_rate: float = 0.05
    momentum: float = 0.5
    final_momentum: float = 0.9
    weight_decay: float = 2e-4
    seed: int = 0


VARIANTS = {"dbn": DBNConfig()}


@keras.saving.register_keras_serializable("kapps")
class LabelledRBM(RBM):
    """An RBM whose last visible units are a softmax group: one of them is on, and says what the others show.

    Args:
        data_shape: (V,), the label units among them.
        config: see `RBMConfig`; visible units are Bernoulli.
        classes: how many label units.
    """

    def __init__(self, data_shape: tuple[int, ...], config: RBMConfig | None = None, *, classes: int, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        self.classes = classes

    def visible_mean(self, h: tf.Tensor) -> tf.Tensor:
        """Probabilities of the visible units, those of the labels together 1: [B, H] -> [B, V]."""
        inputs = tf.nn.bias_add(tf.matmul(h, tf.convert_to_tensor(self.W), transpose_b=True), self.b)
        units, labels = tf.split(inputs, [self.n_features_in_ - self.classes, self.classes], axis=1)
        return tf.concat([tf.sigmoid(units), tf.nn.softmax(labels)], axis=1)

    def sample_visible(self, m: tf.Tensor) -> tf.Tensor:
        """Visible states with these probabilities, exactly one label on: [B, V]."""
        units, labels = tf.split(m, [self.n_features_in_ - self.classes, self.classes], axis=1)
        drawn = tf.random.stateless_categorical(tf.math.log(labels), 1, self.seeds.next())[:, 0]
        return tf.concat([self.sample_hidden(units), tf.one_hot(drawn, self.classes)], axis=1)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.reconstruction_error]  # the pseudo-likelihood turns single units around, which a group forbids

    def _measure(self, v: tf.Tensor) -> None:
        again = self.visible_mean(self.hidden_probabilities(v))
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(v - again)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable("kapps")
class DBN(FeatureLearner):
    """A deep belief net: data [B, *data_shape] -> probabilities of the top hidden units, float32 [B, hidden[-1]].

    Args:
        data_shape: of one example; V is its number of values.
        config: see `DBNConfig`.

    Attributes:
        rbms: from the data on; below the top one, their W and c recognise and their b generate.
        generative: G of every layer but the top one, [units below, units].

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
    """

    CONFIG = DBNConfig

    def __init__(self, data_shape: tuple[int, ...], config: DBNConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config)
        sizes = (self.n_features_in_, *config.hidden)
        self.check_memory(2 * sum(below * above for below, above in itertools.pairwise(sizes)))
        self.gaussian = config.visible_units == "gaussian"
        self.bounded = not self.gaussian
        self.seeds = keras.random.SeedGenerator(config.seed)
        self.rbms = [self.make_rbm(number) for number in range(len(config.hidden))]
        self.generative = [
            self.add_weight(name=f"generative{number}", shape=tuple(rbm.W.shape), initializer="zeros")
            for number, rbm in enumerate(self.rbms[:-1], start=1)
        ]
        for number in range(len(self.generative)):
            self._tie(number)
        self._gibbs_steps = 1
        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")
        self.built = True

    def make_rbm(self, number: int) -> RBM:
        """The machine of layer `number`, 0 the first; for subclasses with other units at the top."""
        config = self.config
        first, top = number == 0, number == len(config.hidden) - 1
        settings = RBMConfig(
            hidden=config.hidden[number],
            visible_units=config.visible_units if first else "bernoulli",
            steps=config.steps,
            learning_rate=config.learning_rate * (_GAUSSIAN_RATE if first and self.gaussian else 1),
            momentum=config.momentum,
            final_momentum=config.final_momentum,
            weight_decay=config.weight_decay,
            seed=config.seed + number,
        )
        name = f"rbm{number + 1}"
        if top and config.classes:
            return LabelledRBM((self._units_below_top + config.classes,), settings, classes=config.classes, name=name)
        return RBM(self.data_shape if first else (config.hidden[number - 1],), settings, name=name)

    @property
    def _units_below_top(self) -> int:
        """Visible units of the top RBM without the labels."""
        return (self.n_features_in_, *self.config.hidden)[-2]

    # ---- up and down by probabilities, on tensors

    def up(self, inputs: tf.Tensor, layers: int | None = None) -> tf.Tensor:
        """Recognition: data [B, *data_shape] -> probabilities of a hidden layer [B, units].

        Args:
            layers: how many to go up; 0 gives the visible states, None goes to the top, the labels being off.
        """
        h = self._rows(inputs)
        for rbm in self.rbms[:layers]:
            if isinstance(rbm, LabelledRBM):
                h = tf.pad(h, [[0, 0], [0, rbm.classes]])
            h = rbm.hidden_probabilities(h)
        return h

    def down(self, h: tf.Tensor, *, sample: bool = False) -> tf.Tensor:
        """Generation: states of the layer below the top [B, units] -> the mean of the data [B, *data_shape].

        Args:
            sample: draw the states of the layers between; else take probabilities for them.
        """
        for number in reversed(range(len(self.generative))):
            h = self._generated(number, h)
            if sample and number > 0:
                h = self._sample(h)
        data = h * self.rbms[0].deviation + self.rbms[0].mean if self.gaussian else h
        return tf.reshape(data, [-1, *self.data_shape])

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """Probabilities of the top hidden units: [B, *data_shape] -> [B, hidden[-1]]."""
        return self.up(inputs)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """Top hidden units [B, hidden[-1]] -> the data's mean [B, *data_shape], by probabilities all the way."""
        return self.down(self.rbms[-1].visible_mean(codes)[:, : self._units_below_top])

    def _generated(self, number: int, above: tf.Tensor) -> tf.Tensor:
        """The mean of layer `number` (0 = visible), given states above it: [B, units above] -> [B, units]."""
        weights = tf.convert_to_tensor(self.generative[number])
        inputs = tf.nn.bias_add(tf.matmul(above, weights, transpose_b=True), self.rbms[number].b)
        return inputs if number == 0 and self.gaussian else tf.sigmoid(inputs)

    def _rows(self, inputs: tf.Tensor) -> tf.Tensor:
        """Data [B, *data_shape] -> visible states [B, V]."""
        v = tf.reshape(tf.cast(inputs, tf.float32), [-1, self.n_features_in_])
        return (v - self.rbms[0].mean) / self.rbms[0].deviation if self.gaussian else v

    def _sample(self, p: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.random.stateless_uniform(tf.shape(p), self.seeds.next()) < p, tf.float32)

    # ---- greedy learning

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: Any = 1, **kwargs: Any) -> Any:
        """The greedy learning; see `pretrain`."""
        return self.pretrain(x, y, batch_size=batch_size, epochs=epochs, **kwargs)

    def pretrain(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int | Sequence[int] = 1,
        batch_size: int | None = None,
        callbacks: Any = None,
        verbose: Any = "auto",
    ) -> list[keras.callbacks.History]:
        """Learn one RBM after the other, each from the hidden probabilities of the one below.

        Args:
            x: numbers [N, *data_shape], or a `tf.data.Dataset` of batches of them, alone or with labels.
            y: integer labels [N]; needed where there are label units, else left aside.
            epochs: of each RBM, or one number for each; 0 leaves an RBM as it is.
            batch_size: examples an update; 100 unless given; not with a dataset.
            callbacks, verbose: see `keras.Model.fit`. The model that callbacks see is the RBM that learns.

        Returns:
            What `fit` of each RBM that learned returned.

        Raises:
            DataError: as in `FeatureLearner.fit`; no labels or wrong ones where there are label units.
            RecipeError: as many numbers of epochs as there are not layers, or one below 0.
        """
        counts = [epochs] * len(self.rbms) if isinstance(epochs, int) else list(epochs)
        if len(counts) != len(self.rbms) or min(counts) < 0:
            raise RecipeError(
                f"DBN: expected a number of epochs, or one for each of {len(self.rbms)} layers, got {epochs!r}"
            )
        x, y = self._checked(x, y)
        histories = []
        for number, (rbm, count) in enumerate(zip(self.rbms, counts, strict=True)):
            if not count:
                continue
            data = self._data_of(number, x, y, batch_size or 100)
            settings = {} if isinstance(data, tf.data.Dataset) else {"batch_size": batch_size}
            histories.append(rbm.fit(data, epochs=count, callbacks=callbacks, verbose=verbose, **settings))
            rbm.forget_optimizer()
            if number < len(self.generative):
                self._tie(number)
        return histories

    def _tie(self, number: int) -> None:
        self.generative[number].assign(self.rbms[number].W)

    def _data_of(self, number: int, x: Any, y: np.ndarray | None, batch_size: int) -> Any:
        """What an RBM learns from: arrays as long as they take little memory, else batches that are made on the way."""
        rbm = self.rbms[number]
        labelled = isinstance(rbm, LabelledRBM)
        if number == 0 and not labelled:
            return x.map(_inputs_of) if isinstance(x, tf.data.Dataset) else x
        if not isinstance(x, tf.data.Dataset):
            size = 4 * len(x) * rbm.n_features_in_
            if size <= _MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
                return self._array_of(number, x, y if labelled else None)
            x = _shuffled_batches(x, y if labelled else None, batch_size, self.config.seed + number)

        def below(*batch: tf.Tensor) -> tf.Tensor:
            h = self.up(batch[0], number)
            return tf.concat([h, tf.one_hot(batch[1], rbm.classes)], axis=1) if labelled else h

        return x.map(below).prefetch(1)

    def _array_of(self, number: int, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        """Probabilities of the layer below an RBM, [N, units], and the labels behind them where there are some."""
        rbm = self.rbms[number]
        up = tf.function(lambda batch: self.up(batch, number))
        rows = np.zeros((len(x), rbm.n_features_in_), np.float32)
        units = rbm.n_features_in_ - (0 if y is None else self.config.classes)
        for start in range(0, len(x), _AT_A_TIME):
            rows[start : start + _AT_A_TIME, :units] = up(x[start : start + _AT_A_TIME])
        if y is not None:
            rows[np.arange(len(x)), units + y] = 1
        return rows

    def _checked(self, x: Any, y: Any) -> tuple[Any, np.ndarray | None]:
        """Data and labels that can be learned from; of a stream the first batch is looked at."""
        classes = self.config.classes
        if isinstance(x, tf.data.Dataset):
            if y is not None:
                raise DataError(
                    "DBN: expected labels in the dataset's own batches (x, y), got y beside it: leave y out"
                )
            for batch in x.take(1):
                parts = batch if isinstance(batch, tuple) else (batch,)
                rows = self.check(parts[0], least=1)
                if classes:
                    self._check_labels(parts[1] if len(parts) > 1 else None, len(rows))
            return x, None
        x = self.check(x)
        return x, self._check_labels(y, len(x)) if classes else None

    def _check_labels(self, y: Any, count: int) -> np.ndarray:
        classes = self.config.classes
        if y is None:
            raise DataError(
                f"DBN: expected a label for each example, as there are {classes} label units, got none: give y, or "
                f"make the net with classes=0"
            )
        labels = np.asarray(y)
        if labels.shape != (count,) or labels.dtype.kind not in "iu":
            raise DataError(
                f"DBN: expected integer labels [{count}], got {labels.dtype} {list(labels.shape)}: give one for each "
                f"example"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(
                f"DBN: expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}: make the net "
                f"with another number of classes, or mend the labels"
            )
        return labels.astype(np.int64)

    # ---- up-down

    def up_down(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        steps: int = 3,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Refine all weights together by the contrastive form of wake-sleep, after `fit`.

        What learns is `default_optimizer` unless `compile` gave another.

        Args:
            x, y, batch_size: as in `pretrain`.
            epochs: the paper takes 359.
            steps: full steps of Gibbs sampling in the top RBM, 3 to 10 in the paper, rising.
            kwargs: see `keras.Model.fit`.

        Raises:
            DataError: as in `pretrain`.
            RecipeError: no step.
        """
        if steps < 1:
            raise RecipeError(f"DBN: expected at least 1 step of Gibbs sampling, got {steps}")
        x, y = self._checked(x, y)
        if not self.compiled:
            self.compile(optimizer=self.default_optimizer(), jit_compile=False)
        if steps != self._gibbs_steps:
            self._gibbs_steps = steps
            self.train_function = None  # the steps are part of its graph
        return super().fit(x, y, batch_size=batch_size, epochs=epochs, **kwargs)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """What learns in `up_down`; in `fit` each RBM has its own."""
        return keras.optimizers.SGD(self.config.learning_rate, momentum=self.config.final_momentum)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of up-down: appendix B of the paper, line by line."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        top = self.rbms[-1]
        learned: list[tuple[tf.Tensor, Any]] = []

        # Up: states by the recognition weights; the generative weights learn to give each layer back.
        states = [self._rows(x)]
        for rbm in self.rbms[:-1]:
            states.append(rbm.sample_hidden(rbm.hidden_probabilities(states[-1])))
        for number, weights in enumerate(self.generative):
            error = self._generated(number, states[number + 1]) - states[number]
            if number == 0:
                self.reconstruction_error.update_state(tf.reduce_mean(tf.square(error)))
            learned += [
                (self._decayed(_products(error, states[number + 1]), weights), weights),
                (tf.reduce_mean(error, axis=0), self.rbms[number].b),
            ]

        # The top RBM: contrastive divergence from there, labels included.
        v = fantasy = tf.concat([states[-1], tf.one_hot(y, top.classes)], 1) if self.config.classes else states[-1]
        h = its_h = top.hidden_probabilities(v)
        for _ in range(self._gibbs_steps):
            fantasy = top.sample_visible(top.visible_mean(top.sample_hidden(its_h)))
            its_h = top.hidden_probabilities(fantasy)
        learned += [
            (self._decayed(_products(fantasy, its_h) - _products(v, h), top.W), top.W),
            (tf.reduce_mean(fantasy - v, axis=0), top.b),
            (tf.reduce_mean(its_h - h, axis=0), top.c),
        ]

        # Down: states by the generative weights; the recognition weights learn to find what made each layer.
        dream = fantasy[:, : self._units_below_top]
        for number in reversed(range(len(self.generative))):
            above, rbm = dream, self.rbms[number]
            mean = self._generated(number, above)
            dream = self._sample(mean) if number else mean
            error = rbm.hidden_probabilities(dream) - above
            learned += [
                (self._decayed(_products(dream, error), rbm.W), rbm.W),
                (tf.reduce_mean(error, axis=0), rbm.c),
            ]
        gradients, variables = zip(*learned, strict=True)
        self.optimizer.apply(gradients, variables)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The error of up by recognition and down by generation, all by probabilities, below the top RBM."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        again = self.down(self.up(x, len(self.generative)))
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(self._rows(x) - self._rows(again))))
        return self.get_metrics_result()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.reconstruction_error]

    def _decayed(self, gradient: tf.Tensor, weights: Any) -> tf.Tensor:
        return gradient + self.config.weight_decay * tf.convert_to_tensor(weights)

    # ---- labels

    def label_probabilities(self, inputs: tf.Tensor) -> tf.Tensor:
        """p(label | hidden units below the top), after a way up by probabilities: [B, *data_shape] -> [B, classes].

        The free energy of the top RBM with each label in turn (section 6.1). All but the label's own part of the
        inputs to the hidden units is the same for all labels.
        """
        top, units = self.rbms[-1], self._units_below_top
        weights = tf.convert_to_tensor(top.W)
        shared = tf.matmul(self.up(inputs, len(self.generative)), weights[:units]) + top.c  # [B, hidden[-1]]
        scores = [
            tf.reduce_sum(tf.nn.softplus(shared + weights[units + label]), axis=1) + top.b[units + label]
            for label in range(self.config.classes)
        ]
        return tf.nn.softmax(tf.stack(scores, axis=1))

    def predict_proba(self, x: Any, *, batch_size: int = 500) -> np.ndarray:
        """p(label | data), float32 [N, classes], as `label_probabilities`.

        Raises:
            RecipeError: there are no label units.
            DataError: as in `transform`.
        """
        self._check_classes("probabilities of labels")
        return self._in_batches(tf.function(self.label_probabilities), self.check(x, least=1), batch_size)

    def classify(self, x: Any, *, batch_size: int = 500) -> np.ndarray:
        """The label with the least free energy: int64 [N]; errors as in `predict_proba`."""
        return self.predict_proba(x, batch_size=batch_size).argmax(axis=1)

    def generate(self, label: int | None = None, count: int = 1, steps: int = 1000) -> np.ndarray:
        """Dream of a label, or of anything: float32 [count, *data_shape], the means of what is generated.

        The top RBM starts at what a random picture gives (each pixel on with probability one half), takes `steps` steps
        of Gibbs sampling with the label held, and one way down by the generative weights follows.

        Args:
            label: 0 to classes - 1; None = whatever comes.

        Raises:
            RecipeError: a label that does not exist, or fewer than 1 picture or step.
        """
        if count < 1 or steps < 1:
            raise RecipeError(f"DBN: expected at least 1 picture and 1 step, got {count} pictures and {steps} steps")
        if label is not None:
            self._check_classes("a label to dream of")
            if not 0 <= label < self.config.classes:
                raise RecipeError(f"DBN: expected a label from 0 to {self.config.classes - 1}, got {label}")
        held = np.zeros((count, self.config.classes), np.float32)
        if label is not None:
            held[:, label] = 1
        return self._dream(tf.constant(held), tf.constant(label is not None), tf.constant(steps)).numpy()

    @tf.function(reduce_retracing=True)
    def _dream(self, labels: tf.Tensor, hold: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        top, units = self.rbms[-1], self._units_below_top
        half = tf.fill([tf.shape(labels)[0], self.n_features_in_], 0.5)
        start = self._sample(half)
        if self.gaussian:  # one deviation above or below the mean
            start = self.rbms[0].mean + (2 * start - 1) * self.rbms[0].deviation
        h = self._sample(self.up(start, len(self.generative)))
        v = tf.concat([h, labels], axis=1)  # without label units these are no columns
        for _ in tf.range(steps):
            v = top.gibbs_step(v)
            if hold:
                v = tf.concat([v[:, :units], labels], axis=1)
        if len(self.generative) == 0:  # the RBM's visible side is the data: its mean, not a sample
            return self.down(top.visible_mean(top.sample_hidden(top.hidden_probabilities(v)))[:, :units])
        return self.down(v[:, :units], sample=True)

    def _check_classes(self, what: str) -> None:
        if not self.config.classes:
            raise RecipeError(f"DBN: expected label units for {what}, this net has none: make it with classes=...")

    # ---- what a trained net gives

    @property
    def components_(self) -> np.ndarray:
        """What each top unit looks for, float32 [hidden[-1], *data_shape].

        The filters of the first layer, summed with the weights that lead from them to the unit (Lee, Ekanadham, Ng:
        "Sparse deep belief net model for visual area V2", NIPS 2007, section 4.2). `rbms[0].components_` are the first
        layer's own.
        """
        filters = self.rbms[0].W.numpy()[: self.n_features_in_]
        for rbm in self.rbms[1:]:
            filters = filters @ rbm.W.numpy()[: filters.shape[1]]
        return filters.T.reshape(-1, *self.data_shape)

    def to_mlp(self, num_classes: int) -> keras.Model:
        """The recognition weights as a functional model for fine-tuning: data -> probabilities [B, num_classes].

        Its layers `hidden1`, `hidden2`, ... are sigmoid units with copies of W and c; `predictions` is fresh.

        Raises:
            RecipeError: fewer than 2 classes.
        """
        if num_classes < 2:
            raise RecipeError(f"DBN: expected at least 2 classes to tell apart, got {num_classes}")
        inputs = keras.Input(self.data_shape, name="image" if len(self.data_shape) == 3 else "data")
        x = keras.layers.Flatten(name="pixels")(inputs)
        if self.gaussian:
            mean, deviation = self.rbms[0].mean.numpy(), self.rbms[0].deviation.numpy()
            x = keras.layers.Normalization(mean=mean, variance=deviation**2, name="standardised")(x)
        for number, rbm in enumerate(self.rbms, start=1):
            layer = keras.layers.Dense(rbm.config.hidden, activation="sigmoid", name=f"hidden{number}")
            units = x.shape[-1]
            x = layer(x)
            layer.set_weights([rbm.W.numpy()[:units], rbm.c.numpy()])
        # Drawn from the net's own seed, so that the same net gives the same classifier.
        start = keras.initializers.GlorotUniform(seed=self.config.seed)
        outputs = keras.layers.Dense(num_classes, "softmax", kernel_initializer=start, name="predictions")(x)
        return keras.Model(inputs, outputs, name=f"{self.name}_mlp")


def _products(below: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
    """The mean over a batch of all products: [B, D] and [B, E] -> [D, E]."""
    return tf.matmul(below, above, transpose_a=True) / tf.cast(tf.shape(below)[0], tf.float32)


def _inputs_of(*batch: tf.Tensor) -> tf.Tensor:
    return batch[0]


def _shuffled_batches(x: np.ndarray, y: np.ndarray | None, batch_size: int, seed: int) -> tf.data.Dataset:
    """Arrays as a stream of batches, in another order every epoch, without a copy of them."""
    rng = np.random.default_rng(seed)
    arrays = (x,) if y is None else (x, y)

    def batches() -> Iterator[tuple[np.ndarray, ...]]:
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            yield tuple(array[rows] for array in arrays)

    specs = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays)
    stream = tf.data.Dataset.from_generator(batches, output_signature=specs)
    return stream.apply(tf.data.experimental.assert_cardinality(-(-len(x) // batch_size)))


def _check_config(config: DBNConfig) -> None:
    """Refuse what makes no sense of the net's own; the RBMs see to the rest.

    Raises:
        RecipeError: the first value that does.
    """
    if not config.hidden or min(config.hidden) < 1:
        raise RecipeError(f"DBN: expected numbers of units of at least 1 as hidden, got {config.hidden!r}")
    if config.classes == 1 or config.classes < 0:
        raise RecipeError(f"DBN: expected 0 label units, or one for each of at least 2 classes, got {config.classes}")
    if config.visible_units not in ("bernoulli", "gaussian"):
        raise RecipeError(f"DBN: expected 'bernoulli' or 'gaussian' as visible_units, got {config.visible_units!r}")
    if config.classes and len(config.hidden) == 1 and config.visible_units == "gaussian":
        raise RecipeError(
            "DBN: expected a hidden layer between Gaussian units and labels, got one layer in all: add one to hidden"
        )


LEARNER = DBN

"""The stacked autoencoder: layers that learn one after the other without labels, then together or alone with them.

Idea: a deep net that starts at random hardly learns in its lower layers. So each layer first learns to give back the
layer below, as an autoencoder of its own; the net that is put together from their encoders starts near something good.

    layer        what                                                     output    numbers (784-1000-1000-1000)
    hidden1      the code of an autoencoder on the data                   [1000]      785,000
    hidden2      the code of an autoencoder on hidden1                    [1000]    1,001,000
    hidden3      the code of an autoencoder on hidden2                    [1000]    1,001,000
    predictions  softmax, with the labels (`to_mlp`)                      [10]         10,010

`fit` is the greedy learning. An autoencoder sees its input damaged, but the layer above learns from codes of inputs
that are whole. From there the two fine-tunings lead on, each on any classifier:

    the whole system     `fine_tune(x, y)`: backpropagation through all layers
    the classifier only  `fine_tune(x, y, whole=False)`, the layers held; or `transform` and a linear support vector
                         machine, or whatever else takes rows of numbers

Paper: Bengio, Lamblin, Popovici, Larochelle: "Greedy layer-wise training of deep networks", NIPS 2006, section 4.
Vincent, Larochelle, Bengio, Manzagol: "Extracting and composing robust features with denoising autoencoders", ICML
2008, section 2.4; and with Lajoie: "Stacked denoising autoencoders", JMLR 11, 2010, section 3.5 and figure 3.

Deviations: Adam, in both parts, where the papers go down the gradient with fixed rates.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.autoencoder import Autoencoder, AutoencoderConfig
from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.errors import DataError, RecipeError

# What one layer's codes of all examples may take of the memory; beyond that they are made batch by batch.
_MEMORY_SHARE = 0.1

# Examples that a shuffled stream holds at once.
_SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class StackedConfig:
    """Layers, and how each of them learns; see `AutoencoderConfig` for most.

    Attributes:
        hidden: units of each layer, from the data on.
        activation: of the codes. The upper layers give back what lies below with sigmoid outputs where it is
            `"sigmoid"`, with linear ones where not.
        output: of the lowest decoder: `"sigmoid"` for data in [0, 1], `"linear"` for any.
        tied: decode with the encoder's weights, transposed.
        corruption: of every layer's input: `"none"`, `"masking"`, `"salt_and_pepper"` or `"gaussian"`.
        corruption_level: of every layer.
        l1, sparsity_target, sparsity_cost, contraction: of every layer.
        learning_rate: of Adam, in the greedy learning.
        seed: of the weights and of the corruption.
    """

    hidden: tuple[int, ...] = (1000, 1000, 1000)
    activation: str = "sigmoid"
    output: str = "sigmoid"
    tied: bool = True
    corruption: str = "masking"
    corruption_level: float = 0.25
    l1: float = 0.0
    sparsity_target: float | None = None
    sparsity_cost: float = 0.0
    contraction: float = 0.0
    learning_rate: float = 1e-3
    seed: int = 0


VARIANTS = {
    "stacked_autoencoder": StackedConfig(corruption="none"),
    "stacked_denoising_autoencoder": StackedConfig(),
}


@keras.saving.register_keras_serializable("kapps")
class StackedAutoencoder(FeatureLearner):
    """Data [B, *data_shape] -> the code of the top layer, float32 [B, hidden[-1]].

    Args:
        data_shape: of one example.
        config: see `StackedConfig`.

    Attributes:
        autoencoders: one for each layer, from the data on.

    Raises:
        RecipeError: a value of the configuration that makes no sense, or more weights than the machine can hold.
        UnknownNameError: no corruption has this name.
    """

    CONFIG = StackedConfig

    def __init__(self, data_shape: tuple[int, ...], config: StackedConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        if not config.hidden or min(config.hidden) < 1:
            raise RecipeError(
                f"stacked_autoencoder: expected numbers of units of at least 1 as hidden, got {config.hidden!r}"
            )
        sizes = (self.n_features_in_, *config.hidden)
        between = sum(below * above for below, above in itertools.pairwise(sizes))
        self.check_memory(between * (1 if config.tied else 2))
        self.bounded = config.output == "sigmoid"
        self.autoencoders = [self._make(number) for number in range(len(config.hidden))]
        self.built = True

    def _make(self, number: int) -> Autoencoder:
        """The autoencoder of layer `number`, 0 the lowest."""
        config = self.config
        upper = "sigmoid" if config.activation == "sigmoid" else "linear"
        settings = AutoencoderConfig(
            hidden=config.hidden[number],
            activation=config.activation,
            output=upper if number else config.output,
            tied=config.tied,
            corruption=config.corruption,
            corruption_level=config.corruption_level,
            l1=config.l1,
            sparsity_target=config.sparsity_target,
            sparsity_cost=config.sparsity_cost,
            contraction=config.contraction,
            learning_rate=config.learning_rate,
            seed=1000 * config.seed + 10 * number,
        )
        shape = (config.hidden[number - 1],) if number else self.data_shape
        return Autoencoder(shape, settings, name=f"autoencoder{number + 1}")

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """The top layer's code: [B, *data_shape] -> [B, hidden[-1]]."""
        return self.up(inputs, len(self.autoencoders))

    def up(self, inputs: tf.Tensor, layers: int) -> tf.Tensor:
        """The code of a layer: [B, *data_shape] -> [B, units]; `layers` counts from 1, 0 gives the data."""
        for autoencoder in self.autoencoders[:layers]:
            inputs = autoencoder.encode(inputs)
        return inputs

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """Down through all decoders: [B, hidden[-1]] -> [B, *data_shape]."""
        for autoencoder in reversed(self.autoencoders):
            codes = autoencoder.decode(codes)
        return codes

    @property
    def components_(self) -> np.ndarray:
        """What each top unit looks for, float32 [hidden[-1], *data_shape].

        The filters of the first layer, summed with the weights that lead from them to the unit (Lee, Ekanadham, Ng:
        "Sparse deep belief net model for visual area V2", NIPS 2007, section 4.2). `autoencoders[0].components_` are
        the first layer's own.
        """
        filters = self.autoencoders[0].W.numpy()
        for autoencoder in self.autoencoders[1:]:
            filters = filters @ autoencoder.W.numpy()
        return filters.T.reshape(-1, *self.data_shape)

    # ---- without labels: one layer after the other

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: Any = 1, **kwargs: Any) -> Any:
        """The greedy learning; see `pretrain`. Labels have no part in it."""
        return self.pretrain(x, batch_size=batch_size, epochs=epochs, **kwargs)

    def pretrain(
        self,
        x: Any,
        *,
        epochs: int | Sequence[int] = 1,
        batch_size: int | None = None,
        callbacks: Any = None,
        verbose: Any = "auto",
    ) -> list[keras.callbacks.History]:
        """Learn one autoencoder after the other, each from the codes of the one below.

        Args:
            x: numbers [N, *data_shape], or a `tf.data.Dataset` of batches of them, alone or with labels.
            epochs: of each layer, or one number for each; 0 leaves a layer as it is.
            batch_size: examples a step; 100 unless given; not with a dataset.
            callbacks, verbose: see `keras.Model.fit`. The model that callbacks see is the autoencoder that learns.

        Returns:
            What `fit` of each autoencoder that learned returned.

        Raises:
            DataError: as in `FeatureLearner.fit`.
            RecipeError: another number of epochs than of layers, or one below 0.
        """
        counts = [epochs] * len(self.autoencoders) if isinstance(epochs, int) else list(epochs)
        if len(counts) != len(self.autoencoders) or min(counts) < 0:
            raise RecipeError(
                f"stacked_autoencoder: expected a number of epochs, or one for each of {len(self.autoencoders)} "
                f"layers, got {epochs!r}"
            )
        stream = isinstance(x, tf.data.Dataset)
        data = x.map(_inputs_of) if stream else self.check(x)
        histories = []
        for number, (autoencoder, count) in enumerate(zip(self.autoencoders, counts, strict=True)):
            if count:
                seen = self._codes(data, number, batch_size or 100)
                size = None if isinstance(seen, tf.data.Dataset) else batch_size
                histories.append(
                    autoencoder.fit(seen, epochs=count, batch_size=size, callbacks=callbacks, verbose=verbose)
                )
                autoencoder.forget_optimizer()
        return histories

    def _codes(self, data: Any, number: int, batch_size: int) -> Any:
        """What layer `number` learns from: an array as long as it takes little memory, else batches made on the way."""
        if number == 0:
            return data
        if not isinstance(data, tf.data.Dataset):
            size = 4 * len(data) * self.config.hidden[number - 1]
            if size <= _MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
                return self._in_batches(tf.function(lambda batch: self.up(batch, number)), data, 1000)
            stream = tf.data.Dataset.from_tensor_slices(data)
            data = stream.shuffle(_SHUFFLE_BUFFER, seed=self.config.seed + number).batch(batch_size)
        return data.map(lambda batch: self.up(batch, number)).prefetch(1)

    # ---- with labels

    def to_mlp(self, num_classes: int) -> keras.Model:
        """The encoders as a functional model with a classifier on top: data -> probabilities [B, num_classes].

        Its layers `hidden1`, `hidden2`, ... have copies of W and c; `predictions` is fresh, drawn from the seed.

        Raises:
            RecipeError: fewer than 2 classes.
        """
        if num_classes < 2:
            raise RecipeError(f"stacked_autoencoder: expected at least 2 classes to tell apart, got {num_classes}")
        inputs = keras.Input(self.data_shape, name="image" if len(self.data_shape) == 3 else "data")
        x = keras.layers.Flatten(name="values")(inputs)
        for number, autoencoder in enumerate(self.autoencoders, start=1):
            layer = keras.layers.Dense(autoencoder.config.hidden, self.config.activation, name=f"hidden{number}")
            x = layer(x)
            layer.set_weights([autoencoder.W.numpy(), autoencoder.c.numpy()])
        start = keras.initializers.GlorotUniform(seed=self.config.seed)
        outputs = keras.layers.Dense(num_classes, "softmax", kernel_initializer=start, name="predictions")(x)
        return keras.Model(inputs, outputs, name=f"{self.name}_mlp")

    def fine_tune(
        self,
        x: Any,
        y: Any,
        *,
        num_classes: int | None = None,
        whole: bool = True,
        epochs: int = 10,
        batch_size: int = 100,
        optimizer: Any = None,
        dropout: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> keras.Model:
        """Learn classes from labels, on copies of the layers: those of this model stay as they are.

        Args:
            x: numbers [N, *data_shape].
            y: integer labels [N], from 0.
            num_classes: how many there are; as many as the labels say unless given.
            whole: through all layers; False holds them and learns the classifier alone, from the codes.
            epochs, batch_size: see `keras.Model.fit`.
            optimizer: Adam with rate 0.001 unless given.
            dropout: rates, of what each dense layer is given while it learns, from the data on; with `whole` only.
            kwargs: see `keras.Model.fit`; with `whole=False` what it is given to sees codes.

        Returns:
            The model of `to_mlp`, fine-tuned and compiled, with its accuracy as a metric.

        Raises:
            DataError: labels are missing or do not fit; data as in `fit`.
            RecipeError: fewer than 2 classes; rates of dropout that do not fit, or with held layers.
        """
        if dropout is not None and not whole:
            raise RecipeError(
                "stacked_autoencoder: expected no dropout where the layers are held: leave it out, or whole=True"
            )
        x = self.check(x)
        labels, count = check_labels(y, len(x), num_classes)
        model = self.to_mlp(count)
        predictions = model.get_layer("predictions")
        for layer in model.layers:
            layer.trainable = whole or layer is predictions
        learner, seen = model, x
        if not whole:
            codes = keras.Input((self.config.hidden[-1],), name="codes")
            learner, seen = keras.Model(codes, predictions(codes)), self.transform(x)
        elif dropout is not None:
            learner = with_dropout(model, dropout, self.config.seed)
        # Without XLA: its products of large matrices take three times as long on a processor.
        settings = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "jit_compile": False}
        learner.compile(optimizer or keras.optimizers.Adam(1e-3), **settings)
        learner.fit(seen, labels, epochs=epochs, batch_size=batch_size, **kwargs)
        if learner is not model:
            model.compile(learner.optimizer, **settings)
        return model


def with_dropout(model: keras.Model, rates: Sequence[float], seed: int) -> keras.Model:
    """The same layers, not copies of them, each dense one behind dropout: what `model` itself predicts stays the same.

    Args:
        model: layers in a row, as `to_mlp` gives them.
        rates: of each dense layer's input, from the data on.
        seed: of the dropout.

    Raises:
        RecipeError: another number of rates than of dense layers, or one outside [0, 1).
    """
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if len(rates) != len(dense) or not all(0 <= rate < 1 for rate in rates):
        raise RecipeError(
            f"dropout: expected a rate from 0 to below 1 for each of {len(dense)} dense layers, got {list(rates)}"
        )
    drops = [keras.layers.Dropout(rate, seed=seed + number) for number, rate in enumerate(rates)]
    before = dict(zip(dense, drops, strict=True))
    layers: list[keras.layers.Layer] = [keras.Input(model.input_shape[1:])]
    for layer in model.layers[1:]:
        layers += [before[layer], layer] if layer in before else [layer]
    return keras.Sequential(layers)


def check_labels(y: Any, count: int, num_classes: int | None) -> tuple[np.ndarray, int]:
    """Labels that a classifier can learn from, int64 [count], and the number of classes.

    Raises:
        DataError: no labels, other numbers of them than examples, no integers, or out of range.
    """
    if y is None:
        raise DataError(
            "stacked_autoencoder: expected labels to fine-tune with, got none: give y, or learn without them by fit"
        )
    labels = np.asarray(y)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise DataError(
            f"stacked_autoencoder: expected an integer label for each of {count} examples, got {labels.dtype} "
            f"{list(labels.shape)}: give their numbers, from 0"
        )
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"stacked_autoencoder: expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64), classes


def _inputs_of(*batch: tf.Tensor) -> tf.Tensor:
    return batch[0]


LEARNER = StackedAutoencoder

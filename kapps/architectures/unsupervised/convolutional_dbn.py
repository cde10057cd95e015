"""The convolutional deep belief network: convolutional RBMs, each learned on the pooling units of the one below.

Idea: one layer finds strokes, the next finds what strokes make. Pooling halves the maps in between, so that the same
small kernel covers more and more of the image, and what is found may move a little.

    layer     what                                                             codes (28x28 images, the variant here)
    layer1    40 kernels of 11x11, blocks of 2x2                               [9, 9, 40]
    layer2    40 kernels of 6x6 on all 40 maps, blocks of 2x2                  [2, 2, 40]

Learning is greedy: `fit` teaches layer1 on the data, then layer2 on layer1's codes, and so on; what is learned stays
(Hinton, Osindero, Teh: "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006). Going up, each
layer takes the probabilities P(p = 1) of the one below as the data of Bernoulli units.

Paper: Lee, Grosse, Ranganath, Ng: "Convolutional deep belief networks for scalable unsupervised learning of
hierarchical representations", ICML 2009, section 3.4; its table 2 has MNIST, by a linear SVM on both layers' codes.

Deviations: inference is the pass from below alone; the paper's signals from above into a layer (section 3.6) are not
built. The first kernels are 11x11, so that blocks of 2x2 divide the maps of a 28x28 image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.convolutional_rbm import ConvolutionalRBM, ConvolutionalRBMConfig
from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.errors import RecipeError


@dataclass(frozen=True)
class ConvolutionalDBNConfig:
    """A stack, from below; tuples have one value a layer.

    Attributes:
        filters: kernels, and so maps, of each layer.
        kernels: sides of the kernels.
        pools: sides of the blocks.
        visible_units: of the lowest layer; those above are Bernoulli.
        steps: k of CD-k.
        learning_rates: of each layer.
        momentum, weight_decay, sparsity_cost: as in `ConvolutionalRBMConfig`.
        sparsity_targets: the mean activity that each layer's detectors shall have.
        seed: of the first weights and of the sampling.
    """

    filters: tuple[int, ...] = (40, 40)
    kernels: tuple[int, ...] = (11, 6)
    pools: tuple[int, ...] = (2, 2)
    visible_units: str = "bernoulli"
    steps: int = 1
    learning_rates: tuple[float, ...] = (0.2, 0.2)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    sparsity_targets: tuple[float, ...] = (0.03, 0.03)
    sparsity_cost: float = 0.3
    seed: int = 0


VARIANTS = {"convolutional_dbn": ConvolutionalDBNConfig()}


@keras.saving.register_keras_serializable("kapps")
class ConvolutionalDBN(FeatureLearner):
    """A greedy stack of convolutional RBMs. Codes are the highest layer's, float32 [B, rows, columns, filters].

    Args:
        data_shape: (height, width, channels).
        config: see `ConvolutionalDBNConfig`.

    Attributes:
        rbms: the layers, from below.
        code_shapes: of each layer's codes.

    Raises:
        RecipeError: settings of different lengths, or a layer that `ConvolutionalRBM` refuses.
    """

    CONFIG = ConvolutionalDBNConfig

    def __init__(self, data_shape: tuple[int, ...], config: ConvolutionalDBNConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        self._check_lengths()
        self.bounded = self.config.visible_units == "bernoulli"
        rbms: list[ConvolutionalRBM] = []
        shapes: list[tuple[int, ...]] = []
        below = self.data_shape
        for index in range(len(self.config.filters)):
            rbm = ConvolutionalRBM(self._row_shape(index, below), self._rbm_config(index), name=f"layer{index + 1}")
            rbms.append(rbm)
            below = self._whole_shape(index, below, rbm.code_shape)
            shapes.append(below)
        self.rbms, self.code_shapes = rbms, tuple(shapes)
        self.built = True

    # ---- how examples become the rows that a layer's RBM sees; a video's layers see more than one row an example

    def _row_shape(self, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one row of layer `index`, from that of an example that comes from below."""
        return shape

    def _whole_shape(self, index: int, shape: tuple[int, ...], code_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an example's codes, from that of the example and that of the codes of one row."""
        return code_shape

    def _rows(self, index: int, examples: tf.Tensor) -> tf.Tensor:
        """Examples [B, ...] as rows [B * rows an example, *row_shape]."""
        return examples

    def _whole(self, index: int, codes: tf.Tensor) -> tf.Tensor:
        """The codes of rows back to those of examples, [B, ...]."""
        return codes

    def _rbm_config(self, index: int) -> ConvolutionalRBMConfig:
        config, kernel, pool = self.config, self.config.kernels[index], self.config.pools[index]
        return ConvolutionalRBMConfig(
            filters=config.filters[index],
            kernel=(kernel, kernel),
            pool=(pool, pool),
            visible_units=config.visible_units if index == 0 else "bernoulli",
            steps=config.steps,
            learning_rate=config.learning_rates[index],
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            sparsity_target=config.sparsity_targets[index],
            sparsity_cost=config.sparsity_cost,
            seed=config.seed + index,
        )

    # ---- learning

    def fit(self, x: Any, y: Any = None, **kwargs: Any) -> list[keras.callbacks.History]:
        """Learn layer by layer: `pretrain`. Labels are not used."""
        return self.pretrain(x, **kwargs)

    def pretrain(
        self,
        x: Any,
        *,
        epochs: int | Sequence[int] = 10,
        batch_size: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        **kwargs: Any,
    ) -> list[keras.callbacks.History]:
        """Learn layer by layer from below.

        Args:
            x: numbers [N, *data_shape], or a `tf.data.Dataset` of batches of them, alone or with labels.
            epochs: of each layer, or one number for all.
            batch_size: examples a step; 50 unless given; not with a dataset.
            callbacks, kwargs: see `keras.Model.fit`; they see one layer after the other.

        Returns:
            what the layers' `fit` returned, from below.

        Raises:
            DataError: as `FeatureLearner.fit`.
        """
        each = [epochs] * len(self.rbms) if isinstance(epochs, int) else list(epochs)
        if len(each) != len(self.rbms):
            raise RecipeError(f"{type(self).__name__}: expected epochs for {len(self.rbms)} layers, got {each}")
        x = self._checked(x)
        batch_size = None if isinstance(x, tf.data.Dataset) else batch_size or 50
        histories = []
        for index, rbm in enumerate(self.rbms):
            rows = _mapped(x, partial(self._rows, index))
            sized = {} if batch_size is None else {"batch_size": batch_size * len(rows) // len(x)}
            histories.append(rbm.fit(rows, epochs=each[index], callbacks=callbacks, **sized, **kwargs))
            x = _mapped(x, partial(self._layer, index))
        return histories

    def _checked(self, x: Any) -> Any:
        """Data as an array, or a stream of batches without labels."""
        if not isinstance(x, tf.data.Dataset):
            return self.check(x)
        alone = x.map(lambda *batch: batch[0])
        for batch in alone.take(1):
            self.check(batch, least=1)
        return alone.map(lambda batch: tf.cast(tf.ensure_shape(batch, (None, *self.data_shape)), tf.float32))

    # ---- codes

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.encode_all(inputs)[-1]

    def encode_all(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        """The codes of every layer, from below, [B, *code_shapes[i]]."""
        codes = []
        for index in range(len(self.rbms)):
            inputs = self._layer(index, inputs)
            codes.append(inputs)
        return codes

    def features(self, x: Any, *, batch_size: int = 500) -> np.ndarray:
        """All layers' codes side by side, as the paper gives them to its SVM: numpy [N, sum of the codes' sizes]."""

        def flat(inputs: tf.Tensor) -> tf.Tensor:
            sizes = [int(np.prod(shape)) for shape in self.code_shapes]
            codes = zip(self.encode_all(inputs), sizes, strict=True)
            return tf.concat([tf.reshape(some, (-1, size)) for some, size in codes], axis=1)

        return self._in_batches(tf.function(flat), self.check(x, least=1), batch_size)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        for index in reversed(range(len(self.rbms))):
            shape = self.code_shapes[index - 1] if index else self.data_shape
            codes = self._down(index, codes, shape)
        return codes

    def _layer(self, index: int, examples: tf.Tensor) -> tf.Tensor:
        """Examples of layer `index` to their codes."""
        return self._whole(index, self.rbms[index].encode(self._rows(index, examples)))

    def _down(self, index: int, codes: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        """The codes of layer `index` to examples [B, *shape] of it."""
        return self.rbms[index].decode(codes)

    @property
    def components_(self) -> np.ndarray:
        """The lowest layer's kernels, float32 [filters, height, width, channels]."""
        return self.rbms[0].components_

    def _check_lengths(self) -> None:
        name, config = type(self).__name__, self.config
        lengths = {
            field: len(getattr(config, field))
            for field in ("filters", "kernels", "pools", "learning_rates", "sparsity_targets")
        }
        if len(set(lengths.values())) != 1 or not config.filters:
            told = ", ".join(f"{field} {length}" for field, length in lengths.items())
            raise RecipeError(f"{name}: expected one value a layer everywhere, got these lengths: {told}")


def _mapped(x: Any, function: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    """A function on batches of a stream, or on an array in parts."""
    if isinstance(x, tf.data.Dataset):
        return x.map(function)
    in_graph = tf.function(function, autograph=False)
    return np.concatenate([np.asarray(in_graph(x[start : start + 500])) for start in range(0, len(x), 500)])


LEARNER = ConvolutionalDBN

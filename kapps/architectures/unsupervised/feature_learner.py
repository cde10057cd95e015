"""What learns features without labels: the methods that autoencoders, dictionaries and Boltzmann machines share.

A feature learner is a Keras model whose call is its encoder, data -> codes, and whose `train_step` is its paper's own
way of learning. Callbacks, progress bars, checkpoints and streams of `tf.data` work as in any Keras model; the words
around it are scikit-learn's:

    learner = RBM((28, 28, 1), RBMConfig(hidden=500))
    learner.fit(images, epochs=10, batch_size=100)    # or a tf.data.Dataset of batches
    codes = learner.transform(images)                 # numpy [N, *code_shape]
    again = learner.inverse_transform(codes)          # numpy [N, *data_shape]
    learner.components_                               # numpy [K, *data_shape]: what each unit looks for
    learner.encoder()                                 # a functional Keras model, for export and fine-tuning

Data is float32 [N, *data_shape]; a picture's pixels are scaled to [0, 1].
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError

# Of the memory that is free, what the weights of one model may take: training holds them several times.
_MEMORY_SHARE = 0.2

# Bytes; memory that begins at a multiple of them can become a tensor without being copied.
_ALIGNMENT = 64

# What resizing a picture may put a pixel outside [0, 1].
_ROUNDING = 1e-5


class FeatureLearner(keras.Model):
    """Base of everything that learns features without labels.

    A subclass names its configuration's class as `CONFIG`, makes its weights in `__init__` (so that they can be loaded
    and saved at once), and gives `encode`, `decode`, `train_step` and `components_`. It compiles itself with what
    `default_optimizer` gives when `fit` is called on a learner that was not compiled.

    Args:
        data_shape: of one example, without the batch, e.g. `(784,)` or `(28, 28, 1)`.
        config: the learner's configuration; None = all defaults.

    Attributes:
        bounded: data must lie in [0, 1]; set by subclasses, also by their configuration.
    """

    CONFIG: ClassVar[type]
    optimizer: Any

    def __init__(self, data_shape: tuple[int, ...], config: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_shape = tuple(int(size) for size in data_shape)
        if not self.data_shape or min(self.data_shape) < 1:
            raise RecipeError(
                f"{type(self).__name__}: expected the shape of one example, e.g. (784,), got {data_shape!r}"
            )
        self.config = self.CONFIG() if config is None else config
        self.bounded = False

    # ---- what a subclass gives

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """Data float32 [B, *data_shape] -> codes float32 [B, *code_shape]."""
        raise NotImplementedError

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """Codes float32 [B, *code_shape] -> data float32 [B, *data_shape]."""
        raise NotImplementedError

    @property
    def components_(self) -> np.ndarray:
        """What each unit looks for, float32 [K, *data_shape]."""
        raise NotImplementedError

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """What learns where `fit` comes without `compile`."""
        return keras.optimizers.Adam(1e-3)

    def encoder(self) -> keras.Model:
        """The way from data to codes as a functional model that shares these weights.

        Its input is called `image` where `data_shape` is that of an image.
        """
        inputs = keras.Input(self.data_shape, name="image" if len(self.data_shape) == 3 else "data")
        return keras.Model(inputs, self(inputs), name=f"{self.name}_encoder")

    # ---- what all have

    @property
    def n_features_in_(self) -> int:
        """The numbers in one example."""
        return int(np.prod(self.data_shape))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.encode(inputs)

    def fit(self, x: Any, y: Any = None, *, batch_size: int | None = None, epochs: int = 1, **kwargs: Any) -> Any:
        """Learn from data, as `keras.Model.fit` does.

        Args:
            x: numbers [N, *data_shape], or a `tf.data.Dataset` of batches of them, alone or with labels.
            y: labels where the learner takes some, else None.
            batch_size: examples a step; 100 unless given; not with a dataset.
            epochs, kwargs: see `keras.Model.fit`.

        Raises:
            DataError: fewer than two examples, another shape, numbers that are not finite or outside [0, 1] where they
                must not be. Of a dataset only the first batch is looked at.
        """
        if not self.compiled:
            self.compile(optimizer=self.default_optimizer())
        if isinstance(x, tf.data.Dataset):
            for batch in x.take(1):
                self.check(batch[0] if isinstance(batch, tuple) else batch, least=1)
        else:
            x = self.check(x)
            batch_size = batch_size or 100
        return super().fit(x, y, batch_size=batch_size, epochs=epochs, **kwargs)

    def forget_optimizer(self) -> None:
        """Drop what learned: its memory is as large as the weights, or twice, and a finished learner, also in a file,
        has no use for it. `fit` makes a new one.
        """
        self.optimizer, self.compiled, self.train_function = None, False, None

    def transform(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The codes of data: float32 [N, *code_shape].

        Raises:
            DataError: as in `fit`; a single example is enough here.
        """
        return self._in_batches(tf.function(self.encode), self.check(x, least=1), batch_size)

    def inverse_transform(self, codes: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The data that codes stand for: float32 [N, *data_shape]."""
        return self._in_batches(tf.function(self.decode), np.asarray(codes, "float32"), batch_size)

    def check(self, x: Any, *, least: int = 2) -> np.ndarray:
        """Data as float32 [N, *data_shape], or an error that says what is wrong with it.

        Args:
            least: fewer examples are refused.

        Raises:
            DataError: see `fit`.
        """
        name = type(self).__name__
        data = np.asarray(x)
        if data.dtype.kind not in "fiub":
            raise DataError(f"{name}: expected numbers, got {data.dtype}: convert the data to float32 first")
        if data.shape[1:] != self.data_shape:
            expected = ", ".join(["N", *map(str, self.data_shape)])
            raise DataError(
                f"{name}: expected data [{expected}], got {list(data.shape)}: reshape it, or make a model "
                f"for this shape"
            )
        if len(data) < least:
            raise DataError(f"{name}: expected at least {least} examples to learn from, got {len(data)}")
        low, high = float(data.min()), float(data.max())
        if not np.isfinite([low, high]).all():
            bad = int((~np.isfinite(data.reshape(len(data), -1)).all(1)).sum())
            raise DataError(
                f"{name}: expected finite numbers, got NaN or infinity in {bad} of {len(data)} examples: leave them out"
            )
        if self.bounded and (low < -_ROUNDING or high > 1 + _ROUNDING):
            raise DataError(f"{name}: expected numbers from 0 to 1, got {low:.4g} to {high:.4g}: scale the data first")
        data = data if data.dtype == np.float32 else aligned_float32(data)
        return data.clip(0, 1) if self.bounded and (low < 0 or high > 1) else data

    def check_memory(self, weights: int) -> None:
        """Refuse a model that this machine cannot hold, before anything is made.

        Args:
            weights: how many numbers the model is about to have.

        Raises:
            RecipeError: they take more than a fifth of the memory: training holds them several times.
        """
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if 4 * weights > _MEMORY_SHARE * memory:
            raise RecipeError(
                f"{type(self).__name__}: expected at most {_MEMORY_SHARE * memory / 4:,.0f} weights on a machine with "
                f"{memory / 2**30:.1f} GB, got {weights:,}: take fewer components"
            )

    def get_config(self) -> dict[str, Any]:
        return {
            "data_shape": list(self.data_shape),
            "config": dataclasses.asdict(self.config),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FeatureLearner:
        config = dict(config)
        values = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config.pop("config").items()
        }
        return cls(tuple(config.pop("data_shape")), cls.CONFIG(**values), **config)

    @staticmethod
    def _in_batches(function: Any, data: np.ndarray, batch_size: int) -> np.ndarray:
        parts = [function(data[start : start + batch_size]).numpy() for start in range(0, len(data), batch_size)]
        return np.concatenate(parts)


def aligned_float32(data: np.ndarray) -> np.ndarray:
    """A copy, float32, in memory that TensorFlow can take for a tensor as it is."""
    room = np.empty(4 * data.size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copied = room[start : start + 4 * data.size].view(np.float32).reshape(data.shape)
    np.copyto(copied, data, casting="unsafe")
    return copied


def is_aligned(data: np.ndarray) -> bool:
    """Whether an array's memory can be a tensor's."""
    return data.flags.c_contiguous and data.ctypes.data % _ALIGNMENT == 0

"""A data set: examples that are read when they are needed, with what must be known about them.

An example is `(input, label)`: a uint8 image `[H, W, C]`, an int16 recording `[n]`, or any numeric array, with an int64
label, or one for every pixel, `[H, W]`. `Dataset.batches` turns examples into the float batches that a model takes.

Two ways lead there. A set that fits into memory is decoded once into one uint8 array; an epoch is then a permutation of
its rows, and scaling is done on whole batches. A larger set is streamed: records (paths, encoded bytes, numbers) are
shuffled while they are still small, then decoded in parallel.

Either way the order of epoch k depends on the seed and k alone. A run that was killed in epoch k asks for
`start_epoch=k` and goes on exactly as it would have.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError
from kapps.streams import untuned

# A set whose decoded examples take more memory than this is streamed.
CACHE_LIMIT_BYTES = 2**30

# Batches in which examples are collected or preprocessed outside training; only speed depends on it.
_COLLECT_BATCH = 256


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split of a data set.

    Attributes:
        records: what is cheap to hold and to shuffle, in a fixed order: paths, encoded bytes, numbers, or whole
            examples.
        decode: turns one record into `(input, label)`; None where the records are the examples.
        num_examples: how many; None where nobody knows before reading.
        input_shape: of one input without the batch; None for a dimension that varies.
        class_names: the names, index = label.
        name: what the set is called, e.g. `"mnist"`.
        split: which part, as it was asked for, e.g. `"train[:55000]"`.
        source: where it comes from, for a model's card.
        licence: of the data, for a model's card.
        kind: `"image"` (uint8 `[H, W, C]`), `"audio"` (int16 `[n]`) or `"array"` (anything else, given to the model as
            it is).
        sample_rate: of audio, in hertz; None otherwise.
        shuffle_buffer: how many records a streamed shuffle holds at once; None for all of them.
        notes: what the reader left out or decided, one line each.
    """

    records: tf.data.Dataset
    decode: Callable[..., tuple[Any, Any]] | None
    num_examples: int | None
    input_shape: tuple[int | None, ...]
    class_names: tuple[str, ...]
    name: str
    split: str
    source: str
    licence: str
    kind: Literal["image", "audio", "array"] = "image"
    sample_rate: int | None = None
    shuffle_buffer: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def examples(self) -> tf.data.Dataset:
        """Unbatched `(input, label)` in the set's own order."""
        return self._decoded(self.records)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Of one label: () for a class, (H, W) for the class of every pixel."""
        return tuple(self.examples.element_spec[1].shape)

    def take(self, count: int) -> Dataset:
        """The first `count` examples."""
        if count < 1:
            raise DataError(f"expected to take at least 1 example of {self.name}, got {count}")
        left = count if self.num_examples is None else min(count, self.num_examples)
        return dataclasses.replace(self, records=self.records.take(count), num_examples=left)

    def map(self, function: Callable[[Any, Any], tuple[Any, Any]]) -> Dataset:
        """The set with `function(input, label) -> (input, label)` applied to every example, in graph mode."""
        decode = self.decode
        if decode is None:
            composed = function
        else:

            def composed(*record):
                return function(*decode(*record))

        changed = dataclasses.replace(self, decode=composed)
        return dataclasses.replace(changed, input_shape=tuple(changed.examples.element_spec[0].shape))

    def batches(
        self,
        batch_size: int,
        *,
        preprocessing: Preprocessing | None = None,
        shuffle_seed: int | None = None,
        cache: bool = True,
        drop_remainder: bool = False,
        augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
        start_epoch: int = 0,
    ) -> tf.data.Dataset:
        """Batches for a model, prefetched: inputs float32 `[B, ...]`, labels int64 `[B]` or
        `[B, H, W]`.

        Args:
            batch_size: examples in a batch; the last one of an epoch may be smaller.
            preprocessing: for images. Without it, the inputs are only cast: pixels stay 0..255, and images must be of
                one size. Audio becomes -1..1 and is padded with zeros to the longest recording of the batch.
            shuffle_seed: None keeps the set's order. Otherwise the whole set is shuffled, anew for every pass over the
                returned data set: pass k takes epoch `start_epoch + k`, whose order depends on the seed and on the
                epoch's number alone. A set that is streamed is shuffled through a buffer of `shuffle_buffer` records.
            cache: keep decoded examples in memory where they take at most `CACHE_LIMIT_BYTES`. Preprocessing that only
                scales is done on batches; preprocessing that resamples is done once.
            drop_remainder: leave a smaller last batch out.
            augment: `images float32 [B, h, w, c] -> the same shape`, after preprocessing; called on one batch after the
                other in order, so a seeded generator inside it stays repeatable.
            start_epoch: the number of the first epoch; give the number of finished epochs when a run is resumed.

        Raises:
            DataError: images of different sizes without a preprocessing, a preprocessing for what is not an image, or
                one that would move pixels from under their labels.
        """
        if batch_size < 1:
            raise DataError(f"expected a batch size of at least 1, got {batch_size}")
        if preprocessing is not None and self.kind != "image":
            raise DataError(
                f"expected images (uint8) for a preprocessing, {self.name} is of the kind {self.kind!r}: "
                "leave the preprocessing out or give images with pixels 0..255 as uint8"
            )
        if preprocessing is None and self.kind == "image" and None in self.input_shape:
            raise DataError(
                f"images of {self.name} differ in size ({self.input_shape}): give a preprocessing with a size"
            )

        if preprocessing is not None and self.label_shape and not preprocessing.is_pointwise(self.input_shape):
            raise DataError(
                f"expected the preprocessing to keep the size {self.input_shape[:2]} of {self.name}, whose pixels have "
                f"labels, got size={preprocessing.size} and fit={preprocessing.fit!r}: give that size and fit='stretch'"
            )

        memory = self._in_memory(preprocessing) if cache else None
        if memory is not None:
            batched = self._memory_batches(
                *memory, batch_size, preprocessing, shuffle_seed, start_epoch, drop_remainder
            )
        else:
            batched = self._streamed_batches(batch_size, preprocessing, shuffle_seed, start_epoch, drop_remainder)
        if augment is not None:
            batched = batched.map(lambda inputs, labels: (augment(inputs), labels))
        if self.num_examples is not None:
            rounded = math.floor if drop_remainder else math.ceil
            batched = batched.apply(tf.data.experimental.assert_cardinality(rounded(self.num_examples / batch_size)))
        return untuned(batched.prefetch(2))

    # In memory ------------------------------------------------------------------------------------------------------

    @cached_property
    def _raw(self) -> tuple[tf.Tensor, tf.Tensor]:
        """All raw inputs and labels. Read once, however many pipelines are built on this object."""
        return _collect(self.examples.batch(_COLLECT_BATCH), self.num_examples, self.name)

    def _in_memory(self, preprocessing: Preprocessing | None) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Inputs and labels to keep, as far as they may be prepared once; None where they do not fit."""
        if self.num_examples is None:
            return None
        if preprocessing is None or preprocessing.is_pointwise(self.input_shape):
            if None in self.input_shape or not self._fits(self.input_shape, self.examples.element_spec[0].dtype.size):
                return None
            return self._raw
        if not self._fits((*preprocessing.size, preprocessing.channels), itemsize=4):
            return None
        if None in self.input_shape:  # different sizes: resized one by one
            prepared = self.examples.map(lambda x, y: (preprocessing(x), y), tf.data.AUTOTUNE).batch(_COLLECT_BATCH)
        else:
            prepared = self.examples.batch(_COLLECT_BATCH)
            prepared = prepared.map(lambda x, y: (preprocessing.batch(x), y), tf.data.AUTOTUNE)
        return _collect(prepared, self.num_examples, self.name)

    def _fits(self, shape: tuple[int | None, ...], itemsize: int) -> bool:
        return self.num_examples * math.prod(shape) * itemsize <= CACHE_LIMIT_BYTES

    def _memory_batches(
        self,
        inputs: tf.Tensor,
        labels: tf.Tensor,
        batch_size: int,
        preprocessing: Preprocessing | None,
        shuffle_seed: int | None,
        start_epoch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        # Preprocessing that resamples is already done, and its results are float32.
        scale = preprocessing.batch if preprocessing is not None and inputs.dtype == tf.uint8 else self._cast
        count = len(labels)
        if shuffle_seed is None:
            rows = tf.data.Dataset.range(count)
        else:
            orders = every_epoch(
                lambda epoch: np.random.default_rng((shuffle_seed, epoch)).permutation(count),
                tf.TensorSpec([count], tf.int64),
                start_epoch,
            )
            rows = orders.flat_map(tf.data.Dataset.from_tensor_slices)
        return rows.batch(batch_size, drop_remainder).map(
            lambda index: (scale(tf.gather(inputs, index)), tf.gather(labels, index)), tf.data.AUTOTUNE
        )

    # Streamed -------------------------------------------------------------------------------------------------------

    def _streamed_batches(
        self,
        batch_size: int,
        preprocessing: Preprocessing | None,
        shuffle_seed: int | None,
        start_epoch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        records = self.records
        if shuffle_seed is not None:
            buffer = self.shuffle_buffer or self.num_examples or 10_000
            seeds = every_epoch(
                lambda epoch: np.random.SeedSequence((shuffle_seed, epoch)).generate_state(1)[0].astype(np.int64),
                tf.TensorSpec([], tf.int64),
                start_epoch,
            )

            records = seeds.flat_map(lambda seed: shuffled(self.records, buffer, seed))
        examples = self._decoded(records)
        if self.kind == "audio":
            shapes = (self.input_shape, ())
            return examples.padded_batch(batch_size, shapes, drop_remainder=drop_remainder).map(
                lambda inputs, labels: (self._cast(inputs), labels), tf.data.AUTOTUNE
            )
        if preprocessing is not None and not preprocessing.is_pointwise(self.input_shape):
            examples = examples.map(lambda x, y: (preprocessing(x), y), tf.data.AUTOTUNE)
            return examples.batch(batch_size, drop_remainder)
        scale = self._cast if preprocessing is None else preprocessing.batch
        return examples.batch(batch_size, drop_remainder).map(lambda x, y: (scale(x), y), tf.data.AUTOTUNE)

    def _decoded(self, records: tf.data.Dataset) -> tf.data.Dataset:
        return records if self.decode is None else records.map(self.decode, tf.data.AUTOTUNE)

    def _cast(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs = tf.cast(inputs, tf.float32)
        return inputs / 32768.0 if self.kind == "audio" else inputs


def every_epoch(value: Callable[[int], Any], spec: tf.TensorSpec, start_epoch: int) -> tf.data.Dataset:
    """A data set of one element, `value(epoch)`; every pass over it takes the next epoch.

    The counter lives in Python, so nothing depends on TensorFlow's global seed or on how often it has been used.
    """
    epochs = itertools.count(start_epoch)

    def one() -> Iterator[Any]:
        yield value(next(epochs))

    return tf.data.Dataset.from_generator(one, output_signature=spec)


def shuffled(records: tf.data.Dataset, buffer: int, seed: tf.Tensor) -> tf.data.Dataset:
    """`records` in an order that follows from `seed` alone, an int64 scalar; for a function that `flat_map` takes."""
    # TensorFlow mixes the process's global seed in, and stumbles over 0; the order shall follow from ours.
    tf.compat.v1.get_default_graph().seed = 1
    return records.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)


def _collect(batches: tf.data.Dataset, count: int, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """All batches of `(inputs, labels)` as two tensors."""
    spec, label_spec = batches.element_spec
    inputs = np.empty((count, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
    labels = np.empty((count, *label_spec.shape[1:]), np.int64)
    filled = 0
    try:
        for some_inputs, some_labels in batches.as_numpy_iterator():
            end = filled + len(some_labels)
            inputs[filled:end], labels[filled:end] = some_inputs, some_labels
            filled = end
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\}", "", error.message).strip().splitlines()[0]
        raise DataError(
            f"{name} cannot be read beyond {filled} examples ({reason}): mend or remove what is damaged"
        ) from error
    if filled != count:
        raise DataError(f"expected {count} examples in {name}, it ended after {filled}: prepare it again")
    return tf.constant(inputs), tf.constant(labels)

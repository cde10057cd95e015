from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from kapps.data import Dataset, Preprocessing, dataset, load
from kapps.errors import DataError

COUNT = 25


def numbered(shape: tuple[int, ...] = (4, 4, 1), count: int = COUNT) -> Dataset:
    """Example i is an image full of i, with the label i."""
    labels = np.arange(count)
    images = np.broadcast_to(labels.reshape(-1, *[1] * len(shape)), (count, *shape)).astype(np.uint8)
    return load((images, labels))


def labels_of(batches: tf.data.Dataset) -> list[int]:
    return [int(label) for _, labels in batches for label in labels]


def test_batches_give_floats_and_all_examples():
    batches = numbered().batches(10)
    assert int(batches.cardinality()) == 3
    sizes = []
    for inputs, labels in batches:
        assert inputs.dtype == tf.float32
        assert labels.dtype == tf.int64
        np.testing.assert_array_equal(inputs[:, 0, 0, 0], labels)  # pixels stay 0..255
        sizes.append(inputs.shape[0])
    assert sizes == [10, 10, 5]
    dropped = numbered().batches(10, drop_remainder=True)
    assert int(dropped.cardinality()) == len(list(dropped)) == 2
    assert dropped.element_spec[0].shape == (10, 4, 4, 1)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("size", [(4, 4), (6, 5)])
def test_memory_and_stream_give_the_same_numbers(cache, size):
    preprocessing = Preprocessing(size, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    data = numbered()
    expected = np.stack([preprocessing(image) for image, _ in data.examples])
    batches = data.batches(8, preprocessing=preprocessing, cache=cache)
    assert batches.element_spec[0].shape == (None, *size, 3)
    np.testing.assert_allclose(np.concatenate([inputs for inputs, _ in batches]), expected, atol=1e-6)


@pytest.mark.parametrize("cache", [True, False])
def test_the_order_is_a_function_of_seed_and_epoch(cache):
    def epochs(seed: int, start: int, count: int) -> list[list[int]]:
        batches = numbered().batches(10, shuffle_seed=seed, cache=cache, start_epoch=start)
        return [labels_of(batches) for _ in range(count)]

    first = epochs(seed=3, start=0, count=3)
    for order in first:
        assert sorted(order) == list(range(COUNT))  # a permutation of the whole set
    assert len(set(map(tuple, first))) == 3  # anew in every epoch
    assert epochs(3, 0, 3) == first  # repeatable
    tf.random.uniform([])  # TensorFlow's own generator does not matter
    assert epochs(3, 2, 1) == first[2:]  # a resumed run goes on where it would have
    assert epochs(4, 0, 1) != first[:1]


@pytest.mark.parametrize("cache", [True, False])
def test_repeat_walks_through_the_epochs(cache):
    def batches(start: int) -> tf.data.Dataset:
        return numbered().batches(10, shuffle_seed=3, cache=cache, start_epoch=start)

    repeated = list(itertools.islice(labels_of(batches(0).repeat().take(6)), 2 * COUNT))
    assert repeated == labels_of(batches(0)) + labels_of(batches(1))


def test_examples_are_decoded_once_when_cached():
    calls = []

    def spy(image, label):
        tf.py_function(lambda: calls.append(1), [], [])
        return image, label

    data = numbered().map(spy)
    for _ in data.batches(5, shuffle_seed=0):
        pass
    for _ in data.batches(5, shuffle_seed=1):
        pass
    assert len(calls) == COUNT
    for _ in data.batches(5, cache=False):
        pass
    assert len(calls) == 2 * COUNT


def test_what_does_not_fit_into_memory_is_streamed(monkeypatch):
    data = numbered()
    monkeypatch.setattr(dataset, "CACHE_LIMIT_BYTES", COUNT * 16)
    assert data._in_memory(None) is not None
    assert data._in_memory(Preprocessing((8, 8))) is None  # float32 after resizing
    monkeypatch.setattr(dataset, "CACHE_LIMIT_BYTES", COUNT * 16 - 1)
    assert data._in_memory(None) is None
    assert sorted(labels_of(data.batches(10, shuffle_seed=0))) == list(range(COUNT))


def test_take_and_map():
    data = numbered().take(7)
    assert data.num_examples == 7
    assert labels_of(data.batches(4)) == list(range(7))
    assert numbered().take(1000).num_examples == COUNT
    wide = (
        numbered().map(lambda image, label: (tf.concat([image, image], axis=1), label + 1)).map(lambda x, y: (x, y + 1))
    )
    assert wide.input_shape == (4, 8, 1)
    assert labels_of(wide.take(2).batches(2)) == [2, 3]


def test_augment_sees_preprocessed_batches():
    seen = []

    def augment(images):
        seen.append(tuple(images.shape))
        return images + 1000

    batches = numbered().batches(10, preprocessing=Preprocessing((4, 4), channels=1, scale=1.0), augment=augment)
    inputs, labels = next(iter(batches))
    np.testing.assert_allclose(inputs[:, 0, 0, 0], labels.numpy() + 1000.0)
    assert seen == [(None, 4, 4, 1)]


def test_recordings_of_different_lengths_are_padded():
    records = tf.data.Dataset.from_tensor_slices((tf.constant([1, 3], tf.int64), tf.constant([0, 1], tf.int64)))
    data = Dataset(
        records=records,
        decode=lambda length, label: (tf.cast(tf.fill([length], -16384), tf.int16), label),
        num_examples=2,
        input_shape=(None,),
        class_names=("a", "b"),
        name="sounds",
        split="train",
        source="",
        licence="",
        kind="audio",
    )
    inputs, labels = next(iter(data.batches(2)))
    np.testing.assert_array_equal(inputs, [[-0.5, 0, 0], [-0.5, -0.5, -0.5]])
    assert labels.numpy().tolist() == [0, 1]
    with pytest.raises(DataError, match="expected images"):
        data.batches(2, preprocessing=Preprocessing((4, 4)))


def test_a_set_of_unknown_size():
    data = dataclasses.replace(numbered(), num_examples=None)
    assert sorted(labels_of(data.batches(10, shuffle_seed=0))) == list(range(COUNT))


def test_a_set_that_ends_early_is_named():
    with pytest.raises(DataError, match="expected 30 examples in arrays, it ended after 25"):
        dataclasses.replace(numbered(), num_examples=30).batches(10)


def test_damage_found_while_reading_is_one_line(tmp_path, encodings):
    data = bytearray(encodings["png rgb"])
    data[200:260] = bytes(60)  # inside the pixels, where opening the folder does not look
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(encodings["png rgb"])
    (tmp_path / "a" / "damaged.png").write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read beyond 0 examples .*damaged") as error:
        load(tmp_path, "train+test").batches(2)
    assert "\n" not in str(error.value)


def test_bad_arguments():
    with pytest.raises(DataError, match="batch size of at least 1, got 0"):
        numbered().batches(0)
    with pytest.raises(DataError, match="take at least 1"):
        numbered().take(0)
    with pytest.raises(DataError, match="differ in size"):
        dataclasses.replace(numbered(), input_shape=(None, None, 1)).batches(3)


@pytest.mark.parametrize("cache", [True, False])
def test_the_order_does_not_follow_tensorflows_global_seed(cache):
    """A global seed of 0, which `keras.utils.set_random_seed(0)` sets, made a streamed shuffle fail."""
    orders = []
    for global_seed in (0, 5):
        tf.random.set_seed(global_seed)
        data = load((np.arange(40, dtype=np.float32)[:, np.newaxis], np.arange(40) % 2))
        batches = data.batches(8, shuffle_seed=3, cache=cache)
        orders.append(np.concatenate([inputs.ravel() for inputs, _ in batches.as_numpy_iterator()]).tolist())
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])

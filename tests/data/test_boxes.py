from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kapps.data import BoxDataset, Dataset, load, load_boxes
from kapps.data.boxes import Mending
from kapps.errors import DataError, UnknownNameError

COUNT = 25


def numbered(count: int = COUNT, most_boxes: int = 3) -> BoxDataset:
    """Image i is 6x8 and full of i; it has i modulo `most_boxes` boxes of the class i, each (1, 2, 3, 5)."""

    def decode(number: tf.Tensor):
        boxes = number % most_boxes
        classes = tf.fill([boxes], tf.cast(number, tf.int32))
        no = tf.zeros_like(classes, tf.bool)
        targets = {
            "boxes": tf.tile([[1.0, 2.0, 3.0, 5.0]], [boxes, 1]),
            "classes": classes,
            "crowd": no,
            "difficult": no,
            "areas": tf.fill([boxes], 6.0),
        }
        return tf.fill([6, 8, 3], tf.cast(number, tf.uint8)), targets

    return BoxDataset(
        records=tf.data.Dataset.range(count),
        decode=decode,
        num_examples=count,
        class_names=tuple(map(str, range(count))),
        name="numbers",
        split="train",
        source="a test",
        licence="none",
    )


def whole(*examples: tuple[np.ndarray, dict]) -> BoxDataset:
    """A set of these examples, without decoding."""
    types = {"boxes": np.float32, "classes": np.int32, "crowd": bool, "difficult": bool, "areas": np.float32}

    def one_by_one():
        for image, targets in examples:
            yield image, {key: np.array(targets[key], dtype) for key, dtype in types.items()}

    spec = {key: tf.TensorSpec([None, 4] if key == "boxes" else [None], dtype) for key, dtype in types.items()}
    return dataclasses.replace(
        numbered(),
        records=tf.data.Dataset.from_generator(
            one_by_one, output_signature=(tf.TensorSpec([None, None, 3], tf.uint8), spec)
        ),
        decode=None,
        num_examples=len(examples),
    )


def as_it_is(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(image, tf.float32), tf.cast(tf.shape(image)[:2], tf.float32)


def order_of(batches: tf.data.Dataset) -> list[int]:
    return [int(image[0, 0, 0]) for inputs, _ in batches for image in inputs["image"]]


def test_a_batch_by_hand():
    first = (
        np.full((10, 20, 3), 7, np.uint8),
        {
            "boxes": [[2, 1, 6, 9], [0, 0, 20, 10], [1, 1, 2, 2], [4, 4, 8, 8]],
            "classes": [3, 1, 0, 2],
            "crowd": [False, True, False, False],
            "difficult": [False, False, True, False],
            "areas": [32, 200, 1, 16],
        },
    )
    none = {"boxes": np.zeros((0, 4)), "classes": [], "crowd": [], "difficult": [], "areas": []}
    second = (np.full((6, 30, 3), 9, np.uint8), none)

    def prepare(image):
        """Twice as high, three times as wide, and a margin of 2 that is not the image."""
        size = tf.shape(image)[:2] * [2, 3]
        large = tf.image.resize(image, size, "nearest")
        return tf.pad(tf.cast(large, tf.float32), [[0, 2], [0, 2], [0, 0]], constant_values=1), tf.cast(
            size, tf.float32
        )

    ((inputs, targets),) = whole(first, second).batches(2, prepare)
    assert inputs["image"].shape == (2, 22, 92, 3)
    assert inputs["sizes"].numpy().tolist() == [[20, 60], [12, 90]]
    np.testing.assert_array_equal(inputs["image"][0, :20, :60], 7)
    np.testing.assert_array_equal(inputs["image"][0, :, 62:], 0)
    np.testing.assert_array_equal(inputs["image"][1, 14:], 0)
    # The crowd and the difficult one are not learned from.
    assert targets["boxes"].numpy().tolist() == [[[6, 2, 18, 18], [12, 8, 24, 16]], [[0, 0, 0, 0]] * 2]
    assert targets["classes"].numpy().tolist() == [[3, 2], [0, 0]]
    assert targets["valid"].numpy().tolist() == [[True, True], [False, False]]
    assert {key: value.dtype for key, value in targets.items()} == {
        "boxes": tf.float32,
        "classes": tf.int32,
        "valid": tf.bool,
    }


def test_no_box_in_a_whole_batch():
    data = numbered(4, most_boxes=1)
    ((inputs, targets),) = data.batches(4, as_it_is)
    assert inputs["image"].shape == (4, 6, 8, 3)
    assert targets["boxes"].shape == (4, 0, 4)
    assert targets["classes"].shape == targets["valid"].shape == (4, 0)


def test_all_examples_come_once():
    batches = numbered().batches(10, as_it_is)
    assert int(batches.cardinality()) == 3
    assert order_of(batches) == list(range(COUNT))
    dropped = numbered().batches(10, as_it_is, drop_remainder=True)
    assert int(dropped.cardinality()) == len(list(dropped)) == 2
    assert dropped.element_spec[0]["image"].shape[0] == 10
    for inputs, targets in numbered().batches(10, as_it_is, shuffle_seed=0):
        for image, classes, valid in zip(inputs["image"], targets["classes"], targets["valid"], strict=True):
            number = int(image[0, 0, 0])
            assert classes[valid].numpy().tolist() == [number] * (number % 3)


def test_the_order_is_a_function_of_seed_and_epoch():
    def epochs(seed: int, start: int, count: int) -> list[list[int]]:
        batches = numbered().batches(10, as_it_is, shuffle_seed=seed, start_epoch=start)
        return [order_of(batches) for _ in range(count)]

    first = epochs(seed=3, start=0, count=2)
    for order in first:
        assert sorted(order) == list(range(COUNT))
    assert first[0] != first[1]
    tf.random.set_seed(5)  # TensorFlow's own generator does not matter
    assert epochs(3, 0, 1) == first[:1]
    assert epochs(3, 1, 1) == first[1:]  # a resumed run goes on where it would have
    assert epochs(4, 0, 1) != first[:1]
    # It is the order in which a set of labels with as many records is streamed.
    labels = Dataset(
        records=tf.data.Dataset.range(COUNT).map(lambda number: (tf.cast(number, tf.float32), number)),
        decode=None,
        num_examples=COUNT,
        input_shape=(),
        class_names=tuple(map(str, range(COUNT))),
        name="labels",
        split="train",
        source="",
        licence="",
        kind="array",
    )
    streamed = labels.batches(10, shuffle_seed=3, cache=False)
    assert [int(label) for _, numbers in streamed for label in numbers] == first[0]


def test_repeat_walks_through_the_epochs():
    def batches(start: int) -> tf.data.Dataset:
        return numbered().batches(10, as_it_is, shuffle_seed=3, start_epoch=start)

    assert order_of(batches(0).repeat().take(6)) == order_of(batches(0)) + order_of(batches(1))


def test_augment_draws_from_seed_epoch_and_place():
    def augment(image, boxes, classes, seed):
        """An image of two numbers in turn, its own and a drawn colour; without the first box."""
        drawn = tf.random.stateless_uniform([1, 1, 3], seed, 0, 256, tf.int32)
        row = tf.concat([image[:1, :1], tf.cast(drawn, tf.uint8)], axis=1)
        return tf.tile(row, [3, 2, 1]), boxes[1:], classes[1:]

    def drawn(start: int, passes: int, seed: int = 3) -> list[dict[int, tuple[int, ...]]]:
        batches = numbered().batches(4, as_it_is, shuffle_seed=seed, start_epoch=start, augment=augment)
        return [
            {int(image[0, 0, 0]): tuple(image[0, 1].numpy()) for inputs, _ in batches for image in inputs["image"]}
            for _ in range(passes)
        ]

    first, second = drawn(0, 2)
    assert len(set(first.values())) == COUNT  # every image its own
    assert first != second
    assert drawn(1, 1) == [second]
    assert drawn(0, 1, seed=4) != [first]
    # Boxes are those that augment leaves, scaled by the size of its image.
    for inputs, targets in numbered().batches(4, as_it_is, shuffle_seed=3, augment=augment):
        assert inputs["image"].shape[1:] == (3, 4, 3)
        for image, valid in zip(inputs["image"], targets["valid"], strict=True):
            assert int(tf.reduce_sum(tf.cast(valid, tf.int32))) == max(int(image[0, 0, 0]) % 3 - 1, 0)


def test_images_are_read_when_they_are_needed():
    read = []

    def decode(number):
        tf.py_function(lambda: read.append(1), [], [])
        return numbered().decode(number)

    data = dataclasses.replace(numbered(2000), decode=decode)
    next(iter(data.batches(2, as_it_is, shuffle_seed=0)))
    assert 2 <= len(read) < 1000


def test_take_and_unknown_size():
    data = numbered().take(7)
    assert (data.num_examples, data.num_classes) == (7, COUNT)
    assert order_of(data.batches(4, as_it_is)) == list(range(7))
    assert numbered().take(1000).num_examples == COUNT
    unknown = dataclasses.replace(numbered(), num_examples=None)
    assert sorted(order_of(unknown.batches(10, as_it_is, shuffle_seed=0))) == list(range(COUNT))


def test_bad_arguments():
    with pytest.raises(DataError, match="batch size of at least 1, got 0"):
        numbered().batches(0, as_it_is)
    with pytest.raises(DataError, match="take at least 1"):
        numbered().take(0)
    with pytest.raises(DataError, match="expected a shuffle_seed with augment"):
        numbered().batches(2, as_it_is, augment=lambda *parts: parts[:3])


def test_mending_by_hand():
    mending = Mending()
    boxes, kept = mending(
        np.array([[1, 2, 3, 4], [-5, -1, 3, 4], [8, 2, 8, 4], [20, 2, 30, 4], [9, 5, 30, 99], [0, 0, 10.004, 6]]),
        (6, 10),
        [f"line {number}" for number in range(6)],
    )
    assert kept.tolist() == [True, True, False, False, True, True]
    assert boxes[kept].tolist() == [[1, 2, 3, 4], [0, 0, 3, 4], [9, 5, 10, 6], [0, 0, 10, 6]]
    assert boxes.dtype == np.float32
    assert mending.notes() == [
        "clipped 2 boxes that reached over the border of their image",
        "left out 2 boxes without area in their image, first line 2",
    ]
    empty, none = Mending()(np.zeros((0, 4)), (6, 10), [])
    assert empty.shape == (0, 4)
    assert none.shape == (0,)
    assert Mending().notes() == []


def test_what_is_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for source, message in (
        ("photos", "expected Annotations/.* in photos, found neither"),
        ("./nowhere", "found no folder"),
        ("nothing.json", "expected a COCO file at nothing.json, found nothing"),
        (3, "got int"),
    ):
        with pytest.raises(DataError, match=message) as error:
            load_boxes(source)
        assert "\n" not in str(error.value)
    with pytest.raises(UnknownNameError, match="did you mean 'scene_boxes'"):
        load_boxes("scene_box", data_dir=tmp_path)
    with pytest.raises(DataError, match="voc/2007 is not prepared under"):
        load_boxes("voc/2007", data_dir=tmp_path)


@pytest.mark.parametrize("classes", [(), "cat", ("cat", "cat"), ("cat", ""), ("cat", 3)])
def test_wrong_class_names(classes):
    with pytest.raises(DataError, match="expected classes as different names"):
        load_boxes("photos", classes=classes)


def test_sets_that_name_their_own_classes(tmp_path):
    with pytest.raises(DataError, match="expected the classes a, b, scene_boxes has circle"):
        load_boxes("scene_boxes", data_dir=tmp_path, classes=("a", "b"))
    names = load_boxes("scene_boxes", "test[:1]").class_names
    assert load_boxes("scene_boxes", "test[:1]", classes=names).class_names == names


def test_sets_of_boxes_are_no_sets_of_labels():
    for source in ("scene_boxes", "instances.json"):
        with pytest.raises(DataError, match=r"holds boxes.* kapps.data.load_boxes"):
            load(source)

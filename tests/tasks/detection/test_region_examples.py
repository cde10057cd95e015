from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import DataError
from kapps.tasks.detection.region_examples import RegionExamples, regions_of

TRUTHS = np.float32([[0, 0, 10, 10], [20, 0, 30, 10]])
PROPOSALS = np.float32([[0, 0, 10, 5], [20, 5, 30, 10], [0, 2, 10, 10], [40, 40, 50, 50]])


def test_regions_by_hand():
    regions = regions_of(TRUTHS, np.array([3, 1]), PROPOSALS)
    np.testing.assert_array_equal(regions.boxes, np.concatenate([TRUTHS, PROPOSALS]))
    np.testing.assert_allclose(regions.overlaps, [1, 1, 0.5, 0.5, 0.8, 0], atol=1e-6)
    np.testing.assert_array_equal(regions.nearest[:5], [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(regions.true_boxes, TRUTHS)
    np.testing.assert_array_equal(regions.labels(0.5, 9), [3, 1, 3, 1, 3, 9])
    np.testing.assert_array_equal(regions.labels(0.6, 9), [3, 1, 9, 9, 3, 9])
    by_class = regions.overlaps_by_class(4)
    np.testing.assert_allclose(by_class[:, 3], [1, 0, 0.5, 0, 0.8, 0], atol=1e-6)
    np.testing.assert_allclose(by_class[:, 1], [0, 1, 0, 0.5, 0, 0], atol=1e-6)
    assert not by_class[:, [0, 2]].any()


def test_nothing_there():
    no_boxes = regions_of(np.zeros((0, 4)), np.zeros(0, int), PROPOSALS)
    np.testing.assert_array_equal(no_boxes.labels(0.5, 2), [2] * 4)
    assert not no_boxes.overlaps_by_class(3).any()
    no_proposals = regions_of(TRUTHS, np.array([0, 1]), np.zeros((0, 4)))
    np.testing.assert_array_equal(no_proposals.overlaps, [1, 1])
    nothing = regions_of(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 4)))
    assert nothing.labels(0.5, 2).shape == (0,)
    assert nothing.overlaps_by_class(3).shape == (0, 3)


def targets(boxes, classes, crowd=None, difficult=None):
    no = np.zeros(len(classes), bool)
    return {
        "boxes": np.float32(boxes).reshape(-1, 4),
        "classes": np.int32(classes),
        "crowd": no if crowd is None else np.array(crowd),
        "difficult": no if difficult is None else np.array(difficult),
        "areas": np.ones(len(classes), np.float32),
    }


@pytest.fixture
def examples(dataset_of):
    image = np.zeros((60, 60, 3), np.uint8)
    data = [
        (image, targets(TRUTHS, [1, 0])),
        (image + 1, targets([], [])),
        (image + 2, targets([*TRUTHS, (0, 0, 5, 5)], [1, 0, 1], [False, True, False], [False, False, True])),
    ]
    return RegionExamples(dataset_of(data), lambda image: PROPOSALS)


def test_crowds_and_difficult_boxes_are_left_out(examples):
    assert len(examples) == 3
    assert [len(each.classes) for each in examples.regions] == [2, 0, 1]
    np.testing.assert_array_equal(examples.regions[2].true_boxes, TRUTHS[:1])
    assert [examples.image(number)[0, 0, 0] for number in range(3)] == [0, 1, 2]


def counts(examples, drawn, foreground=0.5):
    overlaps = np.concatenate([examples.regions[number].overlaps[places] for number, places in drawn])
    return (overlaps >= foreground).sum(), (overlaps < foreground).sum()


def test_samples(examples):
    # in all 5 + 0 + 3 regions with an IoU of at least a half, and 1 + 4 + 2 with less
    def draw(seed, *arguments):
        return examples.draw(np.random.default_rng(seed), *arguments)

    assert counts(examples, draw(0, 8, 0.25, 0.5, 0.0)) == (2, 6)
    assert counts(examples, draw(0, 8, 0.75, 0.5, 0.0)) == (6, 2)
    assert counts(examples, draw(0, 12, 0.25, 0.5, 0.0)) == (5, 7)  # too little background
    assert counts(examples, draw(0, 50, 0.25, 0.5, 0.0)) == (8, 7)
    assert counts(examples, draw(0, 50, 0.25, 0.5, 0.1)) == (8, 0)  # what touches no box is no background
    assert counts(examples, draw(0, 50, 0.25, 0.6, 0.1), 0.6) == (5, 3)
    ((number, places),) = draw(0, 50, 0.25, 0.5, 0.0, [1])
    assert number == 1
    np.testing.assert_array_equal(np.sort(places), [0, 1, 2, 3])
    assert draw(0, 4, 0.25, 0.5, 0.1, [1]) == []
    for ours, again in zip(draw(5, 6, 0.5, 0.5, 0.0), draw(5, 6, 0.5, 0.5, 0.0), strict=True):
        assert ours[0] == again[0]
        np.testing.assert_array_equal(ours[1], again[1])
    others = [
        np.concatenate([[number, *places] for number, places in draw(seed, 6, 0.5, 0.5, 0.0)]) for seed in range(5)
    ]
    assert len({tuple(each) for each in others}) > 1


def test_records_are_decoded_when_they_are_asked_for(dataset_of):
    asked = []

    def decode(number):
        def read(number):
            asked.append(int(number))
            return np.full((4, 4, 3), number, np.uint8)

        image = tf.ensure_shape(tf.numpy_function(read, [number], tf.uint8), (4, 4, 3))
        return image, {key: tf.constant(value) for key, value in targets(TRUTHS, [1, 0]).items()}

    dataset = dataclasses.replace(dataset_of([]), records=tf.data.Dataset.range(3), decode=decode, num_examples=3)
    examples = RegionExamples(dataset, lambda image: PROPOSALS)
    assert asked == [0, 1, 2]
    assert (examples.image(2) == 2).all()
    assert asked == [0, 1, 2, 2]


def test_data_that_cannot_be_read(dataset_of, tmp_path):
    with pytest.raises(DataError, match="expected at least one image in squares, found none"):
        RegionExamples(dataset_of([]), lambda image: PROPOSALS)

    def decode(path):
        return tf.io.decode_png(tf.io.read_file(path)), targets(TRUTHS, [1, 0])

    records = tf.data.Dataset.from_tensor_slices([str(tmp_path / "none.png")])
    broken = dataclasses.replace(dataset_of([]), records=records, decode=decode, num_examples=1)
    with pytest.raises(DataError, match=r"image 0 of squares cannot be read \(.*none\.png.*\): mend or remove it"):
        RegionExamples(broken, lambda image: PROPOSALS)

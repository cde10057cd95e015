"""Distortions: repeatable by seed, different by seed, within their bounds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.training.augment import make_augment
from kapps.training.recipe import AugmentSpec


@pytest.fixture
def images() -> tf.Tensor:
    pixels = np.full((6, 20, 20, 1), -1.0, np.float32)
    pixels[:, 8:12, 8:12] = 1.0
    return tf.constant(pixels)


EVERYTHING = AugmentSpec(shift=0.1, rotate=20, zoom=0.2, shear=0.1, flip=True, contrast=0.2, crop=2)


def test_the_same_seed_gives_the_same_images_and_another_seed_others(images):
    augment = tf.function(make_augment(EVERYTHING))
    first, again, other = augment(images, [3, 7]), augment(images, [3, 7]), augment(images, [3, 8])
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == images.shape


def test_every_image_of_a_batch_is_distorted_differently(images):
    moved = make_augment(AugmentSpec(shift=0.2))(images, tf.constant([0, 0]))
    assert len({image.tobytes() for image in moved.numpy()}) > 3


def test_nothing_asked_nothing_done(images):
    np.testing.assert_array_equal(make_augment(AugmentSpec())(images, tf.constant([0, 0])), images)


def test_a_shift_stays_within_its_bound_and_uncovered_pixels_are_background(images):
    # 0.2 of 20 pixels: the square at 8..11 stays within 4..15 and is never lost
    for seed in range(20):
        moved = make_augment(AugmentSpec(shift=0.2))(images, tf.constant([seed, 0])).numpy()
        rows, columns = np.nonzero(moved[..., 0].max(axis=0) > 0)
        assert rows.min() >= 4
        assert columns.min() >= 4
        assert rows.max() <= 15
        assert columns.max() <= 15
        assert moved.min() == -1.0
        np.testing.assert_allclose((moved + 1).sum(axis=(1, 2, 3)), 32.0, rtol=1e-4)


def test_a_crop_shifts_by_whole_pixels_in_both_directions_and_leaves_zeros(images):
    corners = set()
    for seed in range(40):
        moved = make_augment(AugmentSpec(crop=2))(images, tf.constant([seed, 0])).numpy()
        assert set(np.unique(moved)) <= {-1.0, 0.0, 1.0}  # nothing is interpolated
        for image in moved[..., 0]:
            rows, columns = np.nonzero(image > 0)
            top, left = rows.min(), columns.min()
            np.testing.assert_array_equal(image[top : top + 4, left : left + 4], 1)
            expected = np.zeros((24, 24), np.float32)  # the image in a border of two zeros
            expected[2:22, 2:22] = images[0, ..., 0]
            np.testing.assert_array_equal(image, expected[10 - top :][:20, 10 - left :][:, :20])
            corners.add((int(top), int(left)))
    assert corners == {(row, column) for row in range(6, 11) for column in range(6, 11)}


def test_it_works_in_a_data_pipeline(images):
    augment = make_augment(EVERYTHING)
    stream = tf.data.Dataset.from_tensors(images).repeat(2).enumerate()
    twice = [
        list(stream.map(lambda step, batch: augment(batch, tf.stack([0, step]))).as_numpy_iterator()) for _ in "ab"
    ]
    np.testing.assert_array_equal(twice[0], twice[1])
    assert np.abs(twice[0][0] - twice[0][1]).max() > 0.1

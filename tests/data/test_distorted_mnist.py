from __future__ import annotations

import numpy as np
import pytest

from kapps.data import load
from kapps.data.distorted_mnist import CANVAS, distort


def digit(seed: int) -> np.ndarray:
    """A square of ink as large as MNIST's largest digits, with some texture so that each is another image."""
    image = np.zeros((28, 28, 1), np.uint8)
    image[4:24, 4:24] = np.random.default_rng(seed).integers(200, 256, (20, 20, 1))
    return image


@pytest.fixture(scope="module")
def distorted():
    return np.array([distort(digit(seed)) for seed in range(200)])


def test_the_same_digit_always_looks_the_same(distorted):
    np.testing.assert_array_equal(distort(digit(7)), distorted[7])
    assert distorted.dtype == np.uint8
    assert len({image.tobytes() for image in distorted}) == 200


def test_all_ink_stays_on_the_canvas(distorted):
    """The area tells the scale: 0.7^2 to 1.2^2 of 400 pixels; nothing is cut off."""
    areas = (distorted / 227.5).sum(axis=(1, 2, 3))  # the mean of the texture
    assert 0.68**2 * 400 < areas.min() < 0.8**2 * 400
    assert 1.1**2 * 400 < areas.max() < 1.22**2 * 400


def test_places_are_all_over_the_canvas(distorted):
    weights = distorted[..., 0] / distorted.sum(axis=(1, 2, 3))[:, None, None]
    for axis in (1, 2):
        centres = (weights.sum(axis=3 - axis) * np.arange(CANVAS)).sum(axis=1)
        assert abs(centres.mean() - (CANVAS - 1) / 2) < 1.5
        assert centres.min() < 14
        assert centres.max() > 27


def test_turns_reach_45_degrees_both_ways_and_no_further():
    """A line of ink; its direction is the first axis of its pixels' spread."""
    angles = []
    for seed in range(100):
        image = np.zeros((28, 28, 1), np.uint8)
        image[13:15, 4:24] = np.random.default_rng(seed).integers(200, 256, (2, 20, 1))
        y, x = np.nonzero(np.asarray(distort(image))[..., 0] > 100)
        spread = np.cov(np.stack([x, y]))
        angles.append(0.5 * np.degrees(np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])))
    assert -47 < min(angles) < -35
    assert 35 < max(angles) < 47
    assert abs(np.mean(angles)) < 8


def test_of_the_real_digits(shared_dir):
    folder = shared_dir / "data" / "tfds"
    data = load("distorted_mnist", "test[:50]", data_dir=folder)
    assert (data.name, data.num_examples, data.input_shape) == ("distorted_mnist", 50, (42, 42, 1))
    assert data.class_names == tuple("0123456789")
    images = np.array([image for image, _ in data.examples])
    part = load("distorted_mnist", "test[30:50]", data_dir=folder)
    np.testing.assert_array_equal(np.array([image for image, _ in part.examples]), images[30:])
    plain = load("mnist", "test[:50]", data_dir=folder)
    assert [int(label) for _, label in data.examples] == [int(label) for _, label in plain.examples]

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kapps.data import digits
from kapps.errors import DataError


def everything(split: str) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = next(iter(digits.load_split(split).batches(2000)))
    return inputs.numpy().astype(np.uint8), labels.numpy()


def test_images_are_scikit_learns_scaled_to_a_byte():
    images, labels = digits.digit_images()
    original = load_digits()
    assert images.shape == (1797, 8, 8, 1)
    assert images.max() == 255
    np.testing.assert_allclose(images[..., 0] / 255 * 16, original.images, atol=0.05)
    np.testing.assert_array_equal(labels, original.target)


def test_the_split_is_stratified_and_loses_nothing():
    (train, train_labels), (test, test_labels) = everything("train"), everything("test")
    assert (len(train), len(test)) == (1437, 360)
    counts = np.bincount(test_labels)
    assert counts.min() >= 34
    assert counts.max() <= 38
    together = np.concatenate([train, test]).reshape(1797, 64)
    all_images = digits.digit_images()[0].reshape(1797, 64)
    assert sorted(map(bytes, together)) == sorted(map(bytes, all_images))
    assert (
        np.bincount(np.concatenate([train_labels, test_labels])).tolist() == np.bincount(load_digits().target).tolist()
    )


def test_the_split_never_changes():
    # If this fails, test digits have moved into everybody's training sets.
    images, labels = everything("test")
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16] == "a2fc2790f951761e"


def test_slices_of_a_split_are_disjoint():
    first, rest = everything("train[:80%]")[0], everything("train[80%:]")[0]
    np.testing.assert_array_equal(np.concatenate([first, rest]), everything("train")[0])


def test_unknown_split():
    with pytest.raises(DataError, match="digits has no split 'validation'"):
        digits.load_split("validation")

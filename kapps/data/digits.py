"""scikit-learn's digits: 1,797 real handwritten digits, 8x8 grey, inside scikit-learn's own package: no network.

They are the test half of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI Machine Learning
Repository, CC BY 4.0): 32x32 scans from 13 writers, counted down to 8x8 cells of 0..16 ink pixels. The files do not say
who wrote which digit, so the split is by class alone: a writer can be on both sides, and accuracy is kinder than on new
writers.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kapps.data.dataset import Dataset
from kapps.data.splits import split_slices

SOURCE = "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak 1998, through scikit-learn"
LICENCE = "CC BY 4.0"
TEST_EXAMPLES = 360
_SPLIT_SEED = 0  # fixed for good: other numbers would move test digits into everybody's training set


def load_split(split: str = "train") -> Dataset:
    """`"train"` (1,437), `"test"` (360: a fifth, stratified, always the same) or a slice such as `"train[:80%]"`.

    Images are uint8 `[8, 8, 1]`, ink bright (0..16 scaled to 0..255).

    Raises:
        DataError: not one of the splits.
    """
    parts = _parts()
    slices = split_slices(split, {name: len(labels) for name, (_, labels) in parts.items()}, "digits")
    images = np.concatenate([parts[name][0][rows] for name, rows in slices])
    labels = np.concatenate([parts[name][1][rows] for name, rows in slices])
    return Dataset(
        records=tf.data.Dataset.from_tensor_slices((images, labels)),
        decode=None,
        num_examples=len(labels),
        input_shape=(8, 8, 1),
        class_names=tuple("0123456789"),
        name="digits",
        split=split,
        source=SOURCE,
        licence=LICENCE,
    )


def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """All of them in scikit-learn's order: uint8 `[1797, 8, 8, 1]`, int64 `[1797]`."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return images[..., np.newaxis], digits.target.astype(np.int64)


@cache
def _parts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    images, labels = digit_images()
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_EXAMPLES, stratify=labels, random_state=_SPLIT_SEED
    )
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}

"""MNIST's digits whole in memory, as all experiments without labels take them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from kapps.data import load


@cache
def digits(split: str, count: int | None, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The first digits of a split, float32 [count, 28, 28, 1] from 0 to 1, and their labels; None = all of them.

    They are read once in a process, and cannot be written to: the next run takes the same arrays.

    Raises:
        DataError: MNIST is not prepared under `data_dir`.
    """
    data = load("mnist", split if count is None else f"{split}[:{count}]", data_dir=data_dir)
    images, labels = next(iter(data.batches(data.num_examples or 1).as_numpy_iterator()))
    images = images / np.float32(255)
    for array in (images, labels):
        array.setflags(write=False)
    return images, labels

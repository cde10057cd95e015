"""Weights and images that every framework can make alike: numbers drawn by a tensor's name and shape.

With them a reference implementation and ours get the same weights without a file that carries them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np


def seeded_tensor(name: str, shape: Sequence[int], *, channels_last: bool = False) -> np.ndarray:
    """float32 `shape`, always the same for a name; sized so that signals neither die nor explode on their way.

    Args:
        name: the publisher's name, e.g. `layer1.0.conv1.weight` or `conv1/kernel`; its end says what it is.
        shape: of the tensor as the publisher stores it.
        channels_last: whether the last axis of a kernel is its output (Keras); torch has it first.
    """
    random = np.random.default_rng(zlib.crc32(name.encode()))
    draw = random.standard_normal(tuple(shape), dtype="float32")
    kind = name.replace("/", ".").rpartition(".")[2]
    if kind in ("running_var", "moving_variance"):
        return 0.5 + draw**2 / 2
    if kind in ("running_mean", "moving_mean", "bias", "beta"):
        return 0.1 * draw
    if len(shape) < 2:  # the scale of a normalisation, the slopes of a PReLU
        return 0.7 + 0.1 * draw
    outputs = shape[-1] if channels_last else shape[0]
    if kind == "depthwise_kernel":  # [H, W, channels, multiplier]
        outputs = shape[-2] * shape[-1]
    return draw * np.float32(math.sqrt(2 / max(1, math.prod(shape) // outputs)))


def seeded_image(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """float32 `shape` of standard normal numbers; the same for the same seed."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype="float32")


def seeded_positions(size: int, count: int = 512) -> np.ndarray:
    """Up to `count` positions of a flattened tensor that a recording keeps."""
    if size <= count:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, count, replace=False))

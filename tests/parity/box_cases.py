"""The inputs that torchvision's functions on boxes were recorded with, drawn anew on both sides."""

from __future__ import annotations

import numpy as np


def boxes(count: int, seed: int, side: float = 200.0) -> np.ndarray:
    """float32 [count, 4], "xyxy", of all sizes, within an image of side x side."""
    random = np.random.default_rng(seed)
    centre, size = random.uniform(0, side, (count, 2)), side * random.uniform(0.02, 0.7, (count, 2)) ** 1.5
    return np.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1), 0, side).astype("float32")


def scores(count: int, seed: int) -> np.ndarray:
    """float32 [count], some of them equal."""
    return np.round(np.random.default_rng(seed).uniform(0, 1, count), 3).astype("float32")


def regions() -> np.ndarray:
    """float32 [40, 4]: also beyond the image of 208x272 pixels, without area, smaller than a pixel."""
    inside = boxes(30, seed=5, side=205.0)
    odd = [
        (-30, -20, 40, 50),
        (200, 150, 320, 260),
        (-90, -90, -50, -60),
        (50, 60, 50, 60),
        (70, 80, 70.5, 80.2),
        (0, 0, 272, 208),
        (10, 20, 11, 200),
        (8, 24, 24, 40),
        (280, 30, 300, 60),
        (-400, -300, 900, 700),
    ]
    return np.concatenate([inside, np.float32(odd)])


def maps(strides: tuple[int, ...], channels: int = 3) -> list[np.ndarray]:
    """float32 [2, 208 / stride, 272 / stride, channels] for each stride."""
    random = np.random.default_rng(6)
    return [random.standard_normal((2, 208 // stride, 272 // stride, channels), dtype="float32") for stride in strides]


def anchor_case() -> dict[str, np.ndarray]:
    """Two images with 50 anchors each, 20 of them drawn."""
    random = np.random.default_rng(8)
    return {
        "scores": random.normal(0, 2, (2, 50)).astype("float32"),
        "deltas": random.normal(0, 0.2, (2, 50, 4)).astype("float32"),
        "labels": random.integers(0, 2, (2, 50)).astype("int32"),
        "targets": random.normal(0, 0.2, (2, 50, 4)).astype("float32"),
        "drawn": np.stack([random.permutation(np.arange(50) < 20) for _ in range(2)]),
    }


def region_case() -> dict[str, np.ndarray]:
    """Two images with 30 proposals each and 5 classes; class 0 is the background."""
    random = np.random.default_rng(9)
    return {
        "scores": random.normal(0, 2, (2, 30, 6)).astype("float32"),
        "deltas": random.normal(0, 0.2, (2, 30, 24)).astype("float32"),
        "labels": random.integers(0, 6, (2, 30)).astype("int32"),
        "targets": random.normal(0, 0.2, (2, 30, 4)).astype("float32"),
    }

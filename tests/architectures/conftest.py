"""What every architecture's test uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest

from kapps import catalog
from kapps.create import create_backbone
from kapps.exporting.flops import without_weights


@pytest.fixture
def fingerprint() -> Callable[[str, dict[str, tuple[float, float]]], None]:
    """Check (mean, standard deviation) of every named feature, for seeded weights and a seeded batch of two inputs."""

    def check(name: str, expected: dict[str, tuple[float, float]]) -> None:
        keras.utils.set_random_seed(1958)
        model = create_backbone(name)
        images = np.random.default_rng(1943).random((2, *catalog.info(name).input_shape), dtype="float32")
        features = model(images)
        assert list(features) == list(expected)
        for key, value in features.items():
            assert (float(np.mean(value)), float(np.std(value))) == pytest.approx(expected[key], rel=2e-3, abs=1e-6), (
                key
            )

    return check


@pytest.fixture(name="without_weights")
def _without_weights() -> Iterator[None]:
    """Models made in this test have layers, shapes and names, but no numbers."""
    with without_weights():
        yield

"""What every architecture's test uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state

from kapps import catalog
from kapps.create import create_backbone


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


@pytest.fixture
def without_weights() -> Iterator[None]:
    """Models made here have layers, shapes and names, but no numbers: VGG-19 takes a tenth of a second, no memory."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras keeps a list of variables to be filled later and would fill these at the end of another such scope.
        global_state.set_global_attribute("uninitialized_variables", [])

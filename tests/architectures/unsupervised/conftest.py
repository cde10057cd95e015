"""What the tests of several learners look at alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf


def _equal_differences(loss: Callable[[], tf.Tensor], variables: Sequence[keras.Variable]) -> None:
    """The gradients of a loss are its central differences, weight by weight; all in float64."""
    with tf.GradientTape() as tape:
        value = loss()
    value_of = tf.function(loss)
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        values = variable.numpy()
        numeric = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = values.copy()
                moved[place] += step
                variable.assign(moved)
                sides.append(float(value_of()))
            numeric[place] = (sides[0] - sides[1]) / 2e-5
        variable.assign(values)
        np.testing.assert_allclose(gradient, numeric, atol=1e-7, rtol=1e-4, err_msg=variable.path)


def _equal_loaded(model: Any, x: np.ndarray, folder: Path) -> Any:
    """A learner out of a `.keras` file: configuration, codes, reconstructions and encoder are the same."""
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert loaded.config == model.config
    codes = model.transform(x)
    np.testing.assert_array_equal(loaded.transform(x), codes)
    np.testing.assert_array_equal(loaded.inverse_transform(codes), model.inverse_transform(codes))
    np.testing.assert_allclose(loaded.encoder()(x), codes, rtol=1e-5, atol=1e-5)
    return loaded


@pytest.fixture(scope="session")
def gradients_are_differences() -> Callable[[Callable[[], tf.Tensor], Sequence[keras.Variable]], None]:
    return _equal_differences


@pytest.fixture(scope="session")
def comes_back_from_a_file() -> Callable[[Any, np.ndarray, Path], Any]:
    return _equal_loaded

"""How every parity test asks for its comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from kapps.create import create_model
from kapps.weights.parity import Parity, against_keras, against_recording


@pytest.fixture
def keras_parity() -> Callable[..., Parity]:
    """`keras_parity(name, input_shape=None)`: ours against `keras.applications`."""

    def compare(name: str, input_shape: Sequence[int] | None = None) -> Parity:
        model = create_model(name, input_shape=input_shape, classifier_activation=None)
        return against_keras(model, input_shape)

    return compare


@pytest.fixture
def recorded_parity() -> Callable[..., Parity]:
    """`recorded_parity(name, publisher, input_size=None, auxiliary=False)`: ours against a recording."""

    def compare(
        name: str, publisher: str, input_size: tuple[int, int] | None = None, auxiliary: bool = False
    ) -> Parity:
        shape = (*input_size, 3) if input_size else None
        options = {"auxiliary": True} if auxiliary else {}
        model = create_model(name, input_shape=shape, classifier_activation=None, **options)
        return against_recording(model, publisher, input_size, auxiliary=auxiliary)

    return compare

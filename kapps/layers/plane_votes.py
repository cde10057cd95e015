"""Class probabilities from units that found their features without knowing the classes."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class PlaneVotes(keras.layers.Layer):
    """How often the strongest unit was the strongest for each class, as log probabilities.

    With the counts n of (unit, class), and Laplace's one more for each: `log((n[u, :] + 1) / (sum(n[u, :]) + classes))`
    for the strongest unit u; all classes alike where no unit answers. `count` adds examples; older ones fade.

    Args:
        classes: number of classes.
        fading: what a vote is worth after one more example.

    Call arguments:
        inputs: `[B, units]`, at least 0.

    Returns:
        `[B, classes]`.
    """

    def __init__(self, classes: int, fading: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.classes, self.fading = classes, float(fading)
        self.input_spec = keras.layers.InputSpec(ndim=2)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.votes = self.add_weight(
            name="votes", shape=(input_shape[-1], self.classes), initializer="zeros", trainable=False
        )

    def call(self, inputs):
        counts = ops.matmul(self._strongest(inputs), self.votes) + 1
        return ops.log(counts / ops.sum(counts, axis=-1, keepdims=True))

    def count(self, inputs, labels) -> None:
        """Let examples vote: units `[B, units]` and their classes, integers `[B]`."""
        labels = ops.one_hot(labels, self.classes, dtype="float32")
        votes = ops.matmul(ops.transpose(self._strongest(inputs)), labels)
        self.votes.assign(self.votes * self.fading ** ops.cast(ops.shape(inputs)[0], "float32") + votes)

    def _strongest(self, inputs):
        """[B, units]: 1 for the strongest unit, nothing where all are 0."""
        answers = ops.cast(ops.max(inputs, axis=-1, keepdims=True) > 0, "float32")
        return answers * ops.one_hot(ops.argmax(inputs, axis=-1), inputs.shape[-1], dtype="float32")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "fading": self.fading}

"""Nearest neighbours as a layer, so that a memory of examples can be exported like any classifier."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class NearestNeighbours(keras.layers.Layer):
    """The classes of the most similar examples in memory: [B, D] -> scores [B, N], the logarithms of shares.

    The k examples with the largest cosine similarity vote, each with the weight exp(similarity / temperature) (Wu et
    al. 2018, arXiv:1805.01978, section 3.4); every class has a small share from the start, so that no score is minus
    infinity. The softmax of the scores gives the shares back.

    Args:
        classes: N.
        examples: how many are kept.
        neighbours: k.
        temperature: the smaller, the more the nearest counts; 0.07 in the paper.
    """

    def __init__(self, classes: int, examples: int, neighbours: int = 5, temperature: float = 0.07, **kwargs: Any):
        super().__init__(**kwargs)
        if not 1 <= neighbours <= examples or classes < 1 or not temperature > 0:
            raise ValueError(
                f"expected 1 to {examples} neighbours, a class or more and a temperature above 0, got {neighbours}, "
                f"{classes} and {temperature}"
            )
        self.classes, self.examples, self.neighbours, self.temperature = classes, examples, neighbours, temperature

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        options: dict[str, Any] = {"initializer": "zeros", "trainable": False}
        self.memory = self.add_weight(shape=(self.examples, input_shape[-1]), name="memory", **options)
        self.labels = self.add_weight(shape=(self.examples,), name="labels", **options)

    def remember(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Put examples into the memory.

        Args:
            features: float32 [examples, D].
            labels: int [examples].
        """
        self.memory.assign(ops.normalize(ops.convert_to_tensor(features), axis=-1))
        self.labels.assign(ops.convert_to_tensor(labels.astype(np.float32)))

    def call(self, features: Any) -> Any:
        similarities = ops.normalize(features, axis=-1) @ ops.transpose(self.memory)  # [B, examples]
        nearest, places = ops.top_k(similarities, self.neighbours)  # [B, k]
        # Against the largest, as exp(1 / 0.07) is a large number; the shares stay the same.
        votes = ops.exp((nearest - nearest[:, :1]) / self.temperature)
        classes = ops.one_hot(ops.cast(ops.take(self.labels, places), "int32"), self.classes)  # [B, k, N]
        shares = ops.sum(votes[..., None] * classes, axis=1) + 0.1 / self.classes
        return ops.log(shares / ops.sum(shares, axis=-1, keepdims=True))

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("classes", "examples", "neighbours", "temperature")}
        return {**super().get_config(), **own}

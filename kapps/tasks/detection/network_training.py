"""One step of a detector's learning, whatever its losses are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


class NetworkTraining(keras.Model):
    """A network that learns by `fit` from batches of `kapps.data.boxes.BoxDataset`.

    What is drawn in a step should follow from `step_seed` alone, so that a run that was interrupted goes on alike.

    Args:
        network: its weights are what learns.
        config: of the network.
        losses: the names of what `losses_of` gives.
        seed: of what is drawn.
    """

    def __init__(self, network: keras.Model, config: Any, losses: Sequence[str], *, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.network = network
        self.config = config
        self.seed = seed
        self.built = True  # nothing but the network has weights
        self.means = [keras.metrics.Mean(name=name) for name in ("loss", *losses)]

    def learns(self, layer: keras.layers.Layer) -> bool:
        """Whether a layer of the network learns, as far as its own `trainable` lets it."""
        return True

    @property
    def trainable_variables(self) -> list[Any]:
        return [
            variable for layer in self.network.layers if self.learns(layer) for variable in layer.trainable_variables
        ]

    @property
    def step_seed(self) -> tf.Tensor:
        """Two integers, others in each step."""
        return tf.stack([self.seed, tf.cast(self.optimizer.iterations, tf.int32)])

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.network(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, truths = data
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            losses = self.losses_of(inputs, truths)
            total = tf.add_n(list(losses.values()))
        self.optimizer.apply(tape.gradient(total, variables), variables)
        for mean in self.means:
            mean.update_state(total if mean.name == "loss" else losses[mean.name])
        return {mean.name: mean.result() for mean in self.means}

    def losses_of(self, inputs: Mapping[str, Any], truths: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """The losses of one batch by name, each a scalar.

        Args:
            inputs: `{"image": [B, H, W, 3], "sizes": [B, 2]}`.
            truths: `{"boxes": [B, M, 4], "classes": [B, M], "valid": [B, M]}`, in pixels of the image.
        """
        raise NotImplementedError

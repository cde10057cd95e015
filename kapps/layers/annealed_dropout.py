"""Annealed dropout: dropout that fades away during training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class AnnealedDropout(keras.layers.Layer):
    """Dropout whose rate falls linearly: `p[t] = max(0, 1 - t / N) p[0]` at training step t.

    Rennie, Goel, Thomas: "Annealed Dropout Training of Deep Networks", IEEE SLT 2014.

    Early, strong dropout keeps the model simple; as it fades, the model may use more and more of its capacity. What
    survives is divided by `1 - p[t]`, so inference changes nothing.

    The step counter is a weight of the layer: it is saved and restored with the model, and a resumed training goes on
    where it stopped. It counts the calls with `training=True`, so a layer that is used twice in a model counts twice a
    step. It stops at `anneal_steps`.

    Args:
        rate: p[0], probability at the first training step that a value is dropped; at least 0 and under 1.
        anneal_steps: N, training steps until nothing is dropped any more.
        seed: of the masks; None for a different one each time.

    Call arguments:
        inputs: any shape.
        training: whether values are dropped and the step is counted.

    Returns:
        The shape of the inputs.

    Raises:
        ValueError: `rate` is not in [0, 1), or `anneal_steps` is not a positive integer.
    """

    def __init__(self, rate: float = 0.5, anneal_steps: int = 10_000, seed: int | None = None, **kwargs: Any):
        if not 0 <= rate < 1:
            raise ValueError(f"AnnealedDropout: rate must be at least 0 and under 1, got {rate!r}: 0.5 is usual")
        if not isinstance(anneal_steps, int) or isinstance(anneal_steps, bool) or not 0 < anneal_steps < 2**31:
            raise ValueError(
                f"AnnealedDropout: anneal_steps must be an integer from 1 to 2^31 - 1, got {anneal_steps!r}: "
                "give a number of training steps, e.g. half of epochs x steps an epoch"
            )
        super().__init__(**kwargs)
        self.rate = rate
        self.anneal_steps = anneal_steps
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    @property
    def current_rate(self):
        """p[t] of the next training step: float32 scalar tensor."""
        progress = ops.cast(self.step, "float32") / self.anneal_steps
        return self.rate * ops.maximum(0.0, 1.0 - progress)

    def call(self, inputs, training: bool = False):
        if not training:
            return inputs
        rate = self.current_rate
        self.step.assign(ops.minimum(self.step + 1, self.anneal_steps))
        # float32 also under a half-precision policy: float16 has too few numbers in [0, 1) for an exact rate
        survives = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator) >= rate
        scale = ops.cast(1.0 / (1.0 - rate), inputs.dtype)
        return ops.where(survives, inputs * scale, ops.zeros_like(inputs))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "anneal_steps": self.anneal_steps, "seed": self.seed}

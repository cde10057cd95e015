"""Probabilistic max pooling: at most one of a block's detectors is on, and the pooling unit is on where one is."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class ProbabilisticMaxPooling(keras.layers.Layer):
    """Signals of binary detectors to the probabilities that a block of them is active.

    Lee, Grosse, Ranganath, Ng: "Convolutional deep belief networks for scalable unsupervised learning of hierarchical
    representations", ICML 2009, section 3.3. A map is cut into blocks, and a block is one multinomial unit: one of its
    detectors is on, or none. With I(h) the signal that a detector gets from below,

        P(h_i = 1) = exp(I(h_i)) / (1 + sum over the block of exp(I(h_j)))
        P(p = 0)   = 1 / (1 + sum over the block of exp(I(h_j)))

    Both are one softmax over a block's signals and a zero, so they are safe at signals of any size, and a block's
    detectors and P(p = 0) add up to 1. No weights.

    Args:
        pool: height and width of a block; 1 x 1 makes every detector an ordinary sigmoid unit.

    Call arguments:
        inputs: signals I(h), `[B, H, W, K]`; H and W are known and divisible by the block's.

    Returns:
        P(p = 1), `[B, H / height, W / width, K]`.

    Raises:
        ValueError: H or W is not known or not divisible.
    """

    def __init__(self, pool: tuple[int, int] = (2, 2), **kwargs: Any):
        super().__init__(**kwargs)
        self.pool = (int(pool[0]), int(pool[1]))
        if min(self.pool) < 1:
            raise ValueError(f"ProbabilisticMaxPooling: expected blocks of at least 1x1, got {pool}")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs):
        return ops.sum(self._states(inputs), axis=-1)

    def detectors(self, inputs):
        """P(h = 1) of every detector, `[B, H, W, K]`, from the same signals."""
        return self._maps(self._states(inputs))

    def sample(self, inputs, seed: keras.random.SeedGenerator | int):
        """Draw all blocks.

        Returns:
            detectors `[B, H, W, K]` and pooling units `[B, H / height, W / width, K]`, both of 0 and 1: a block with
            its pooling unit on has exactly one detector on.
        """
        upper = ops.cumsum(self._states(inputs), axis=-1)  # where each state's share of 0 .. 1 ends
        drawn = keras.random.uniform(ops.shape(upper)[:-1], dtype=upper.dtype, seed=seed)[..., None]
        passed = ops.cast(drawn < upper, upper.dtype)  # 0 .. 0 1 .. 1: the first 1 is the state
        states = ops.concatenate([passed[..., :1], passed[..., 1:] - passed[..., :-1]], axis=-1)
        return self._maps(states), ops.sum(states, axis=-1)

    def unpool(self, pooled):
        """P(h = 1) where only the pooling units are known: any of a block's detectors alike, `[B, H, W, K]`."""
        height, width = self.pool
        share = ops.expand_dims(pooled, axis=-1) / (height * width)
        return self._maps(ops.tile(share, (1, 1, 1, 1, height * width)))

    def _states(self, inputs):
        """The probabilities of a block's detectors, `[B, H / height, W / width, K, height * width]`."""
        (height, width), (rows, columns) = self.pool, self._blocks(inputs.shape)
        channels = inputs.shape[-1]
        x = ops.reshape(inputs, (-1, rows, height, columns, width, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 5, 2, 4)), (-1, rows, columns, channels, height * width))
        return ops.softmax(ops.concatenate([x, ops.zeros_like(x[..., :1])], axis=-1), axis=-1)[..., :-1]

    def _maps(self, states):
        """Blocks `[B, rows, columns, K, height * width]` back to maps `[B, H, W, K]`."""
        height, width = self.pool
        rows, columns, channels = states.shape[1:4]
        x = ops.transpose(ops.reshape(states, (-1, rows, columns, channels, height, width)), (0, 1, 4, 2, 5, 3))
        return ops.reshape(x, (-1, rows * height, columns * width, channels))

    def _blocks(self, shape: tuple[int | None, ...]) -> tuple[int, int]:
        (height, width), (rows, columns) = self.pool, shape[1:3]
        if rows is None or columns is None or rows % height or columns % width:
            raise ValueError(
                f"ProbabilisticMaxPooling: expected maps that blocks of {height}x{width} divide, got {tuple(shape)}"
            )
        return rows // height, columns // width

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self._blocks(input_shape), input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool": list(self.pool)}

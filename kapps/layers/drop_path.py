"""Drop-path: whole paths of a network are left out at random, as dropout leaves out units.

`GlobalPath` draws for each example whether a single path is kept all over the network, and which; each `DropPathJoin`
averages what is kept of the paths that end in it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# What `GlobalPath` gives for an example whose joins shall each draw for themselves.
LOCAL = -1


@keras.saving.register_keras_serializable("kapps")
class GlobalPath(keras.layers.Layer):
    """For each example the one column that all joins shall keep, or -1: each join draws for itself.

    Larsson, Maire, Shakhnarovich: "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017, section 3.

    Args:
        columns: of the network; one is drawn from 0 to `columns - 1`, all equally likely.
        share: of the examples that get a column, in training; 0 to 1.
        seed: of the draws; None for a different one each time.

    Call arguments:
        inputs: any tensor `[B, ...]`; only B matters.
        training: whether a column is drawn; without, all are -1.

    Returns:
        int32 `[B]`.

    Raises:
        ValueError: `share` is not in [0, 1], or `columns` is not a positive integer.
    """

    def __init__(self, columns: int, share: float = 0.5, seed: int | None = None, **kwargs: Any):
        if not isinstance(columns, int) or columns < 1:
            raise ValueError(f"GlobalPath: columns must be an integer of at least 1, got {columns!r}")
        if not 0 <= share <= 1:
            raise ValueError(f"GlobalPath: share must be from 0 to 1, got {share!r}: 0.5 is the paper's")
        super().__init__(**kwargs)
        self.columns, self.share, self.seed = columns, share, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training: bool = False):
        batch = ops.shape(inputs)[:1]
        if not training or self.share == 0:
            return ops.full(batch, LOCAL, dtype="int32")
        # one number decides both: those under the share are spread evenly over the columns
        number = keras.random.uniform(batch, dtype="float32", seed=self.seed_generator)
        column = ops.minimum(ops.cast(number / self.share * self.columns, "int32"), self.columns - 1)
        return ops.where(number < self.share, column, LOCAL)

    def compute_output_spec(self, inputs, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape[:1], dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": self.columns, "share": self.share, "seed": self.seed}


@keras.saving.register_keras_serializable("kapps")
class DropPathJoin(keras.layers.Layer):
    """The mean of the paths that are kept, drawn for each example anew; at inference of all paths.

    Larsson, Maire, Shakhnarovich: "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017, section 3.
    Local: each path is dropped with probability `rate`, but one, drawn at random, always stays. Global: only the path
    of the column that `GlobalPath` drew; a join where that column does not end keeps all, as nothing of it is used.

    Args:
        columns: the number of the column of each path, in the order of the inputs.
        rate: probability that a path is dropped; at least 0 and under 1.
        seed: of the draws; None for a different one each time.

    Call arguments:
        inputs: the paths, all `[B, H, W, C]`, and last what `GlobalPath` gave, `[B]`.
        training: whether paths are dropped.

    Returns:
        `[B, H, W, C]`.

    Raises:
        ValueError: `rate` is not in [0, 1), or the number of inputs is not that of the columns and one.
    """

    def __init__(
        self, columns: tuple[int, ...] | list[int], rate: float = 0.15, seed: int | None = None, **kwargs: Any
    ):
        if not 0 <= rate < 1:
            raise ValueError(f"DropPathJoin: rate must be at least 0 and under 1, got {rate!r}: 0.15 is the paper's")
        super().__init__(**kwargs)
        self.columns, self.rate, self.seed = tuple(columns), rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        if len(input_shape) != len(self.columns) + 1:
            raise ValueError(
                f"DropPathJoin: expected {len(self.columns)} paths, of the columns {self.columns}, and the global "
                f"path, got {len(input_shape)} inputs"
            )

    def call(self, inputs, training: bool = False):
        *paths, column = inputs
        if not training:
            return sum(paths[1:], paths[0]) / len(paths)
        kept = self._kept(column)  # [B, paths]
        weights = ops.cast(kept / ops.sum(kept, axis=1, keepdims=True), self.compute_dtype)
        weights = ops.reshape(weights, (-1, len(paths), 1, 1, 1))
        return sum(weights[:, index] * path for index, path in enumerate(paths))

    def _kept(self, column):
        """float32 [B, paths]: 1 for a path that is kept, 0 for one that is dropped; at least one 1 in each row."""
        number = keras.random.uniform((ops.shape(column)[0], len(self.columns)), seed=self.seed_generator)
        # the largest number always passes, whoever's it is
        local = number >= ops.minimum(self.rate, ops.max(number, axis=1, keepdims=True))
        chosen = ops.equal(column[:, None], ops.convert_to_tensor(self.columns, dtype="int32"))
        ends_here = ops.any(chosen, axis=1, keepdims=True)
        kept = ops.where(ends_here, chosen, ops.logical_or(local, column[:, None] != LOCAL))
        return ops.cast(kept, "float32")

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": list(self.columns), "rate": self.rate, "seed": self.seed}

"""Spatial pyramid pooling: maps of any size become a vector of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class SpatialPyramidPooling(keras.layers.Layer):
    """The maximum in each bin of several grids that are laid over the maps, fine to coarse.

    He, Zhang, Ren, Sun: "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", ECCV 2014 and
    TPAMI 2015, section 2.2 and figure 3. Of an n x n grid over a map of height h, bin i (from 0) covers the rows
    `floor(i h / n)` to `ceil((i + 1) h / n)`, the last one excluded (appendix A), and likewise the columns. So bins may
    share a row, every pixel is in some bin, and a map smaller than the grid works, too.

    Args:
        levels: n of each grid; the paper's are (6, 3, 2, 1) for classification, 50 bins.

    Call arguments:
        inputs: `[B, H, W, C]`; H and W need not be known before the image comes, and may differ from call to call.

    Returns:
        `[B, sum(n * n) * C]`: the levels in order, each as `[n, n, C]`, flattened.

    Raises:
        ValueError: levels are not positive integers, or the number of channels is not known.
    """

    def __init__(self, levels: Sequence[int] = (6, 3, 2, 1), **kwargs: Any):
        levels = tuple(levels)
        if not levels or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in levels):
            raise ValueError(
                f"SpatialPyramidPooling: levels must be integers of at least 1, got {levels}: the paper's are "
                "(6, 3, 2, 1)"
            )
        super().__init__(**kwargs)
        self.levels = levels
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if input_shape[-1] is None:
            raise ValueError(
                f"SpatialPyramidPooling: the number of channels must be known, got inputs of shape "
                f"{tuple(input_shape)}: give the input's last dimension"
            )

    def call(self, inputs):
        return ops.concatenate([self._pool(inputs, n) for n in self.levels], axis=-1)

    def _pool(self, inputs, n: int):
        x = inputs  # [B, H, W, C]
        for axis in (1, 2):  # the maximum over a rectangle: over its rows, then over its columns
            x = ops.max(ops.take(x, _members(ops.shape(inputs)[axis], n), axis=axis), axis=axis + 1)
        return ops.reshape(x, (-1, n * n * inputs.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        return (input_shape[0], sum(n * n for n in self.levels) * input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": list(self.levels)}


def bin_edges(size, bins: int):
    """First position and end (excluded) of each bin over `size` positions, which may be a number or a tensor.

    Returns:
        Two integer tensors [bins].
    """
    number = ops.arange(bins, dtype="int32")
    return number * size // bins, ((number + 1) * size + bins - 1) // bins


def _members(size, bins: int):
    """[bins, longest]: the positions in each bin; shorter bins repeat their last one, which no maximum minds."""
    start, end = bin_edges(size, bins)
    longest = (size + bins - 1) // bins + 1
    return ops.minimum(start[:, None] + ops.arange(longest, dtype="int32")[None], end[:, None] - 1)

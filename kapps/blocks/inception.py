"""The inception module as data: branches of convolutions and pools that run side by side, joined by channel.

A paper's figure becomes a table, e.g. Inception v4's block A:

    ((Conv(96),), (Conv(64), Conv(96, 3)), (Conv(64), Conv(96, 3), Conv(96, 3)), (Pool("average"), Conv(96)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    MaxPooling2D,
    ZeroPadding2D,
)

# "same" and "valid" are Keras' words. An integer is that many zeros on each side, as Caffe and torch pad; two pairs are
# those before and after the rows and the columns. Zeros count in an average; in a maximum of ReLUs they change nothing.
Padding = Literal["same", "valid"] | int | tuple[tuple[int, int], tuple[int, int]]

# One zero behind the rows and columns rounds the size of a 3x3/2 pool's output up, as Caffe does.
ROUND_UP = ((0, 1), (0, 1))

# Arguments of the batch normalisation behind each convolution; None: no normalisation, but biases.
Norm = Mapping[str, float | bool] | None


@dataclass(frozen=True)
class Conv:
    """A convolution, batch normalisation and ReLU.

    Attributes:
        filters: channels of the output.
        size: of the kernel; one number, or rows and columns.
        strides: of the kernel.
        padding: see `Padding`.
    """

    filters: int
    size: int | tuple[int, int] = 1
    strides: int = 1
    padding: Padding = "same"


@dataclass(frozen=True)
class Pool:
    """A pool: `kind` over `size` x `size`; the padding of `"same"` does not count in an average."""

    kind: Literal["average", "max"]
    size: int = 3
    strides: int = 1
    padding: Padding = "same"


@dataclass(frozen=True)
class Fork:
    """Two convolutions of the same input, joined by channel."""

    first: Conv
    second: Conv


Step = Conv | Pool | Fork


def module(x: keras.KerasTensor, branches: Sequence[Sequence[Step]], name: str, norm: Norm) -> keras.KerasTensor:
    """The branches of [B, H, W, C], joined by channel; a branch without steps passes its input on.

    The joining layer is called `name`, the layers of the branches `{name}_branch1_conv1`, `..._bn1`, `..._relu1`,
    `..._pool1`, and so on; the second half of a fork `..._conv2b`.
    """
    outputs = [chain(x, steps, f"{name}_branch{number}", norm) for number, steps in enumerate(branches, start=1)]
    return Concatenate(name=name)(outputs)


def chain(x: keras.KerasTensor, steps: Sequence[Step], name: str, norm: Norm) -> keras.KerasTensor:
    """Steps one after the other: layers `{name}_conv1`, `{name}_bn1`, `{name}_relu1`, `{name}_pool1`, ..."""
    convs = pools = 0
    for step in steps:
        if isinstance(step, Pool):
            pools += 1
            x = _pool(x, step, f"{name}_pool{pools}")
            continue
        convs += 1
        if isinstance(step, Conv):
            x = _conv(x, step, name, str(convs), norm)
        else:
            halves = [
                _conv(x, step.first, name, f"{convs}a", norm),
                _conv(x, step.second, name, f"{convs}b", norm),
            ]
            x = Concatenate(name=f"{name}_join{convs}")(halves)
    return x


def _conv(x: keras.KerasTensor, conv: Conv, name: str, number: str, norm: Norm) -> keras.KerasTensor:
    x, padding = _padded(x, conv.padding, f"{name}_pad{number}")
    settings = {"strides": conv.strides, "padding": padding, "use_bias": norm is None}
    x = Conv2D(conv.filters, conv.size, **settings, name=f"{name}_conv{number}")(x)
    if norm is not None:
        x = BatchNormalization(**norm, name=f"{name}_bn{number}")(x)
    return Activation("relu", name=f"{name}_relu{number}")(x)


def _pool(x: keras.KerasTensor, pool: Pool, name: str) -> keras.KerasTensor:
    x, padding = _padded(x, pool.padding, f"{name}_pad")
    layer = AveragePooling2D if pool.kind == "average" else MaxPooling2D
    return layer(pool.size, strides=pool.strides, padding=padding, name=name)(x)


def _padded(x: keras.KerasTensor, padding: Padding, name: str) -> tuple[keras.KerasTensor, str]:
    """The input with its explicit zeros, and the word for the layer behind."""
    if isinstance(padding, str):
        return x, padding
    return ZeroPadding2D(padding, name=name)(x), "valid"

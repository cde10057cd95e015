"""Inception with batch normalisation (Inception v2): the network on which batch normalisation was shown.

Idea: normalise what enters each nonlinearity over the mini-batch; then a much higher learning rate works, and dropout
and normalisation across channels are not needed. Two 3x3 convolutions take the place of GoogLeNet's 5x5.

    stage         what                                                                    output          small form
    stem1_pool1   7x7/2 (64), max pool 3x3/2                                              [56, 56, 64]
    stem2_pool1   1x1 (64), 3x3 (192), max pool 3x3/2                                     [28, 28, 192]
    stem1_relu1   3x3 (96), the whole stem of the small form                                              [32, 32, 96]
    inception_3a  1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 | average pool 3x3, 1x1                  [28, 28, 256]   [32, 32, 64]
    inception_3b  the same, wider                                                         [28, 28, 320]   [32, 32, 80]
    inception_3c  1x1, 3x3/2 | 1x1, 3x3, 3x3/2 | max pool 3x3/2                           [14, 14, 576]   [16, 16, 160]
    inception_4a  as 3a                                                                   [14, 14, 576]   [16, 16, 160]
    inception_4b                                                                          [14, 14, 576]   [16, 16, 160]
    inception_4c                                                                          [14, 14, 608]   [16, 16, 160]
    inception_4d                                                                          [14, 14, 608]   [16, 16, 144]
    inception_4e  as 3c                                                                   [7, 7, 1056]    [8, 8, 240]
    inception_5a  as 3a                                                                   [7, 7, 1024]    [8, 8, 336]
    inception_5b  as 3a, with a max pool                                                  [7, 7, 1024]    [8, 8, 336]

Every convolution is followed by batch normalisation and ReLU. In the small form a module is 1x1 | 3x3 and one that
halves the map 3x3/2 | max pool 3x3/2.

Paper: Ioffe, Szegedy: "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
ICML 2015: figure 5 (the stages). `inception_bn_cifar`: Zhang, Bengio, Hardt, Recht, Vinyals: "Understanding deep
learning requires rethinking generalization", ICLR 2017, figure 3 (first in MXNet's examples).

Deviations: figure 5 contradicts itself: the branches of 4c and 4d have 608 channels together, its output column says
576 (and 1024 after 4e). Here the branches count, as in the Caffe model in common use. Borders are padded and odd sizes
halved as there, too; the figure does not say. The first convolution is a plain one (the authors' was separable, which
the figure does not show). The small form takes whole 32x32 images, not 28x28 pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import keras

from kapps.blocks.inception import ROUND_UP, Conv, Pool, Step, chain, module

Branches = tuple[tuple[Step, ...], ...]

HALVE = Pool("max", 3, 2, ROUND_UP)


def _inception(
    one: int, three: tuple[int, int], double: tuple[int, int], kind: Literal["average", "max"], pooled: int
) -> Branches:
    """Channels: of 1x1; before and of 3x3; before and of two 3x3; behind the pool."""
    twice = (Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3))
    return (Conv(one),), (Conv(three[0]), Conv(three[1], 3)), twice, (Pool(kind, padding=1), Conv(pooled))


def _inception_halving(three: tuple[int, int], double: tuple[int, int]) -> Branches:
    twice = (Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3, 2, padding=1))
    # Caffe's pool; but where a size is odd, the Caffe model's branches do not fit together, and with "same" they do
    return (Conv(three[0]), Conv(three[1], 3, 2, padding=1)), twice, (Pool("max", 3, 2),)


# Figure 5.
STEM = {
    "stem1_pool1": (Conv(64, 7, 2, padding=3), HALVE),
    "stem2_pool1": (Conv(64), Conv(192, 3), HALVE),
}
MODULES = {
    "inception_3a": _inception(64, (64, 64), (64, 96), "average", 32),
    "inception_3b": _inception(64, (64, 96), (64, 96), "average", 64),
    "inception_3c": _inception_halving((128, 160), (64, 96)),
    "inception_4a": _inception(224, (64, 96), (96, 128), "average", 128),
    "inception_4b": _inception(192, (96, 128), (96, 128), "average", 128),
    "inception_4c": _inception(160, (128, 160), (128, 160), "average", 128),
    "inception_4d": _inception(96, (128, 192), (160, 192), "average", 128),
    "inception_4e": _inception_halving((128, 192), (192, 256)),
    "inception_5a": _inception(352, (192, 320), (160, 224), "average", 128),
    "inception_5b": _inception(352, (192, 320), (192, 224), "max", 128),
}


def _small(one: int, three: int) -> Branches:
    return (Conv(one),), (Conv(three, 3),)


def _small_halving(three: int) -> Branches:
    return (Conv(three, 3, 2, padding=1),), (Pool("max", 3, 2, padding=1),)


# Zhang et al., figure 3.
SMALL_STEM = {"stem1_relu1": (Conv(96, 3),)}
SMALL_MODULES = {
    "inception_3a": _small(32, 32),
    "inception_3b": _small(32, 48),
    "inception_3c": _small_halving(80),
    "inception_4a": _small(112, 48),
    "inception_4b": _small(96, 64),
    "inception_4c": _small(80, 80),
    "inception_4d": _small(48, 96),
    "inception_4e": _small_halving(96),
    "inception_5a": _small(176, 160),
    "inception_5b": _small(176, 160),
}


@dataclass(frozen=True)
class InceptionBNConfig:
    """Which of the two tables, and the normalisation's numbers.

    Attributes:
        small: the table for 32x32 images instead of figure 5.
        epsilon: of the batch normalisations.
        momentum: of their moving statistics.
    """

    small: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9


VARIANTS = {
    "inception_bn": InceptionBNConfig(),
    "inception_bn_cifar": InceptionBNConfig(small=True),
}


def build(config: InceptionBNConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] to `inception_5b`: [B, H/32, W/32, 1024], or small [B, H/4, W/4, 336]."""
    norm = {"epsilon": config.epsilon, "momentum": config.momentum}
    stem, modules = (SMALL_STEM, SMALL_MODULES) if config.small else (STEM, MODULES)
    x, features = image, {}
    for name, steps in stem.items():
        x = features[name] = chain(x, steps, name.partition("_")[0], norm)
    for name, branches in modules.items():
        x = features[name] = module(x, branches, name, norm)
    return features

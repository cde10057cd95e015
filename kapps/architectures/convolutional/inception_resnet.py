"""Inception-ResNet v1 and v2: Inception modules whose output is a scaled change of their input.

Idea: residual connections replace the joining of branches, so that very wide modules train fast; scaling the residuals
down before they are added keeps thousands of filters from dying early in training.

    stage       what                                                              v1              v2
    stem_relu6  convolutions 3x3/2, 3x3, 3x3, max pool /2, 1x1, 3x3, 3x3/2        [35, 35, 256]
    stem_pool2  the same, but at the end a max pool /2 and then                                   [35, 35, 192]
    mixed_5b    1x1 | 5x5 | two 3x3 | average pool and 1x1                                        [35, 35, 320]
    a1          1x1 | 3x3 | two 3x3; joined, 1x1 linear, scaled, added            [35, 35, 256]   [35, 35, 320]
    ...
    a10         the same: 5 in v1, 10 in v2                                                       [35, 35, 320]
    mixed_6a    3x3/2 | 1x1, 3x3, 3x3/2 | max pool /2                             [17, 17, 896]   [17, 17, 1088]
    b1          1x1 | 1x7, 7x1; joined, 1x1 linear, scaled, added                 [17, 17, 896]   [17, 17, 1088]
    ...
    b20         the same: 10 in v1, 20 in v2                                                      [17, 17, 1088]
    mixed_7a    1x1, 3x3/2 | 1x1, 3x3/2 | 1x1, 3x3, 3x3/2 | max pool /2           [8, 8, 1792]    [8, 8, 2080]
    c1          1x1 | 1x3, 3x1; joined, 1x1 linear, scaled, added                 [8, 8, 1792]    [8, 8, 2080]
    ...
    c10         the same: 5 in v1, 10 in v2, the last of v2 unscaled, no ReLU                     [8, 8, 2080]
    last_relu1  1x1 convolution                                                                   [8, 8, 1536]

Every convolution but the linear ones is followed by batch normalisation and ReLU, every addition by ReLU.

Paper: Szegedy, Ioffe, Vanhoucke, Alemi: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", AAAI 2017: figure 15 (the stages), figure 14 (v1's stem), figures 10 to 13 (v1's modules), 7 and table 1 (the
widths of `mixed_6a`), 16 to 19 (v2's modules), 20 and section 3.3 (the scaling).

Deviations: the paper scales by 0.1 to 0.3; here by 0.17 (a), 0.10 (b) and 0.20 (c), as in the authors' code. v1 is the
paper's. v2 is the model that the authors published with weights, which is not the paper's figure: Inception v3's stem
and its module `mixed_5b` with 96 and 64 channels outside, twice as many residual modules (10, 20, 10), a last module
without scaling and ReLU, and a last convolution. `inception_resnet_v2_timm` is v2 with a learned scale in the
normalisation, as timm has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import Activation, Add, Concatenate, Conv2D, Dense, Dropout, GlobalAveragePooling2D, Rescaling

from kapps.blocks.inception import Conv, Norm, Pool, Step, chain, module

Branches = tuple[tuple[Step, ...], ...]

SHRINK = Pool("max", 3, 2, "valid")

# Figure 14, up to where the versions part.
STEM = (
    *(Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3), SHRINK),
    *(Conv(80, 1), Conv(192, 3, 1, "valid")),
)
MIXED_5B = (
    (Conv(96),),
    (Conv(48), Conv(64, 5)),
    (Conv(64), Conv(96, 3), Conv(96, 3)),
    (Pool("average"), Conv(64)),
)


def _a(third: int, fourth: int) -> Branches:  # figures 10 and 16
    return (Conv(32),), (Conv(32), Conv(32, 3)), (Conv(32), Conv(third, 3), Conv(fourth, 3))


def _b(first: int, middle: int, last: int) -> Branches:  # figures 11 and 17
    return (Conv(first),), (Conv(128), Conv(middle, (1, 7)), Conv(last, (7, 1)))


def _c(middle: int, last: int) -> Branches:  # figures 13 and 19
    return (Conv(192),), (Conv(192), Conv(middle, (1, 3)), Conv(last, (3, 1)))


def _mixed_6a(k: int, l: int, m: int, n: int) -> Branches:  # noqa: E741  figure 7, with the letters of table 1
    return (Conv(n, 3, 2, "valid"),), (Conv(k), Conv(l, 3), Conv(m, 3, 2, "valid")), (SHRINK,)


def _mixed_7a(second: int, third: int) -> Branches:  # figures 12 and 18
    return (
        (Conv(256), Conv(384, 3, 2, "valid")),
        (Conv(256), Conv(second, 3, 2, "valid")),
        (Conv(256), Conv(second, 3), Conv(third, 3, 2, "valid")),
        (SHRINK,),
    )


@dataclass(frozen=True)
class Modules:
    """One version's table: the end of its stem, and the branches of its modules."""

    stem_end: Conv | Pool
    a: Branches
    mixed_6a: Branches
    b: Branches
    mixed_7a: Branches
    c: Branches


MODULES = {
    1: Modules(
        stem_end=Conv(256, 3, 2, "valid"),
        a=_a(32, 32),
        mixed_6a=_mixed_6a(192, 192, 256, 384),
        b=_b(128, 128, 128),
        mixed_7a=_mixed_7a(256, 256),
        c=_c(192, 192),
    ),
    2: Modules(
        stem_end=SHRINK,
        a=_a(48, 64),
        mixed_6a=_mixed_6a(256, 256, 384, 384),
        b=_b(192, 160, 192),
        mixed_7a=_mixed_7a(288, 320),
        c=_c(224, 256),
    ),
}


@dataclass(frozen=True)
class InceptionResNetConfig:
    """What the versions differ in.

    Attributes:
        version: 1 or 2: the widths of the modules and the end of the stem.
        repeats: of the residual modules a, b and c.
        scales: of the residuals of a, b and c.
        linear_last: whether the last module c is neither scaled nor followed by ReLU.
        last: channels of a 1x1 convolution at the end; 0 = none.
        scale: whether the batch normalisations have a learned scale.
        momentum: of the batch normalisations' moving statistics.
        dropout: before the classifier; the paper keeps 0.8.
    """

    version: Literal[1, 2] = 2
    repeats: tuple[int, int, int] = (10, 20, 10)
    scales: tuple[float, float, float] = (0.17, 0.10, 0.20)
    linear_last: bool = True
    last: int = 1536
    scale: bool = False
    momentum: float = 0.99
    dropout: float = 0.2


VARIANTS = {
    "inception_resnet_v1": InceptionResNetConfig(version=1, repeats=(5, 10, 5), linear_last=False, last=0),
    "inception_resnet_v2": InceptionResNetConfig(),
    "inception_resnet_v2_timm": InceptionResNetConfig(scale=True, momentum=0.9),
}


def build(config: InceptionResNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, 3], H and W at least 75, to the last map [B, H/32, W/32, C], rounded."""
    norm: Norm = {"epsilon": 1e-3, "momentum": config.momentum, "scale": config.scale}
    modules = MODULES[config.version]
    features: dict[str, keras.KerasTensor] = {}

    def residuals(x: keras.KerasTensor, letter: str, branches: Branches) -> keras.KerasTensor:
        index = "abc".index(letter)
        count, scale = config.repeats[index], config.scales[index]
        for number in range(1, count + 1):
            linear = config.linear_last and letter == "c" and number == count
            x = _residual(x, branches, 1.0 if linear else scale, f"{letter}{number}", norm, relu=not linear)
            features[f"{letter}{number}"] = x
        return x

    x = chain(image, (*STEM, modules.stem_end), "stem", norm)  # v1 [35, 35, 256], v2 [35, 35, 192]
    features["stem_relu6" if config.version == 1 else "stem_pool2"] = x
    if config.version == 2:
        x = features["mixed_5b"] = module(x, MIXED_5B, "mixed_5b", norm)  # [35, 35, 320]
    x = residuals(x, "a", modules.a)
    x = features["mixed_6a"] = module(x, modules.mixed_6a, "mixed_6a", norm)  # [17, 17, 896] or [17, 17, 1088]
    x = residuals(x, "b", modules.b)
    x = features["mixed_7a"] = module(x, modules.mixed_7a, "mixed_7a", norm)  # [8, 8, 1792] or [8, 8, 2080]
    x = residuals(x, "c", modules.c)
    if config.last:
        features["last_relu1"] = chain(x, (Conv(config.last),), "last", norm)  # [8, 8, 1536]
    return features


def classify(
    config: InceptionResNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The mean over the last map, dropout and one dense layer: [B, num_classes]."""
    x = GlobalAveragePooling2D(name="global_pool")(list(features.values())[-1])  # [1792] or [1536]
    x = Dropout(config.dropout, name="predictions_dropout")(x)
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def _residual(
    x: keras.KerasTensor, branches: Branches, scale: float, name: str, norm: Norm, relu: bool
) -> keras.KerasTensor:
    """x + scale * linear(branches of x), and ReLU: [B, H, W, C] to the same."""
    outputs = [chain(x, steps, f"{name}_branch{number}", norm) for number, steps in enumerate(branches, start=1)]
    change = Concatenate(name=f"{name}_mixed")(outputs)
    change = Conv2D(x.shape[-1], 1, name=f"{name}_linear")(change)  # with biases, without normalisation
    change = Rescaling(scale, name=f"{name}_scaled")(change)
    if not relu:
        return Add(name=name)([x, change])
    return Activation("relu", name=name)(Add(name=f"{name}_sum")([x, change]))

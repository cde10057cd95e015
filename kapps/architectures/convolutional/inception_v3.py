"""Inception v3: large filters taken apart into small and one-dimensional ones.

Idea: a 5x5 convolution becomes two 3x3, an nxn one becomes 1xn and nx1, and the grid shrinks by parallel strided
branches, so that no layer is a bottleneck and none is expensive.

    stage       what                                                                    output
    stem1_pool1 convolutions 3x3/2 (32), 3x3 (32), 3x3 (64); max pool 3x3/2             [73, 73, 64]
    stem2_pool1 convolutions 1x1 (80), 3x3 (192); max pool 3x3/2                        [35, 35, 192]
    mixed_5b    1x1 | 5x5 | two 3x3 | average pool and 1x1 (figure 5)                   [35, 35, 256]
    mixed_5c    the same, more of the pool                                              [35, 35, 288]
    mixed_5d    the same                                                                [35, 35, 288]
    mixed_6a    3x3/2 | two 3x3, the second /2 | max pool /2 (figure 10)                [17, 17, 768]
    mixed_6b    1x1 | 1x7, 7x1 | twice 7x1, 1x7 | average pool and 1x1 (figure 6)       [17, 17, 768]
    mixed_6c    the same, 160 instead of 128 channels inside                            [17, 17, 768]
    mixed_6d    the same                                                                [17, 17, 768]
    mixed_6e    the same, 192 channels; the auxiliary classifier looks here             [17, 17, 768]
    mixed_7a    3x3/2 | 1x7, 7x1, 3x3/2 | max pool /2                                   [8, 8, 1280]
    mixed_7b    1x1 | 1x3 beside 3x1 | 3x3, 1x3 beside 3x1 | average pool (figure 7)    [8, 8, 2048]
    mixed_7c    the same                                                                [8, 8, 2048]

Every convolution is followed by batch normalisation and ReLU.

Paper: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: "Rethinking the Inception Architecture for Computer Vision", CVPR 2016:
table 1 (the stages), figures 5, 6, 7 and 10 (the modules), figure 8 (the auxiliary classifier).

Deviations: the published model is not quite table 1, and this is the published one: its stem has a 1x1 convolution (80)
and a second pool where the table has a strided convolution, and 5x5 convolutions stay in the first modules, where
figure 5 has two 3x3. The widths inside the modules, which the paper leaves out, are its too.
`inception_v3_torchvision` computes as torchvision and timm do: the zeros around the image count in the average pools,
and the normalisation has a learned scale. Dropout before the classifier is 0.2 in the authors' code and 0.5 in
torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import AveragePooling2D, Dense, Dropout, GlobalAveragePooling2D

from kapps.blocks.inception import Conv, Fork, Padding, Pool, Step, chain, module

STEM_1 = (Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3), Pool("max", 3, 2, "valid"))
STEM_2 = (Conv(80, 1), Conv(192, 3, 1, "valid"), Pool("max", 3, 2, "valid"))


@dataclass(frozen=True)
class InceptionV3Config:
    """What the two published forms differ in.

    Attributes:
        average_padding: of the 3x3 average pools: `"same"`, whose border does not count, or 1, whose zeros do.
        scale: whether the batch normalisations have a learned scale.
        momentum: of the batch normalisations' moving statistics.
        dropout: before the classifier.
    """

    average_padding: Padding = "same"
    scale: bool = False
    momentum: float = 0.99
    dropout: float = 0.2


VARIANTS = {
    "inception_v3": InceptionV3Config(),
    "inception_v3_torchvision": InceptionV3Config(average_padding=1, scale=True, momentum=0.9, dropout=0.5),
}


def modules(config: InceptionV3Config) -> dict[str, tuple[tuple[Step, ...], ...]]:
    """The branches of each module, in reading order."""
    average = Pool("average", padding=config.average_padding)
    shrink = Pool("max", 3, 2, "valid")

    def square(pooled: int) -> tuple[tuple[Step, ...], ...]:  # figure 5
        triple = (Conv(64), Conv(96, 3), Conv(96, 3))
        return (Conv(64),), (Conv(48), Conv(64, 5)), triple, (average, Conv(pooled))

    def lines(n: int) -> tuple[tuple[Step, ...], ...]:  # figure 6
        double = (Conv(n), Conv(n, (7, 1)), Conv(n, (1, 7)), Conv(n, (7, 1)), Conv(192, (1, 7)))
        return (Conv(192),), (Conv(n), Conv(n, (1, 7)), Conv(192, (7, 1))), double, (average, Conv(192))

    fork = Fork(Conv(384, (1, 3)), Conv(384, (3, 1)))
    spread = (Conv(320),), (Conv(384), fork), (Conv(448), Conv(384, 3), fork), (average, Conv(192))  # figure 7
    return {
        "mixed_5b": square(32),
        "mixed_5c": square(64),
        "mixed_5d": square(64),
        "mixed_6a": (
            (Conv(384, 3, 2, "valid"),),
            (Conv(64), Conv(96, 3), Conv(96, 3, 2, "valid")),
            (shrink,),
        ),
        "mixed_6b": lines(128),
        "mixed_6c": lines(160),
        "mixed_6d": lines(160),
        "mixed_6e": lines(192),
        "mixed_7a": (
            (Conv(192), Conv(320, 3, 2, "valid")),
            (Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2, "valid")),
            (shrink,),
        ),
        "mixed_7b": spread,
        "mixed_7c": spread,
    }


def build(config: InceptionV3Config, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, 3], H and W at least 75, to `mixed_7c` [B, H/32, W/32, 2048], rounded."""
    norm = _norm(config)
    features = {}
    x = features["stem1_pool1"] = chain(image, STEM_1, "stem1", norm)  # [73, 73, 64]
    x = features["stem2_pool1"] = chain(x, STEM_2, "stem2", norm)  # [35, 35, 192]
    for name, branches in modules(config).items():
        x = features[name] = module(x, branches, name, norm)
    return features


def classify(
    config: InceptionV3Config, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The mean over the last map, dropout and one dense layer: [B, num_classes]."""
    x = GlobalAveragePooling2D(name="global_pool")(features["mixed_7c"])  # [2048]
    x = Dropout(config.dropout, name="predictions_dropout")(x)
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def auxiliary(
    config: InceptionV3Config, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> dict[str, keras.KerasTensor]:
    """The classifier on `mixed_6e`, for training (figure 8): `{"aux1": [B, num_classes]}`.

    Its loss counts 0.3 in torchvision's recipe and 0.4 in the authors' code. Its 5x5 convolution needs images of at
    least 299 pixels a side.
    """
    x = AveragePooling2D(5, strides=3, name="aux1_pool")(features["mixed_6e"])  # [5, 5, 768]
    x = chain(x, (Conv(128), Conv(768, 5, 1, "valid")), "aux1", _norm(config))  # [1, 1, 768]
    x = GlobalAveragePooling2D(name="aux1_global_pool")(x)
    return {"aux1": Dense(num_classes, activation=activation, dtype="float32", name="aux1")(x)}


def _norm(config: InceptionV3Config) -> dict[str, float | bool]:
    return {"epsilon": 1e-3, "momentum": config.momentum, "scale": config.scale}

"""Xception: an Inception network whose modules are depthwise separable convolutions, with residual connections.

Idea: cross-channel and spatial correlations are mapped apart: a 3x3 convolution inside each channel, then a 1x1
convolution over the channels, the extreme form of an Inception module.

    stage         what                                                          output
    entry1_relu2  convolutions 3x3/2 (32), 3x3 (64)                             [147, 147, 64]
    entry2        two separable convolutions (128), max pool /2; shortcut 1x1/2 [74, 74, 128]
    entry3        the same (256), ReLU first                                    [37, 37, 256]
    entry4        the same (728)                                                [19, 19, 728]
    middle5       three times ReLU and separable convolution (728); shortcut    [19, 19, 728]
    ...
    middle12      the same: eight in all                                        [19, 19, 728]
    exit13        separable convolutions (728, 1024), max pool /2; shortcut     [10, 10, 1024]
    exit14_relu2  separable convolutions (1536, 2048)                           [10, 10, 2048]

Every convolution, separable or not, is followed by batch normalisation.

Paper: Chollet: "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, figure 5.

Deviations: none in `xception`: the figure and the author's code. `xception_timm` computes what timm's `legacy_xception`
makes of the same weights: its max pools put a border around all four sides, which shifts the pooled grid by one pixel
wherever a size is even (74 at the default input), and its normalisation has an epsilon of 1e-5, not 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
    SeparableConv2D,
)

# Figure 5: the modules that halve the map, with the channels of their two separable convolutions.
ENTRY: dict[str, tuple[int, ...]] = {"entry2": (128, 128), "entry3": (256, 256), "entry4": (728, 728)}
MIDDLE: dict[str, tuple[int, ...]] = {f"middle{number}": (728, 728, 728) for number in range(5, 13)}
EXIT: dict[str, tuple[int, ...]] = {"exit13": (728, 1024)}


@dataclass(frozen=True)
class XceptionConfig:
    """What the two published forms differ in.

    Attributes:
        pool_border: of the 3x3/2 max pools: `"same"` has the odd pixel of the border below and right, as TensorFlow
            does, `"around"` one pixel on each side.
        epsilon: of the batch normalisations.
        momentum: of their moving statistics.
        dropout: before the classifier.
    """

    pool_border: Literal["same", "around"] = "same"
    epsilon: float = 1e-3
    momentum: float = 0.99
    dropout: float = 0.5


VARIANTS = {
    "xception": XceptionConfig(),
    "xception_timm": XceptionConfig(pool_border="around", epsilon=1e-5, momentum=0.9, dropout=0.0),
}


def build(config: XceptionConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, 3], H and W at least 71, to `exit14_relu2` [B, H/32, W/32, 2048], rounded."""
    x = Conv2D(32, 3, strides=2, use_bias=False, name="entry1_conv1")(image)  # [149, 149, 32]
    x = Activation("relu", name="entry1_relu1")(_norm(config, x, "entry1_bn1"))
    x = Conv2D(64, 3, use_bias=False, name="entry1_conv2")(x)  # [147, 147, 64]
    x = Activation("relu", name="entry1_relu2")(_norm(config, x, "entry1_bn2"))
    features = {"entry1_relu2": x}
    for name, channels in ENTRY.items():
        x = features[name] = _halving(config, x, channels, name, relu_first=name != "entry2")  # [19, 19, 728] at last
    for name, channels in MIDDLE.items():
        x = features[name] = Add(name=name)([_separable(config, x, channels, name), x])  # [19, 19, 728]
    for name, channels in EXIT.items():
        x = features[name] = _halving(config, x, channels, name)  # [10, 10, 1024]
    for number, filters in enumerate((1536, 2048), start=1):
        x = SeparableConv2D(filters, 3, padding="same", use_bias=False, name=f"exit14_sepconv{number}")(x)
        x = Activation("relu", name=f"exit14_relu{number}")(_norm(config, x, f"exit14_bn{number}"))
    return {**features, "exit14_relu2": x}  # [10, 10, 2048]


def classify(
    config: XceptionConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The mean over the last map, dropout and one dense layer: [B, num_classes]."""
    x = GlobalAveragePooling2D(name="global_pool")(features["exit14_relu2"])  # [2048]
    x = Dropout(config.dropout, name="predictions_dropout")(x)
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def _halving(
    config: XceptionConfig, x: keras.KerasTensor, channels: tuple[int, ...], name: str, relu_first: bool = True
) -> keras.KerasTensor:
    """Separable convolutions and a max pool; beside them a 1x1/2 convolution: [B, H, W, C] to [B, H/2, W/2, D]."""
    shortcut = Conv2D(channels[-1], 1, strides=2, use_bias=False, name=f"{name}_shortcut_conv")(x)
    shortcut = _norm(config, shortcut, f"{name}_shortcut_bn")
    x = _separable(config, x, channels, name, relu_first)
    if config.pool_border == "around":
        # what is pooled may be negative, so the border must not be zeros: pool everywhere, then take every other one
        x = MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool_all")(x)
        x = MaxPooling2D(1, strides=2, name=f"{name}_pool")(x)
    else:
        x = MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return Add(name=name)([x, shortcut])


def _separable(
    config: XceptionConfig, x: keras.KerasTensor, channels: tuple[int, ...], name: str, relu_first: bool = True
) -> keras.KerasTensor:
    """ReLU (the first may be missing), separable convolution, batch normalisation, for each number of channels."""
    for number, filters in enumerate(channels, start=1):
        if relu_first or number > 1:
            x = Activation("relu", name=f"{name}_relu{number}")(x)
        x = SeparableConv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_sepconv{number}")(x)
        x = _norm(config, x, f"{name}_bn{number}")
    return x


def _norm(config: XceptionConfig, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return BatchNormalization(epsilon=config.epsilon, momentum=config.momentum, name=name)(x)

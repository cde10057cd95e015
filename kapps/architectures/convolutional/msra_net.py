"""MSRA-net: the first networks that read ImageNet better than a person did, with PReLUs and an initialisation for them.

Idea: let each map learn the slope of its rectifier for negative inputs, and start the weights so that the variance of
the signal stays the same through any number of such layers; then nets of 22 layers train from scratch.

    stage   what                                                 A                B                C
    conv1   convolution 7x7, stride 2, 96 maps                   [112, 112, 96]   [112, 112, 96]   [112, 112, 96]
    stage1  max pooling 2x2; 5 convolutions 3x3 (B, C: 6)        [56, 56, 256]    [56, 56, 256]    [56, 56, 384]
    stage2  max pooling 2x2; 5 convolutions 3x3 (B, C: 6)        [28, 28, 512]    [28, 28, 512]    [28, 28, 768]
    stage3  max pooling 2x2; 5 convolutions 3x3 (B, C: 6)        [14, 14, 512]    [14, 14, 512]    [14, 14, 896]
    spp     maxima over grids of 7x7, 3x3, 2x2 and 1x1 bins      [63 * 512]       [63 * 512]       [63 * 896]
    fc6     full connection, dropout 0.5                         [4096]           [4096]           [4096]
    fc7     full connection, dropout 0.5                         [4096]           [4096]           [4096]

A PReLU, max(0, y) + a min(0, y), follows each convolution and full connection: one a for each map or unit, from 0.25.

Paper: He, Zhang, Ren, Sun: "Delving deep into rectifiers: surpassing human-level performance on ImageNet
classification", ICCV 2015, table 3; eq. 1 is the PReLU, eq. 15 the standard deviation sqrt(2 / ((1 + a^2) n)) of the
weights at the start, n being the inputs of a unit.

Deviations: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import Conv2D, Dense, Dropout, MaxPooling2D, PReLU, ZeroPadding2D

from kapps.layers.spatial_pyramid_pooling import SpatialPyramidPooling


@dataclass(frozen=True)
class MSRANetConfig:
    """A column of table 3.

    Attributes:
        depth: convolutions a stage.
        filters: maps of each stage.
        levels: bins a side of the pyramid's grids.
        units: of fc6 and fc7.
        slope: a of all PReLUs at the start.
        dropout_rate: behind fc6 and fc7.
    """

    depth: int
    filters: tuple[int, ...]
    levels: tuple[int, ...] = (7, 3, 2, 1)
    units: int = 4096
    slope: float = 0.25
    dropout_rate: float = 0.5


VARIANTS = {
    "msra_net_a": MSRANetConfig(5, (256, 512, 512)),
    "msra_net_b": MSRANetConfig(6, (256, 512, 512)),
    "msra_net_c": MSRANetConfig(6, (384, 768, 896)),
}


def build(config: MSRANetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] of any size (H and W may be None) to fc7 [B, 4096]."""
    start = _start(config)
    x = ZeroPadding2D(3, name="border")(image)
    x = Conv2D(96, 7, strides=2, kernel_initializer=start, name="conv1_linear")(x)
    x = _prelu(config, x, "conv1")  # [112, 112, 96]
    features = {"conv1": x}
    for stage, filters in enumerate(config.filters, 1):
        x = MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        for number in range(1, config.depth + 1):
            name = f"stage{stage}_conv{number}"
            x = Conv2D(filters, 3, padding="same", kernel_initializer=start, name=name)(x)
            x = _prelu(config, x, f"stage{stage}" if number == config.depth else f"stage{stage}_prelu{number}")
        features[f"stage{stage}"] = x
    x = features["spp"] = SpatialPyramidPooling(config.levels, name="spp")(x)  # [63 * 512]
    for name in ("fc6", "fc7"):
        if name == "fc7":
            x = Dropout(config.dropout_rate, name="fc6_dropout")(x)
        x = Dense(config.units, kernel_initializer=start, name=f"{name}_linear")(x)
        x = features[name] = _prelu(config, x, name)  # [4096]
    return features


def classify(
    config: MSRANetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """Dropout and the output layer fc8: fc7 [B, 4096] to [B, num_classes]."""
    x = Dropout(config.dropout_rate, name="fc7_dropout")(features["fc7"])
    start = _start(config)
    return Dense(num_classes, activation=activation, kernel_initializer=start, dtype="float32", name="predictions")(x)


def _prelu(config: MSRANetConfig, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Eq. 1, the slope shared over the places of a map."""
    places = [1, 2] if len(x.shape) == 4 else None
    return PReLU(keras.initializers.Constant(config.slope), shared_axes=places, name=name)(x)


def _start(config: MSRANetConfig) -> keras.initializers.Initializer:
    """Eq. 15."""
    return keras.initializers.VarianceScaling(2 / (1 + config.slope**2), "fan_in", "untruncated_normal")

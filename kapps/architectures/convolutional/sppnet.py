"""SPP-net: convolutional networks that take images of any size, by pooling over a spatial pyramid.

Idea: only the full connections need inputs of one length. Pooling the last maps over grids of fixed numbers of bins,
whose size follows the image, gives that length from any image, and keeps at several scales where things are.

    stage   what                                                             sppnet_zf5        sppnet_overfeat7
    conv1   convolution 7x7, stride 2, 96 maps                               [110, 110, 96]    [109, 109, 96]
    pool1   LRN and max pooling 3x3, stride 2 (OverFeat: stride 3)           [55, 55, 96]      [36, 36, 96]
    conv2   convolution 5x5, 256 maps (ZF: stride 2)                         [27, 27, 256]     [36, 36, 256]
    pool2   ZF: LRN, max pooling 3x3, stride 2; OverFeat: 2x2, stride 2      [13, 13, 256]     [18, 18, 256]
    conv3   convolution 3x3                                                  [13, 13, 384]     [18, 18, 512]
    conv4   convolution 3x3                                                  [13, 13, 384]     [18, 18, 512]
    conv5   convolution 3x3                                                  [13, 13, 256]     [18, 18, 512]
    conv6   OverFeat only: convolution 3x3                                                     [18, 18, 512]
    conv7   OverFeat only: convolution 3x3                                                     [18, 18, 512]
    spp     maxima over grids of 6x6, 3x3, 2x2 and 1x1 bins                  [50 * 256]        [50 * 512]
    fc6     full connection, dropout 0.5                                     [4096]            [4096]
    fc7     full connection, dropout 0.5                                     [4096]            [4096]

A ReLU follows each convolution and full connection.

Paper: He, Zhang, Ren, Sun: "Spatial pyramid pooling in deep convolutional networks for visual recognition", ECCV 2014
and TPAMI 2015, table 1 (the networks) and section 3.1 (the pyramid).

Deviations: "the padding is adjusted to produce the expected output feature map size", says the paper, and no more; here
1 around both strided convolutions of ZF-5 and an overhanging last pooling window behind conv1. The full connections
start as in He et al. 2015, the convolutions, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import Conv2D, Dense, Dropout, MaxPooling2D, ZeroPadding2D

from kapps.layers.local_response_normalization import LocalResponseNormalization
from kapps.layers.spatial_pyramid_pooling import SpatialPyramidPooling


@dataclass(frozen=True)
class SPPNetConfig:
    """A row of table 1 and its pyramid.

    Attributes:
        filters: maps of the convolutions.
        strides: of conv1 and conv2.
        paddings: zeros on each side before conv1 and conv2.
        pools: (window, stride) behind conv1 and conv2.
        overhangs: whether a last window of that pooling may hang over the border.
        normalization: of conv1 and conv2: response normalisation `"before"` or `"behind"` the pooling, or `"none"`.
        levels: bins a side of the pyramid's grids.
        units: of fc6 and fc7.
        dropout_rate: behind them.
    """

    filters: tuple[int, ...]
    strides: tuple[int, int]
    paddings: tuple[int, int]
    pools: tuple[tuple[int, int], tuple[int, int]]
    overhangs: tuple[bool, bool]
    normalization: tuple[Literal["before", "behind", "none"], Literal["before", "behind", "none"]]
    levels: tuple[int, ...] = (6, 3, 2, 1)
    units: int = 4096
    dropout_rate: float = 0.5


VARIANTS = {
    "sppnet_zf5": SPPNetConfig(
        filters=(96, 256, 384, 384, 256),
        strides=(2, 2),
        paddings=(1, 1),
        pools=((3, 2), (3, 2)),
        overhangs=(True, False),
        normalization=("before", "before"),
    ),
    "sppnet_overfeat7": SPPNetConfig(
        filters=(96, 256, 512, 512, 512, 512, 512),
        strides=(2, 1),
        paddings=(0, 2),
        pools=((3, 3), (2, 2)),
        overhangs=(False, False),
        normalization=("behind", "none"),
    ),
}


def build(config: SPPNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The layers from an image [B, H, W, C] of any size (H and W may be None) to fc7 [B, 4096]."""
    features = {}
    x = image
    for number, kernel in enumerate((7, 5)):
        name = f"conv{number + 1}"
        if config.paddings[number]:
            x = ZeroPadding2D(config.paddings[number], name=f"{name}_border")(x)
        x = Conv2D(config.filters[number], kernel, config.strides[number], name=name, **_RELU)(x)
        features[name] = x
        x = features[f"pool{number + 1}"] = _pool(config, number, x)
    for number, filters in enumerate(config.filters[2:], 3):
        x = Conv2D(filters, 3, padding="same", name=f"conv{number}", **_RELU)(x)
        features[f"conv{number}"] = x
    spp = SpatialPyramidPooling(config.levels, name="spp")(x)  # [50 * 256]
    fc6 = Dense(config.units, name="fc6", **_RELU)(spp)  # [4096]
    x = Dropout(config.dropout_rate, name="fc6_dropout")(fc6)
    fc7 = Dense(config.units, name="fc7", **_RELU)(x)  # [4096]
    return {**features, "spp": spp, "fc6": fc6, "fc7": fc7}


def classify(
    config: SPPNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """Dropout and the output layer fc8: fc7 [B, 4096] to [B, num_classes]."""
    x = Dropout(config.dropout_rate, name="fc7_dropout")(features["fc7"])
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


_RELU = {"activation": "relu", "kernel_initializer": "he_normal"}


def _pool(config: SPPNetConfig, number: int, x: keras.KerasTensor) -> keras.KerasTensor:
    """Max pooling and response normalisation behind conv1 (`number` 0) or conv2; the last one is `pool1`, `pool2`."""
    name, when = f"pool{number + 1}", config.normalization[number]
    window, stride = config.pools[number]
    if when == "before":
        x = LocalResponseNormalization(name=f"norm{number + 1}")(x)
    if config.overhangs[number]:
        # nothing is below 0 behind a ReLU, so the row and column of zeros never win
        x = ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_border")(x)
    x = MaxPooling2D(window, stride, name=f"{name}_max" if when == "behind" else name)(x)
    return LocalResponseNormalization(name=name)(x) if when == "behind" else x

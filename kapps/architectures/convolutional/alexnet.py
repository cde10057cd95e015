"""AlexNet: the network that won ImageNet 2012 by ten points and made everyone change the method.

Idea: a large convolutional network, trained by gradient descent on a million photographs, needs only what makes that
possible: ReLUs that do not saturate, two GPUs that hold half of the maps each, and dropout against overfitting.

    stage   what                                                      output (alexnet)   output (alexnet_tv)
    conv1   convolution 11x11, stride 4                               [55, 55, 96]       [55, 55, 64]
    conv2   LRN; max pooling 3x3, stride 2; convolution 5x5           [27, 27, 256]      [27, 27, 192]
    pool2   LRN; max pooling 3x3, stride 2                            [13, 13, 256]      [13, 13, 192]
    conv3   convolution 3x3                                           [13, 13, 384]      [13, 13, 384]
    conv4   convolution 3x3                                           [13, 13, 384]      [13, 13, 256]
    conv5   convolution 3x3                                           [13, 13, 256]      [13, 13, 256]
    pool5   max pooling 3x3, stride 2                                 [6, 6, 256]        [6, 6, 256]
    fc6     full connection, dropout 0.5                              [4096]             [4096]
    fc7     full connection, dropout 0.5                              [4096]             [4096]

A ReLU follows each convolution and full connection. The pooling windows overlap. In `alexnet` the maps are halved into
two towers, one a GPU: conv2, conv4 and conv5 see their own tower only, conv3 and the full connections see both. Its
features are those where the towers meet; the halves are the layers conv1_tower1 to conv5_tower2. Other image sizes are
averaged to the 6x6 grid that fc6 knows.

Paper: Krizhevsky, Sutskever, Hinton: "ImageNet classification with deep convolutional neural networks", NIPS 2012,
figure 2 and section 3.5; `alexnet_tv` is torchvision's, after Krizhevsky: "One weird trick for parallelizing
convolutional neural networks", 2014: one tower, fewer maps, no local response normalisation.

Deviations: the paper says 224x224, from which an 11x11 kernel with stride 4 does not get 55x55; 227x227 does. Response
normalisation stays within a tower, as the GPUs exchange nothing there. `alexnet_tv` has dropout before fc6 and fc7 and
starts as Glorot, Bengio 2010; `alexnet` starts as in section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras.layers import Concatenate, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, ZeroPadding2D

from kapps.layers.grid_average_pooling import GridAveragePooling
from kapps.layers.local_response_normalization import LocalResponseNormalization

KERNELS = (11, 5, 3, 3, 3)
POOLED = (1, 2, 5)  # convolutions with max pooling behind them
SEES_BOTH_TOWERS = 3
BIASES_START_AT_1 = ("conv2", "conv4", "conv5", "fc6", "fc7")  # section 5: the ReLUs get positive inputs early


@dataclass(frozen=True)
class AlexNetConfig:
    """What the original and the later form differ in.

    Attributes:
        filters: maps of the convolutions, of both towers together.
        towers: 2, or 1 where every convolution sees all maps.
        padding: zeros around the image.
        local_response_normalization: whether conv1 and conv2 have one.
        gaussian_start: weights from N(0, 0.01^2) and some biases 1, as in the paper; else Glorot's uniform and 0.
        dropout: `"behind"` fc6 and fc7, or `"before"` them.
        dropout_rate: of both.
    """

    filters: tuple[int, ...] = (96, 256, 384, 384, 256)
    towers: int = 2
    padding: int = 0
    local_response_normalization: bool = True
    gaussian_start: bool = True
    dropout: Literal["before", "behind"] = "behind"
    dropout_rate: float = 0.5


VARIANTS = {
    "alexnet": AlexNetConfig(),
    "alexnet_tv": AlexNetConfig(
        (64, 192, 384, 256, 256), 1, 2, local_response_normalization=False, gaussian_start=False, dropout="before"
    ),
}


def build(config: AlexNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The layers from an image [B, H, W, C], H and W at least 67 (or None), to fc7 [B, 4096]."""

    def each(layer: type[keras.Layer], name: str, *arguments: Any, **settings: Any) -> list[keras.KerasTensor]:
        """The next layer of every tower."""
        names = [name] if config.towers == 1 else [f"{name}_tower{tower + 1}" for tower in range(config.towers)]
        return [layer(*arguments, name=own, **settings)(x) for own, x in zip(names, towers, strict=True)]

    def both(name: str) -> keras.KerasTensor:
        return towers[0] if config.towers == 1 else Concatenate(name=name)(towers)

    if config.padding:
        image = ZeroPadding2D(config.padding, name="border")(image)
    features = {}
    towers = [image] * config.towers
    for number, (filters, kernel) in enumerate(zip(config.filters, KERNELS, strict=True), 1):
        name = f"conv{number}"
        if number == SEES_BOTH_TOWERS:
            features["pool2"] = both("pool2")
            towers = [features["pool2"]] * config.towers
        shape = {"strides": 4} if number == 1 else {"padding": "same"}
        start = _start(config, name)
        towers = each(Conv2D, name, filters // config.towers, kernel, activation="relu", **shape, **start)
        if config.towers == 1:
            features[name] = towers[0]
        if config.local_response_normalization and number in (1, 2):
            towers = each(LocalResponseNormalization, f"norm{number}")
        if number in POOLED:
            towers = each(MaxPooling2D, f"pool{number}", 3, 2)
    x = features["pool5"] = both("pool5")

    x = GridAveragePooling(6, 6, name="grid")(x)  # [6, 6, 256]
    x = Flatten(name="flat")(x)
    for name in ("fc6", "fc7"):
        if config.dropout == "before":
            x = Dropout(config.dropout_rate, name=f"{name}_dropout")(x)
        x = features[name] = Dense(4096, activation="relu", name=name, **_start(config, name))(x)  # [4096]
        if config.dropout == "behind" and name == "fc6":
            x = Dropout(config.dropout_rate, name="fc6_dropout")(x)
    return features


def classify(
    config: AlexNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The output layer fc8: fc7 [B, 4096] to [B, num_classes]."""
    x = features["fc7"]
    if config.dropout == "behind":
        x = Dropout(config.dropout_rate, name="fc7_dropout")(x)
    start = _start(config, "fc8")
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions", **start)(x)


def _start(config: AlexNetConfig, name: str) -> dict[str, Any]:
    if not config.gaussian_start:
        return {}
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.01),
        "bias_initializer": "ones" if name in BIASES_START_AT_1 else "zeros",
    }

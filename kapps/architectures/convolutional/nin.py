"""Network in network: a small multilayer perceptron slides over the image instead of a linear filter.

Idea: 1x1 convolutions behind each convolution make it a perceptron with hidden layers at every place, strong enough
that the last maps can be the classes themselves: their means are the answer, without a full connection that overfits.

    stage     what                                                                   output (nin_cifar10)
    mlpconv1  convolution 5x5 (ImageNet: 11x11, stride 4) and two of 1x1             [32, 32, 96]
    mlpconv2  max pooling 3x3, stride 2; dropout; convolution 5x5 and two of 1x1     [16, 16, 192]
    mlpconv3  pooling 3x3, stride 2; dropout; convolution 3x3 and two of 1x1         [8, 8, 192]
    mlpconv4  ImageNet only: max pooling; dropout; convolution 3x3 and two of 1x1    [6, 6, 1024]
    predictions  mean of each map; softmax                                           [10]

A ReLU follows every convolution. The last 1x1 convolution of the last mlpconv has one map a class: it is the layer
`class_maps` of the classifier, and the last feature is what it sees.

Paper: Lin, Chen, Yan: "Network in network", ICLR 2014, figure 2 and section 4.2; the sizes are those of the authors'
own Caffe files for CIFAR-10 and ImageNet, as the paper does not give them.

Deviations: the paper's text has max pooling everywhere; as in the authors' file for CIFAR-10, mlpconv3 sees means.
Kernels start as in He et al. 2015 (the authors: N(0, 0.05^2)), with which the network trains without a lucky learning
rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
    ZeroPadding2D,
)


@dataclass(frozen=True)
class NINConfig:
    """What the two forms differ in.

    Attributes:
        filters: maps of the three convolutions of each mlpconv; the last one's third are the classes, and not here.
        kernel_sizes: of the first convolution of each mlpconv.
        stride: of the very first convolution.
        first_padding: of that one, `"same"` or `"valid"`.
        pooling: `"max"` or `"average"`, behind each mlpconv but the last.
        dropout_behind: the numbers of the mlpconvs with dropout behind their pooling.
        dropout_rate: there.
        batch_normalization: whether every convolution but the last has one, for short training runs; not the paper's.
    """

    filters: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[int, ...]
    stride: int = 1
    first_padding: Literal["valid", "same"] = "same"
    pooling: tuple[Literal["max", "average"], ...] = ("max", "average")
    dropout_behind: tuple[int, ...] = (1, 2)
    dropout_rate: float = 0.5
    batch_normalization: bool = False


VARIANTS = {
    "nin_cifar10": NINConfig(((192, 160, 96), (192, 192, 192), (192, 192)), (5, 5, 3)),
    "nin_imagenet": NINConfig(
        ((96, 96, 96), (256, 256, 256), (384, 384, 384), (1024, 1024)),
        (11, 5, 3, 3),
        stride=4,
        first_padding="valid",
        pooling=("max", "max", "max"),
        dropout_behind=(3,),
    ),
}


def build(config: NINConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The mlpconvs from an image [B, H, W, C] (H and W may be None) to the last one's second convolution."""
    features = {}
    x = image
    for number, (filters, kernel) in enumerate(zip(config.filters, config.kernel_sizes, strict=True), 1):
        if number > 1:
            x = _pool(config.pooling[number - 2], x, name=f"mlpconv{number - 1}_pool")
            if number - 1 in config.dropout_behind:
                x = Dropout(config.dropout_rate, name=f"mlpconv{number - 1}_dropout")(x)
        for position, maps in enumerate(filters, 1):
            name = f"mlpconv{number}" if position == len(filters) else f"mlpconv{number}_conv{position}"
            first = number == position == 1
            x = _convolution(
                config,
                x,
                maps,
                kernel if position == 1 else 1,
                name,
                strides=config.stride if first else 1,
                padding=config.first_padding if first else "same",
            )
        features[f"mlpconv{number}"] = x
    return features


def classify(
    config: NINConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """One map a class and its mean: maps [B, h, w, C] to [B, num_classes]."""
    last = list(features.values())[-1]
    x = Conv2D(num_classes, 1, activation="relu", kernel_initializer="he_normal", name="class_maps")(last)
    x = GlobalAveragePooling2D(name="class_means")(x)
    return Activation(activation or "linear", dtype="float32", name="predictions")(x)


def _pool(kind: str, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """3x3 with stride 2, as Caffe does it: a last window that hangs over the border counts, with what is inside."""
    if kind == "average":
        return AveragePooling2D(3, 2, padding="same", name=name)(x)
    # nothing is below 0 behind a ReLU, so the row and column of zeros never win
    x = ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_border")(x)
    return MaxPooling2D(3, 2, name=name)(x)


def _convolution(
    config: NINConfig, x: keras.KerasTensor, filters: int, kernel: int, name: str, strides: int, padding: str
) -> keras.KerasTensor:
    """Convolution and ReLU, the layer `name` giving the result."""
    settings = {"strides": strides, "padding": padding, "kernel_initializer": "he_normal"}
    if not config.batch_normalization:
        return Conv2D(filters, kernel, activation="relu", name=name, **settings)(x)
    x = Conv2D(filters, kernel, use_bias=False, name=f"{name}_linear", **settings)(x)
    x = BatchNormalization(name=f"{name}_bn")(x)
    return Activation("relu", name=name)(x)

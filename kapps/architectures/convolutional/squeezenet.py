"""SqueezeNet: the accuracy of AlexNet with a fiftieth of its weights.

Idea: a fire module squeezes its input through a few 1x1 convolutions before the expensive 3x3 kernels see it, and lets
1x1 kernels do half of the work beside them.

    stage   what                                                             output (squeezenet1_0)
    conv1   convolution 7x7, stride 2 (1.1: 3x3, stride 2; CIFAR: stride 1)  [109, 109, 96]
    fire2   squeeze to 16 maps, expand to 64 by 1x1 and 64 by 3x3            [54, 54, 128]
    fire3   16, 64 + 64                                                      [54, 54, 128]
    fire4   32, 128 + 128                                                    [54, 54, 256]
    fire5   32, 128 + 128                                                    [27, 27, 256]
    fire6   48, 192 + 192                                                    [27, 27, 384]
    fire7   48, 192 + 192                                                    [27, 27, 384]
    fire8   64, 256 + 256                                                    [27, 27, 512]
    fire9   64, 256 + 256                                                    [13, 13, 512]
    conv10  dropout 0.5; convolution 1x1, a map a class; ReLU                [13, 13, 1000]
    predictions  mean of each map; softmax                                   [1000]

Max pooling 3x3, stride 2, is behind conv1, fire4 and fire8 (1.1, CIFAR: conv1, fire3 and fire5: 2.4 times less
arithmetic). There is no full connection, so images of any size work.

Paper: Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters
and < 0.5 MB model size", 2016, table 1, for 1.0; the authors' repository for 1.1.

Deviations: convolutions start as in He et al. 2015. `squeezenet_cifar` is 1.1 for 32x32 pixels: a first convolution
that keeps the size, and batch normalisation behind every convolution but the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import (
    Activation,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
    ZeroPadding2D,
)

# Table 1: (squeeze maps, expand maps of each kernel size) of the fire modules 2 to 9.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


@dataclass(frozen=True)
class SqueezeNetConfig:
    """What the versions differ in.

    Attributes:
        filters: maps of conv1.
        kernel_size: of conv1.
        stride: of conv1.
        padding: of conv1, `"valid"` or `"same"`.
        pooled: the layers with max pooling behind them.
        batch_normalization: whether the convolutions up to fire9 have one.
        dropout_rate: before conv10.
    """

    filters: int = 64
    kernel_size: int = 3
    stride: int = 2
    padding: Literal["valid", "same"] = "valid"
    pooled: tuple[str, ...] = ("conv1", "fire3", "fire5")
    batch_normalization: bool = False
    dropout_rate: float = 0.5


VARIANTS = {
    "squeezenet1_0": SqueezeNetConfig(filters=96, kernel_size=7, pooled=("conv1", "fire4", "fire8")),
    "squeezenet1_1": SqueezeNetConfig(),
    "squeezenet_cifar": SqueezeNetConfig(stride=1, padding="same", batch_normalization=True),
}


def build(config: SqueezeNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """conv1 and the fire modules from an image [B, H, W, C] (H and W may be None) to fire9 [B, H / 16, W / 16, 512]."""
    x = _convolution(
        config, image, config.filters, config.kernel_size, "conv1", strides=config.stride, padding=config.padding
    )
    features = {"conv1": x}
    for number, (squeeze, expand) in enumerate(FIRES, 2):
        if (behind := list(features)[-1]) in config.pooled:
            x = _pool(x, f"{behind}_pool")
        x = features[f"fire{number}"] = _fire(config, x, squeeze, expand, f"fire{number}")
    return features


def classify(
    config: SqueezeNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """conv10 and global average pooling: fire9 [B, h, w, 512] to [B, num_classes]."""
    x = Dropout(config.dropout_rate, name="fire9_dropout")(features["fire9"])
    start = keras.initializers.RandomNormal(stddev=0.01)
    x = Conv2D(num_classes, 1, activation="relu", kernel_initializer=start, name="conv10")(x)  # [13, 13, classes]
    x = GlobalAveragePooling2D(name="conv10_mean")(x)
    return Activation(activation or "linear", dtype="float32", name="predictions")(x)


def _fire(config: SqueezeNetConfig, x: keras.KerasTensor, squeeze: int, expand: int, name: str) -> keras.KerasTensor:
    """Figure 1: [B, h, w, C] to [B, h, w, 2 * expand]."""
    x = _convolution(config, x, squeeze, 1, f"{name}_squeeze")
    by_1x1 = _convolution(config, x, expand, 1, f"{name}_expand1x1")
    by_3x3 = _convolution(config, x, expand, 3, f"{name}_expand3x3", padding="same")
    return Concatenate(name=name)([by_1x1, by_3x3])


def _pool(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Max pooling 3x3, stride 2, as Caffe does it: a last window that hangs over the border counts.

    Nothing is below 0 behind a ReLU, so the row and column of zeros never win.
    """
    x = ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_border")(x)
    return MaxPooling2D(3, 2, name=name)(x)


def _convolution(
    config: SqueezeNetConfig,
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    name: str,
    strides: int = 1,
    padding: str = "valid",
) -> keras.KerasTensor:
    """Convolution and ReLU, the layer `name` giving the result."""
    settings = {"strides": strides, "padding": padding, "kernel_initializer": "he_uniform"}
    if not config.batch_normalization:
        return Conv2D(filters, kernel, activation="relu", name=name, **settings)(x)
    x = Conv2D(filters, kernel, use_bias=False, name=f"{name}_conv", **settings)(x)
    x = BatchNormalization(name=f"{name}_bn")(x)
    return Activation("relu", name=name)(x)

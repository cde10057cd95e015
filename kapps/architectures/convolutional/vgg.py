"""VGG: very deep networks of 3x3 convolutions.

Idea: two 3x3 convolutions see 5x5 pixels and three see 7x7, with fewer weights and more non-linearities than one large
kernel, so depth alone makes the network better.

    stage   what                                                           output
    pool1   1 or 2 convolutions 3x3, 64 maps; max pooling 2x2              [112, 112, 64]
    pool2   1 or 2 convolutions 3x3, 128 maps; max pooling 2x2             [56, 56, 128]
    pool3   2 to 4 convolutions 3x3, 256 maps; max pooling 2x2             [28, 28, 256]
    pool4   2 to 4 convolutions 3x3, 512 maps; max pooling 2x2             [14, 14, 512]
    pool5   2 to 4 convolutions 3x3, 512 maps; max pooling 2x2             [7, 7, 512]
    fc6     full connection                                                [4096]
    fc7     full connection                                                [4096]

Every convolution and full connection is followed by a ReLU, fc6 and fc7 by dropout 0.5. An image of another size is
averaged to the 7x7 grid behind pool5 that fc6 knows (at 224x224 nothing happens there).

Paper: Simonyan, Zisserman: "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1:
`vgg11` is column A, `vgg11_lrn` A-LRN, `vgg13` B, `vgg16_c` C (the last convolution of the stages 3 to 5 is 1x1),
`vgg16` D and `vgg19` E.

Deviations: the weights start as in Glorot, Bengio 2010, of which the paper says that it does without the pre-training
of column A. The `_bn` forms, which came later, put batch normalisation between each convolution and its ReLU. The 7x7
grid is torchvision's way to take other sizes; the paper makes convolutions of the full connections and averages their
maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
from keras.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D

from kapps.layers.grid_average_pooling import GridAveragePooling
from kapps.layers.local_response_normalization import LocalResponseNormalization

# Table 1: the kernel sizes of the convolutions, stage by stage.
A = ((3,), (3,), (3, 3), (3, 3), (3, 3))
B = ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))
C = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
D = ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
E = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))


@dataclass(frozen=True)
class VGGConfig:
    """A column of table 1.

    Attributes:
        kernels: the kernel sizes of the convolutions, a tuple a stage.
        filters: maps of the convolutions, a number a stage.
        units: of fc6 and fc7.
        local_response_normalization: whether the first convolution has one (A-LRN).
        batch_normalization: whether each convolution has one.
        dropout_rate: behind fc6 and fc7.
    """

    kernels: tuple[tuple[int, ...], ...]
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    units: int = 4096
    local_response_normalization: bool = False
    batch_normalization: bool = False
    dropout_rate: float = 0.5


VARIANTS = {
    "vgg11": VGGConfig(A),
    "vgg11_lrn": VGGConfig(A, local_response_normalization=True),
    "vgg13": VGGConfig(B),
    "vgg16_c": VGGConfig(C),
    "vgg16": VGGConfig(D),
    "vgg19": VGGConfig(E),
}
VARIANTS |= {f"{name}_bn": replace(config, batch_normalization=True) for name, config in VARIANTS.items()}


def build(config: VGGConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C], H and W at least 32 (or None), to fc7 [B, 4096]."""
    features = stages(config, image)
    x = GridAveragePooling(7, 7, name="grid")(features["pool5"])  # [7, 7, 512]
    x = Flatten(name="flat")(x)
    fc6 = Dense(config.units, activation="relu", name="fc6")(x)  # [4096]
    x = Dropout(config.dropout_rate, name="fc6_dropout")(fc6)
    fc7 = Dense(config.units, activation="relu", name="fc7")(x)  # [4096]
    return {**features, "fc6": fc6, "fc7": fc7}


def classify(
    config: VGGConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """Dropout and the output layer fc8: fc7 [B, 4096] to [B, num_classes]."""
    x = Dropout(config.dropout_rate, name="fc7_dropout")(features["fc7"])
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def stages(config: VGGConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The convolutional part alone, for images of any size: pool1 [B, H/2, W/2, 64] to pool5 [B, H/32, W/32, 512]."""
    features = {}
    x = image
    for stage, (kernels, filters) in enumerate(zip(config.kernels, config.filters, strict=True), 1):
        for number, kernel in enumerate(kernels, 1):
            x = _convolution(config, x, filters, kernel, name=f"stage{stage}_conv{number}")
            if config.local_response_normalization and stage == number == 1:
                x = LocalResponseNormalization(name="stage1_lrn1")(x)
        x = features[f"pool{stage}"] = MaxPooling2D(2, name=f"pool{stage}")(x)
    return features


def _convolution(config: VGGConfig, x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    if not config.batch_normalization:
        return Conv2D(filters, kernel, padding="same", activation="relu", name=name)(x)
    x = Conv2D(filters, kernel, padding="same", name=name)(x)
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=name.replace("conv", "bn"))(x)
    return Activation("relu", name=name.replace("conv", "relu"))(x)

"""ResNet v2: pre-activation residual networks of 50 to 152 layers.

Idea: normalisation and ReLU move in front of the convolutions, and nothing is left behind the sum. Then the signal, and
the gradient, can go from any block to any other without being changed.

    stage     what                                                     output          50  101  152
    stem      convolution 7x7, stride 2, 64 maps                       [112, 112, 64]
    pool      maximum over 3x3, stride 2                               [56, 56, 64]
    stage1    blocks of 64 maps; the last halves the map               [28, 28, 256]    3    3    3
    stage2    blocks of 128 maps; the last halves the map              [14, 14, 512]    4    4    8
    stage3    blocks of 256 maps; the last halves the map              [7, 7, 1024]     6   23   36
    stage4    blocks of 512 maps                                       [7, 7, 2048]     3    3    3
    final     batch normalisation, ReLU                                [7, 7, 2048]

A block of C maps, with N for batch normalisation and ReLU; the first of a stage has a 1x1 convolution on its shortcut:

    x -+- N - conv 1x1, C - N - conv 3x3, C - N - conv 1x1, 4C -(+)-         first: x - N -+- conv 1x1, C - ... -(+)-
       +---------------------------------------------------------+                         +- conv 1x1, 4C ------+

Paper: He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks", ECCV 2016, figure 1 (b), figure 4 (e) and
section 5; table 1 of "Deep Residual Learning for Image Recognition" for the stages.

Deviations: as in keras.applications, so that its weights fit, and unlike the paper a stage's last block halves the map
(its shortcut then takes every second pixel) and not the next stage's first one; the stem has no normalisation of its
own; its convolution, those of the shortcuts and the last of each block have biases.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras.layers import Add, BatchNormalization, Conv2D, MaxPooling2D, ReLU, ZeroPadding2D

# Maps inside the blocks of each stage.
CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True)
class ResNetV2Config:
    """A row of table 1.

    Attributes:
        depths: blocks of each stage.
    """

    depths: tuple[int, int, int, int]


VARIANTS = {
    "resnet50_v2": ResNetV2Config((3, 4, 6, 3)),
    "resnet101_v2": ResNetV2Config((3, 4, 23, 3)),
    "resnet152_v2": ResNetV2Config((3, 8, 36, 3)),
}


def build(config: ResNetV2Config, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] of any size; shapes for 224x224."""
    x = ZeroPadding2D(3, name="stem_pad")(image)
    stem = Conv2D(64, 7, 2, kernel_initializer="he_normal", name="stem")(x)  # [112, 112, 64]
    # The zeros around take part in the maximum, also where the stem is negative.
    x = ZeroPadding2D(1, name="pool_pad")(stem)
    pool = MaxPooling2D(3, 2, name="pool")(x)  # [56, 56, 64]

    features = {"stem": stem, "pool": pool}
    x = pool
    for stage, (channels, depth) in enumerate(zip(CHANNELS, config.depths, strict=True), start=1):
        for number in range(1, depth + 1):
            stride = 2 if number == depth and stage < len(CHANNELS) else 1
            name = f"stage{stage}_block{number}"
            output = f"stage{stage}" if number == depth else name  # a stage's feature is what its last block gives
            x = block(x, channels, stride, first=number == 1, name=name, output=output)
        features[f"stage{stage}"] = x  # [28, 28, 256], [14, 14, 512], [7, 7, 1024], [7, 7, 2048]
    features["final"] = _norm_relu(x, norm="final_bn", relu="final")
    return features


def block(
    x: keras.KerasTensor, channels: int, stride: int, *, first: bool, name: str, output: str
) -> keras.KerasTensor:
    """[B, H, W, C] to [B, H / stride, W / stride, 4 * channels], the layer `output`."""
    active = _norm_relu(x, norm=f"{name}_bn1", relu=f"{name}_relu1")
    if first:
        shortcut = Conv2D(4 * channels, 1, kernel_initializer="he_normal", name=f"{name}_shortcut")(active)
    else:
        shortcut = MaxPooling2D(1, stride, name=f"{name}_shortcut")(x) if stride > 1 else x
    options = {"use_bias": False, "kernel_initializer": "he_normal"}
    x = Conv2D(channels, 1, **options, name=f"{name}_conv1")(active)
    x = _norm_relu(x, norm=f"{name}_bn2", relu=f"{name}_relu2")
    x = ZeroPadding2D(1, name=f"{name}_conv2_pad")(x)
    x = Conv2D(channels, 3, stride, **options, name=f"{name}_conv2")(x)
    x = _norm_relu(x, norm=f"{name}_bn3", relu=f"{name}_relu3")
    x = Conv2D(4 * channels, 1, kernel_initializer="he_normal", name=f"{name}_conv3")(x)
    return Add(name=output)([shortcut, x])


def _norm_relu(x: keras.KerasTensor, norm: str, relu: str) -> keras.KerasTensor:
    return ReLU(name=relu)(BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x))

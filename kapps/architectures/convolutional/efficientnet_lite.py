"""EfficientNet-Lite: EfficientNet for phones, of operations that every accelerator has and that quantise well.

Idea: the inverted residual block. It works on many channels where that is cheap, in a convolution inside each channel,
and hands on few; the sum of what it was given and what it adds is of few channels, too. A network found for one budget
grows to larger ones by width, depth and image size together.

    stage    what                                         output of lite0   blocks of lite0  1  2  3  4
    stage1   convolution 3x3, stride 2; ReLU6             [112, 112, 32]
    stage2   blocks 3x3, not expanded                     [112, 112, 16]                 1  1  1  1  1
    stage3   blocks 3x3, 6 times expanded, stride 2       [56, 56, 24]                   2  3  3  3  4
    stage4   blocks 5x5, 6 times expanded, stride 2       [28, 28, 40]                   2  3  3  3  4
    stage5   blocks 3x3, 6 times expanded, stride 2       [14, 14, 80]                   3  4  4  5  6
    stage6   blocks 5x5, 6 times expanded                 [14, 14, 112]                  3  4  4  5  6
    stage7   blocks 5x5, 6 times expanded, stride 2       [7, 7, 192]                    4  5  5  6  8
    stage8   blocks 3x3, 6 times expanded                 [7, 7, 320]                    1  1  1  1  1
    stage9   convolution 1x1; ReLU6                       [7, 7, 1280]

A block: convolution 1x1 to the expanded channels; one kernel a channel, 3x3 or 5x5, with the stage's stride in its
first block; convolution 1x1 to the output. Each has batch normalisation behind it, all but the last ReLU6. Where size
and channels stay, the input is added. Classified are the means of the last maps.

Paper: Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1 (the
stages), section 3.3 (scaling); what makes it Lite, and the sizes of lite0 to lite4, from the authors' own code.

Deviations: none from the authors' Lite form: against table 1 there is no squeeze-and-excitation, ReLU6 stands for
swish, and stages 1, 2, 8 and 9 do not grow in depth nor 1 and 9 in width. Padding is TensorFlow's `same`. timm calls
this form `tf_efficientnet_lite0`; its `efficientnet_lite0` has the same weight names, but symmetric padding and another
epsilon, so that weights of that one do not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.initializers import VarianceScaling
from keras.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    ReLU,
)

# Table 1: kernel size, stride of the first block, expansion, output channels and number of blocks of each stage.
STAGES = {
    "stage2": (3, 1, 1, 16, 1),
    "stage3": (3, 2, 6, 24, 2),
    "stage4": (5, 2, 6, 40, 2),
    "stage5": (3, 2, 6, 80, 3),
    "stage6": (5, 1, 6, 112, 3),
    "stage7": (5, 2, 6, 192, 4),
    "stage8": (3, 1, 6, 320, 1),
}
STEM, HEAD = 32, 1280  # channels of stage 1 and 9, whatever the width


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """How far lite0 is scaled.

    Attributes:
        width: factor of the channels of stages 2 to 8.
        depth: factor of the blocks of stages 3 to 7.
        dropout: before the classifier.
        drop_connect: the share of examples for which the last block's own part would be left out in training; it rises
            from 0 at the first block (stochastic depth).
    """

    width: float = 1.0
    depth: float = 1.0
    dropout: float = 0.2
    drop_connect: float = 0.2


VARIANTS = {
    "efficientnet_lite0": EfficientNetLiteConfig(),
    "efficientnet_lite1": EfficientNetLiteConfig(1.0, 1.1),
    "efficientnet_lite2": EfficientNetLiteConfig(1.1, 1.2, dropout=0.3),
    "efficientnet_lite3": EfficientNetLiteConfig(1.2, 1.4, dropout=0.3),
    "efficientnet_lite4": EfficientNetLiteConfig(1.4, 1.8, dropout=0.3),
}


def build(config: EfficientNetLiteConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] of any size to `stage9` [B, H/32, W/32, 1280], rounded up."""
    x = Conv2D(STEM, 3, 2, padding="same", name="stage1_conv", **_plain())(image)
    x = ReLU(6.0, name="stage1")(_norm(x, "stage1_bn"))  # [112, 112, 32]
    features = {"stage1": x}
    depths = {stage: blocks(config, stage) for stage in STAGES}
    before, total = 0, sum(depths.values())
    for stage, (kernel, stride, expansion, channels, _) in STAGES.items():
        channels = scaled_channels(channels, config.width)
        for number in range(1, depths[stage] + 1):
            name = f"{stage}_block{number}"
            output = stage if number == depths[stage] else name  # a stage's feature is what its last block gives
            dropped = config.drop_connect * before / total
            x = _block(x, channels, kernel, stride if number == 1 else 1, expansion, dropped, name, output)
            before += 1
        features[stage] = x
    x = Conv2D(HEAD, 1, name="stage9_conv", **_plain())(x)
    return {**features, "stage9": ReLU(6.0, name="stage9")(_norm(x, "stage9_bn"))}  # [7, 7, 1280]


def classify(
    config: EfficientNetLiteConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The mean over the last maps, dropout and one dense layer: [B, num_classes]."""
    x = GlobalAveragePooling2D(name="global_pool")(features["stage9"])  # [1280]
    x = Dropout(config.dropout, name="predictions_dropout")(x)
    start = VarianceScaling(1 / 3, "fan_out", "uniform")
    return Dense(num_classes, activation, kernel_initializer=start, dtype="float32", name="predictions")(x)


def blocks(config: EfficientNetLiteConfig, stage: str) -> int:
    """How many blocks a stage has: rounded up; the first and the last stage of blocks stay as they are."""
    *_, count = STAGES[stage]
    return count if stage in ("stage2", "stage8") else math.ceil(config.depth * count)


def scaled_channels(channels: int, width: float) -> int:
    """The nearest multiple of 8; the next one where that would take away more than a tenth."""
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


def _block(
    x: keras.KerasTensor,
    channels: int,
    kernel: int,
    stride: int,
    expansion: int,
    dropped: float,
    name: str,
    output: str,
) -> keras.KerasTensor:
    """Inverted residual block: [B, H, W, C] to [B, H / stride, W / stride, channels], the layer `output`."""
    given = x
    if expansion > 1:
        x = Conv2D(expansion * x.shape[-1], 1, name=f"{name}_expand", **_plain())(x)
        x = ReLU(6.0, name=f"{name}_expand_relu")(_norm(x, f"{name}_expand_bn"))
    start = VarianceScaling(2, "fan_out", "untruncated_normal")
    x = DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, depthwise_initializer=start, name=f"{name}_depthwise"
    )(x)
    x = ReLU(6.0, name=f"{name}_depthwise_relu")(_norm(x, f"{name}_depthwise_bn"))
    x = Conv2D(channels, 1, name=f"{name}_project", **_plain())(x)
    if stride > 1 or given.shape[-1] != channels:
        return _norm(x, f"{name}_project_bn" if output == name else output)
    x = _norm(x, f"{name}_project_bn")
    if dropped:
        x = Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return Add(name=output)([x, given])


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)


def _plain() -> dict[str, object]:
    """Of every full convolution: no bias, as a normalisation follows, and the authors' start."""
    return {"use_bias": False, "kernel_initializer": VarianceScaling(2, "fan_out", "untruncated_normal")}

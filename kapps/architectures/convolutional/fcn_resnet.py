"""FCN on a dilated ResNet: a classifier that keeps its resolution by spreading its kernels instead of striding.

Idea: where the last two stages of ResNet-50 would halve the map, they take every pixel, and the kernels behind look at
pixels 2 and 4 apart. They see what they saw before, but the map stays at an eighth of the image.

    stage     what                                                            output          dilation
    pixels    the image, whose size the result gets                           [H, W, 3]
    stem      convolution 7x7, stride 2, 64 maps                              [H/2, W/2, 64]
    pool      maximum over 3x3, stride 2                                      [H/4, W/4, 64]
    stage1    3 bottlenecks of 64 maps                                        [H/4, W/4, 256]        1
    stage2    4 bottlenecks of 128 maps; the first halves the map             [H/8, W/8, 512]        1
    stage3    6 bottlenecks of 256 maps                                       [H/8, W/8, 1024]       2
    stage4    3 bottlenecks of 512 maps                                       [H/8, W/8, 2048]       4

A bottleneck is three convolutions, 1x1, 3x3 and 1x1 with four times the maps, each with batch normalisation; where the
dilation changes, the first block of a stage still has that of the stage before. The head is a 3x3 convolution of a
quarter of the maps, batch normalisation, ReLU, dropout 0.1 and a 1x1 convolution to the classes; the scores are resized
to the image. A second head of that form on stage3 helps in training (`auxiliary`).

Paper: Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015; Yu, Koltun,
Funkhouser: "Dilated Residual Networks", CVPR 2017, section 2 (dilation for stride); He et al.: "Deep Residual Learning
for Image Recognition", CVPR 2016, table 1 (the stages). No paper has the whole: it is torchvision's `fcn_resnet50`.

Deviations: none from torchvision; the skips of FCN-16s and FCN-8s are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dropout,
    Identity,
    MaxPooling2D,
    ReLU,
    ZeroPadding2D,
)

from kapps.layers.resize_like import ResizeLike

# Maps inside the bottlenecks of each stage, stride and dilation.
STAGES = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))


@dataclass(frozen=True)
class FCNResNetConfig:
    """What the variants differ in.

    Attributes:
        depths: bottlenecks of each stage.
        dropout_rate: in the heads.
    """

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    dropout_rate: float = 0.1


VARIANTS = {"fcn_resnet50": FCNResNetConfig()}


def build(config: FCNResNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] of any size, also unknown; shapes for 520x520."""
    pixels = Identity(name="pixels")(image)
    x = ZeroPadding2D(3, name="stem_pad")(pixels)
    x = Conv2D(64, 7, 2, use_bias=False, kernel_initializer="he_normal", name="stem_conv")(x)
    stem = ReLU(name="stem")(_norm(x, name="stem_bn"))  # [260, 260, 64]
    x = ZeroPadding2D(1, name="pool_pad")(stem)
    x = pool = MaxPooling2D(3, 2, name="pool")(x)  # [130, 130, 64]

    features = {"pixels": pixels, "stem": stem, "pool": pool}
    before = 1
    for stage, ((channels, stride, dilation), depth) in enumerate(zip(STAGES, config.depths, strict=True), start=1):
        for number in range(1, depth + 1):
            name = f"stage{stage}_block{number}"
            first = number == 1
            x = bottleneck(
                x,
                channels,
                stride if first else 1,
                before if first else dilation,
                name=name,
                output=f"stage{stage}" if number == depth else name,
            )
        features[f"stage{stage}"] = x  # [130, 130, 256], [65, 65, 512], [65, 65, 1024], [65, 65, 2048]
        before = dilation
    return features


def classify(
    config: FCNResNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The head on stage4: [B, H, W, num_classes]."""
    return _head(config, features, "stage4", num_classes, activation, name="predictions")


def auxiliary(
    config: FCNResNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> dict[str, keras.KerasTensor]:
    """The head on stage3, of the same form: {"aux": [B, H, W, num_classes]}."""
    return {"aux": _head(config, features, "stage3", num_classes, activation, name="aux")}


def bottleneck(
    x: keras.KerasTensor, channels: int, stride: int, dilation: int, *, name: str, output: str
) -> keras.KerasTensor:
    """[B, H, W, C] to [B, H / stride, W / stride, 4 * channels], the layer `output`."""
    shortcut = x
    if x.shape[-1] != 4 * channels:
        shortcut = Conv2D(4 * channels, 1, stride, use_bias=False, name=f"{name}_shortcut_conv")(x)
        shortcut = _norm(shortcut, name=f"{name}_shortcut_bn")
    x = Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv1")(x)
    x = ReLU(name=f"{name}_relu1")(_norm(x, name=f"{name}_bn1"))
    x = _conv3x3(x, channels, stride, dilation, name=f"{name}_conv2")
    x = ReLU(name=f"{name}_relu2")(_norm(x, name=f"{name}_bn2"))
    x = Conv2D(4 * channels, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv3")(x)
    x = Add(name=f"{name}_add")([shortcut, _norm(x, name=f"{name}_bn3")])
    return ReLU(name=output)(x)


def _head(
    config: FCNResNetConfig,
    features: Mapping[str, keras.KerasTensor],
    stage: str,
    num_classes: int,
    activation: str | None,
    *,
    name: str,
) -> keras.KerasTensor:
    x = features[stage]
    x = _conv3x3(x, x.shape[-1] // 4, name=f"{name}_conv")
    x = ReLU(name=f"{name}_relu")(_norm(x, name=f"{name}_bn"))
    x = Dropout(config.dropout_rate, name=f"{name}_dropout")(x)
    x = Conv2D(num_classes, 1, name=f"{name}_scores")(x)  # [65, 65, 21]
    x = ResizeLike(name=f"{name}_resized")(x, features["pixels"])  # [520, 520, 21]
    return Activation(activation or "linear", dtype="float32", name=name)(x)


def _conv3x3(
    x: keras.KerasTensor, channels: int, stride: int = 1, dilation: int = 1, *, name: str
) -> keras.KerasTensor:
    """As many zeros on each side as the kernel reaches; `same` would shift a strided convolution by a pixel."""
    padding = "same"
    if stride > 1:
        x, padding = ZeroPadding2D(dilation, name=f"{name}_pad")(x), "valid"
    rest = {"dilation_rate": dilation, "use_bias": False, "kernel_initializer": "he_normal"}
    return Conv2D(channels, 3, stride, padding, **rest, name=name)(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

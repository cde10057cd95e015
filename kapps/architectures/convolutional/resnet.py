"""ResNet: 18 to 152 layers that train, because each block only adds to what it was given.

Idea: a block learns the difference to its input (the residual). Doing nothing is then easy, weights of zero, so more
layers never make it worse, and gradients reach the first layers along the shortcuts.

    stage     what                                                     output          18  34  50  101  152
    stem      convolution 7x7, stride 2, 64 maps                       [112, 112, 64]
    pool      maximum over 3x3, stride 2                               [56, 56, 64]
    stage1    blocks of 64 maps                                        [56, 56, 256]    2   3   3    3    3
    stage2    blocks of 128 maps; the first halves the map             [28, 28, 512]    2   4   4    4    8
    stage3    blocks of 256 maps; the first halves the map             [14, 14, 1024]   2   6   6   23   36
    stage4    blocks of 512 maps; the first halves the map             [7, 7, 2048]     2   3   3    3    3

Blocks by depth, each convolution with batch normalisation, ReLU between them and behind the sum:

    18, 34    convolutions 3x3 and 3x3; as many maps at the end as inside: 64, 128, 256, 512
    50 to 152 the bottleneck: convolutions 1x1, 3x3, 1x1; four times as many at the end: 256, 512, 1024, 2048

A shortcut is the identity; where size or number of maps changes, a 1x1 convolution (option B).

Paper: He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016: figure 5 (the blocks), table 1
(the stages), section 3.3 (the shortcuts).

Deviations: resnet50 to resnet152 halve the map in the 3x3 convolution of a bottleneck, which sees all pixels
(torchvision, "v1.5"); the paper's 1x1 skips three of four: resnet50_v1 to resnet152_v1. Padding is symmetric, as in
the authors' network; `same` would shift every strided convolution by a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import Add, BatchNormalization, Conv2D, MaxPooling2D, ReLU, ZeroPadding2D

# Maps inside the blocks of each stage.
CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True)
class ResNetConfig:
    """A row of table 1.

    Attributes:
        depths: blocks of each stage.
        block: `"basic"` is figure 5 left, `"bottleneck"` right.
        strided: the size of the bottleneck's convolution that halves the map: 1 is the first, the paper's.
    """

    depths: tuple[int, int, int, int]
    block: Literal["basic", "bottleneck"] = "bottleneck"
    strided: Literal[1, 3] = 3


VARIANTS = {
    "resnet18": ResNetConfig((2, 2, 2, 2), "basic"),
    "resnet34": ResNetConfig((3, 4, 6, 3), "basic"),
    "resnet50": ResNetConfig((3, 4, 6, 3)),
    "resnet101": ResNetConfig((3, 4, 23, 3)),
    "resnet152": ResNetConfig((3, 8, 36, 3)),
    "resnet50_v1": ResNetConfig((3, 4, 6, 3), strided=1),
    "resnet101_v1": ResNetConfig((3, 4, 23, 3), strided=1),
    "resnet152_v1": ResNetConfig((3, 8, 36, 3), strided=1),
}


def build(config: ResNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] of any size; shapes for 224x224 and the bottleneck."""
    x = _conv(image, 64, 7, 2, name="stem_conv")  # [112, 112, 64]
    stem = ReLU(name="stem")(_norm(x, name="stem_bn"))
    x = ZeroPadding2D(1, name="pool_pad")(stem)
    pool = MaxPooling2D(3, 2, name="pool")(x)  # [56, 56, 64]

    features = {"stem": stem, "pool": pool}
    x = pool
    for stage, (channels, depth) in enumerate(zip(CHANNELS, config.depths, strict=True), start=1):
        for number in range(1, depth + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            name = f"stage{stage}_block{number}"
            output = f"stage{stage}" if number == depth else name  # a stage's feature is what its last block gives
            if config.block == "basic":
                x = basic_block(x, channels, stride, name=name, output=output)
            else:
                x = bottleneck_block(x, channels, stride, config.strided, name=name, output=output)
        features[f"stage{stage}"] = x  # [56, 56, 256], [28, 28, 512], [14, 14, 1024], [7, 7, 2048]
    return features


def basic_block(x: keras.KerasTensor, channels: int, stride: int, *, name: str, output: str) -> keras.KerasTensor:
    """Figure 5 left: [B, H, W, C] to [B, H / stride, W / stride, channels], the layer `output`."""
    shortcut = _shortcut(x, channels, stride, name)
    x = _conv(x, channels, 3, stride, name=f"{name}_conv1")
    x = _norm(x, name=f"{name}_bn1")
    x = ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, channels, 3, name=f"{name}_conv2")
    x = _norm(x, name=f"{name}_bn2")
    x = Add(name=f"{name}_add")([shortcut, x])
    return ReLU(name=output)(x)


def bottleneck_block(
    x: keras.KerasTensor, channels: int, stride: int, strided: int, *, name: str, output: str
) -> keras.KerasTensor:
    """Figure 5 right: [B, H, W, C] to [B, H / stride, W / stride, 4 * channels], the layer `output`."""
    shortcut = _shortcut(x, 4 * channels, stride, name)
    x = _conv(x, channels, 1, stride if strided == 1 else 1, name=f"{name}_conv1")
    x = _norm(x, name=f"{name}_bn1")
    x = ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, channels, 3, stride if strided == 3 else 1, name=f"{name}_conv2")
    x = _norm(x, name=f"{name}_bn2")
    x = ReLU(name=f"{name}_relu2")(x)
    x = _conv(x, 4 * channels, 1, name=f"{name}_conv3")
    x = _norm(x, name=f"{name}_bn3")
    x = Add(name=f"{name}_add")([shortcut, x])
    return ReLU(name=output)(x)


def _shortcut(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    if stride == 1 and x.shape[-1] == channels:
        return x
    return _norm(_conv(x, channels, 1, stride, name=f"{name}_shortcut_conv"), name=f"{name}_shortcut_bn")


def _conv(x: keras.KerasTensor, channels: int, size: int, stride: int = 1, *, name: str) -> keras.KerasTensor:
    """A convolution with as many zeros on each side as keep the middle of the kernel on the pixels it strides over."""
    if stride > 1 and size > 1:
        x = ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    return Conv2D(channels, size, stride, padding, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

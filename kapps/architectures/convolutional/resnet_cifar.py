"""ResNet for CIFAR: residual networks of 3x3 convolutions, 20 to 110 layers deep, in both of their forms.

Idea: a block learns what to add to its input, so a deeper network is at least as easy to train as a shallow one; and in
the pre-activation form nothing at all stands in the way of what is carried on.

    stage     what                                                            output        layers
    stem      convolution 3x3, 16 maps, batch normalisation, ReLU             [32, 32, 16]       1
    stage1    n blocks of two convolutions 3x3, 16 maps                       [32, 32, 16]      2n
    stage2    n blocks, 32 maps; the first halves the map                     [16, 16, 32]      2n
    stage3    n blocks, 64 maps; the first halves the map                     [8, 8, 64]        2n
    final     only with pre-activation: batch normalisation, ReLU             [8, 8, 64]

The mean of each map and a full connection are the last of the 6n + 2 layers. A block, and the one with pre-activation:

    x -+- conv - norm - relu - conv - norm -(+)- relu -        x -+- norm - relu - conv - norm - relu - conv -(+)-
       +---------------------------------------+                  +--------------------------------------------+

All shortcuts are identities without weights (option A): where the map is halved, every second pixel, and zeros for the
new channels.

Paper: He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2 and table 6
(resnet20 to resnet110); He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks", ECCV 2016, figure 4 (e) and
appendix (preact_resnet20 to preact_resnet110, of which the paper trains the last).

Deviations: the papers do not say on which side of the channels the zeros are; here behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras.layers import Add, BatchNormalization, Conv2D, ReLU

from kapps.layers.identity_shortcut import IdentityShortcut


@dataclass(frozen=True)
class ResNetCifarConfig:
    """What the variants differ in.

    Attributes:
        blocks: n, blocks a stage; the network has 6n + 2 layers.
        preactivation: normalisation and ReLU before each convolution of a block, instead of behind it.
        channels: maps of each stage; the stem has as many as the first.
    """

    blocks: int
    preactivation: bool = False
    channels: tuple[int, ...] = (16, 32, 64)


VARIANTS = {
    "resnet20": ResNetCifarConfig(3),
    "resnet32": ResNetCifarConfig(5),
    "resnet44": ResNetCifarConfig(7),
    "resnet56": ResNetCifarConfig(9),
    "resnet110": ResNetCifarConfig(18),
    "preact_resnet20": ResNetCifarConfig(3, preactivation=True),
    "preact_resnet56": ResNetCifarConfig(9, preactivation=True),
    "preact_resnet110": ResNetCifarConfig(18, preactivation=True),
}


def build(config: ResNetCifarConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C]; shapes for 32x32."""
    block = preactivation_block if config.preactivation else residual_block

    x = _conv(image, config.channels[0], name="stem_conv")  # [32, 32, 16]
    features = {"stem": ReLU(name="stem")(_norm(x, name="stem_bn"))}
    x = features["stem"]
    for stage, channels in enumerate(config.channels, start=1):
        for number in range(1, config.blocks + 1):
            halve = stage > 1 and number == 1
            # a stage's feature is what its last block gives
            output = f"stage{stage}" if number == config.blocks else f"stage{stage}_block{number}"
            x = block(x, channels, 2 if halve else 1, name=f"stage{stage}_block{number}", output=output)
        features[f"stage{stage}"] = x  # [32, 32, 16], [16, 16, 32], [8, 8, 64]
    if config.preactivation:
        features["final"] = ReLU(name="final")(_norm(x, name="final_bn"))
    return features


def residual_block(x: keras.KerasTensor, channels: int, stride: int, name: str, output: str) -> keras.KerasTensor:
    """Figure 2 of the first paper: [B, H, W, C] to [B, H / stride, W / stride, channels], the layer `output`."""
    shortcut = _shortcut(x, channels, stride, name)
    x = _conv(x, channels, stride, name=f"{name}_conv1")
    x = _norm(x, name=f"{name}_bn1")
    x = ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, channels, name=f"{name}_conv2")
    x = _norm(x, name=f"{name}_bn2")
    x = Add(name=f"{name}_add")([shortcut, x])
    return ReLU(name=output)(x)


def preactivation_block(x: keras.KerasTensor, channels: int, stride: int, name: str, output: str) -> keras.KerasTensor:
    """Figure 4 (e) of the second paper: [B, H, W, C] to [B, H / stride, W / stride, channels], the layer `output`."""
    shortcut = _shortcut(x, channels, stride, name)
    if name != "stage1_block1":  # the stem has just done that (appendix of the paper)
        x = _norm(x, name=f"{name}_bn1")
        x = ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, channels, stride, name=f"{name}_conv1")
    x = _norm(x, name=f"{name}_bn2")
    x = ReLU(name=f"{name}_relu2")(x)
    x = _conv(x, channels, name=f"{name}_conv2")
    return Add(name=output)([shortcut, x])


def _shortcut(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    if stride == 1 and x.shape[-1] == channels:
        return x
    return IdentityShortcut(channels, stride, name=f"{name}_shortcut")(x)


def _conv(x: keras.KerasTensor, channels: int, stride: int = 1, *, name: str) -> keras.KerasTensor:
    if stride > 1:  # `same` would begin with the second pixel on an even map, and the shortcut begins with the first
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    return Conv2D(channels, 3, stride, padding, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

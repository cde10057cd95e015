"""FCN: a classifier made fully convolutional, whose coarse scores are enlarged to a label for every pixel.

Idea: a fully connected layer is a convolution whose kernel covers its whole input; slid over a larger image it gives a
map of scores. Up-sampling makes it as large as the image, and finer maps from earlier stages add what pooling lost.

    stage     what                                                            output         image 500x500
    pixels    the image, whose size the result gets                           [H, W, 3]      [500, 500, 3]
    pool1     2 convolutions 3x3, 64 maps; max pooling 2x2                    stride 2       [349, 349, 64]
    pool2     2 convolutions 3x3, 128 maps; max pooling 2x2                   stride 4       [175, 175, 128]
    pool3     3 convolutions 3x3, 256 maps; max pooling 2x2                   stride 8       [88, 88, 256]
    pool4     3 convolutions 3x3, 512 maps; max pooling 2x2                   stride 16      [44, 44, 512]
    pool5     3 convolutions 3x3, 512 maps; max pooling 2x2                   stride 32      [22, 22, 512]
    fc6       convolution 7x7, 4096 maps                                      stride 32      [16, 16, 4096]
    fc7       convolution 1x1, 4096 maps                                      stride 32      [16, 16, 4096]

    score     1x1 convolution of fc7 to the classes: all of `fcn32s`          stride 32      [16, 16, 21]
              enlarged 2x, plus scores of pool4: `fcn16s`                     stride 16      [34, 34, 21]
              enlarged 2x again, plus scores of pool3: `fcn8s`                stride 8       [70, 70, 21]
              enlarged to the image, cut to it, softmax: `predictions`        [H, W, 21]     [500, 500, 21]

Every convolution is followed by a ReLU, fc6 and fc7 by dropout 0.5. 100 zeros on each side of the image leave room for
the 7x7 window. How far the maps of different strides are apart then follows from the geometry (`first_pixel`).

`crf_rnn` puts the mean field of a fully connected CRF behind `fcn8s`, `fcn_scenes` is a small network of the same
form for the generated scenes: three stages of 1, 2 and 2 convolutions with batch normalisation, no frame of zeros.

Paper: Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, figure 3 (the
skips), section 4.2 and the networks that the authors published; Zheng et al.: "Conditional Random Fields as Recurrent
Neural Networks", ICCV 2015, figure 3 (`crf_rnn`).

Deviations: what the paper starts from, VGG-16 trained on ImageNet, is not in the file: weights start at random, those
of the scores at zero as there. Inner up-sampling is learned and the last one fixed, as the paper says; in the published
networks all are fixed. `crf_rnn`: a bilateral grid stands for the permutohedral lattice, and theta_beta is 13 (with the
paper's 3 the grid would not fit into memory).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
from keras.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dropout,
    Identity,
    MaxPooling2D,
    ZeroPadding2D,
)

from kapps.layers.bilinear_upsampling import BilinearUpsampling
from kapps.layers.crop_like import CropLike
from kapps.layers.dense_crf import DenseCRF


@dataclass(frozen=True)
class FCNConfig:
    """What the variants differ in.

    Attributes:
        skips: earlier stages whose scores are added: 0 is FCN-32s, 1 FCN-16s, 2 FCN-8s.
        depths: convolutions of each stage.
        filters: maps of each stage.
        units: maps of fc6 and fc7.
        window: side of fc6's kernel, odd.
        border: zeros on each side of the image; 0 = none, and fc6 keeps the size of its input instead.
        batch_normalization: behind each convolution up to fc7, before its ReLU.
        dropout_rate: behind fc6 and fc7.
        crf: `"none"`; `"behind"`: the scores pass a dense CRF with fixed weights once the network is trained;
            `"end_to_end"`: training goes through it and finds its weights (CRF-RNN).
        crf_iterations: of the mean field.
        crf_reach: theta_alpha of the CRF, in pixels.
        crf_contrast: theta_beta, in units of the image as the network gets it.
        crf_smoothing: theta_gamma, in pixels.
        crf_weights: what the weights of the appearance and of the smoothness kernel are, or start with.
        pixel_range: lowest and highest value of these pixels.
    """

    skips: int = 0
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    units: int = 4096
    window: int = 7
    border: int = 100
    batch_normalization: bool = False
    dropout_rate: float = 0.5
    crf: Literal["none", "behind", "end_to_end"] = "none"
    crf_iterations: int = 5
    crf_reach: float = 80.0
    crf_contrast: float = 13.0
    crf_smoothing: float = 3.0
    crf_weights: tuple[float, float] = (10.0, 3.0)
    pixel_range: tuple[float, float] = (-124.0, 152.0)  # 0..255 minus VGG's means


VARIANTS = {
    "fcn32s": FCNConfig(),
    "fcn16s": FCNConfig(skips=1),
    "fcn8s": FCNConfig(skips=2),
    "crf_rnn": FCNConfig(skips=2, crf="end_to_end"),
    "fcn_scenes": FCNConfig(
        skips=1,
        depths=(1, 2, 2),
        filters=(16, 32, 64),
        units=128,
        window=5,
        border=0,
        batch_normalization=True,
        dropout_rate=0.0,
        crf_iterations=3,
        crf_reach=16.0,
        crf_contrast=0.1,
        crf_smoothing=1.5,
        crf_weights=(10.0, 0.3),
        pixel_range=(0.0, 1.0),
    ),
}


def build(config: FCNConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] of any size, also unknown, to fc7; shapes for 500x500."""
    features = {"pixels": Identity(name="pixels")(image)}
    x = features["pixels"]
    if config.border:  # the first convolution adds the last of the zeros itself
        x = ZeroPadding2D(config.border - 1, name="border")(x)  # [698, 698, 3]
    for stage, (depth, filters) in enumerate(zip(config.depths, config.filters, strict=True), start=1):
        for number in range(1, depth + 1):
            x = _conv(config, x, filters, 3, "same", name=f"stage{stage}_conv{number}")
        # `same` rounds an odd size up, as Caffe's pooling does
        x = features[f"pool{stage}"] = MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)
    padding = "valid" if config.border else "same"
    fc6 = _conv(config, x, config.units, config.window, padding, name="fc6_conv", output="fc6")  # [16, 16, 4096]
    x = Dropout(config.dropout_rate, name="fc6_dropout")(fc6)
    fc7 = _conv(config, x, config.units, 1, padding, name="fc7_conv", output="fc7")
    return {**features, "fc6": fc6, "fc7": fc7}


def classify(
    config: FCNConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """Scores of fc7 and of `skips` earlier stages, enlarged step by step: [B, H, W, num_classes]."""

    def scores(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return Conv2D(num_classes, 1, kernel_initializer="zeros", name=name)(x)

    stages = len(config.depths)
    stride = 2**stages
    first = first_pixel(config, stride) + (stride * (config.window - 1) // 2 if config.border else 0)
    x = Dropout(config.dropout_rate, name="fc7_dropout")(features["fc7"])
    x = scores(x, name="score")  # [16, 16, 21]
    for stage in range(stages - 1, stages - 1 - config.skips, -1):
        stride //= 2
        x = BilinearUpsampling(2, padding="valid", name=f"score_stride{stride}")(x)  # [34, 34, 21], [70, 70, 21]
        first -= 1.5 * stride  # a 2x tent is 4 wide; its middle is 1.5 behind its first pixel
        skip = scores(features[f"pool{stage}"], name=f"score_pool{stage}")
        ahead = round((first - first_pixel(config, stride)) / stride)
        if ahead >= 0:
            skip = CropLike(ahead, name=f"score_pool{stage}_crop")(skip, x)
        else:
            x = CropLike(-ahead, name=f"score_stride{stride}_crop")(x, skip)
            first -= ahead * stride
        x = Add(name=f"fuse_pool{stage}")([x, skip])
    x = BilinearUpsampling(stride, learned=False, padding="valid", name="score_stride1")(x)  # FCN-8s: [568, 568, 21]
    first -= stride - 0.5
    x = CropLike(round(-first), name="scores")(x, features["pixels"])  # [500, 500, 21]
    if config.crf != "none":
        x = DenseCRF(
            config.crf_iterations,
            config.crf_reach,
            config.crf_contrast,
            config.crf_smoothing,
            *config.crf_weights,
            method="grid",
            value_range=config.pixel_range,
            post_processing=config.crf == "behind",
            name="crf",
        )(x, features["pixels"])
    return Activation(activation or "linear", dtype="float32", name="predictions")(x)


def first_pixel(config: FCNConfig, stride: int) -> float:
    """Where in the image the middle of the first pixel of a stage's map lies; 0 is the image's own first pixel."""
    return (stride - 1) / 2 - max(config.border - 1, 0)


def _conv(
    config: FCNConfig, x: keras.KerasTensor, filters: int, size: int, padding: str, *, name: str, output: str = ""
) -> keras.KerasTensor:
    """Convolution, normalisation where wanted, ReLU; the last layer is called `output`."""
    bare = not config.batch_normalization
    x = Conv2D(filters, size, padding=padding, use_bias=bare, kernel_initializer="he_normal", name=name)(x)
    if config.batch_normalization:
        x = BatchNormalization(momentum=0.9, name=name.replace("conv", "bn"))(x)
    return Activation("relu", name=output or name.replace("conv", "relu"))(x)

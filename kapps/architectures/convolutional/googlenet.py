"""GoogLeNet (Inception v1): the winner of ILSVRC 2014, with twelve times fewer parameters than AlexNet.

Idea: filters of several sizes look at the same map side by side and their outputs are joined; 1x1 convolutions before
the costly ones keep the arithmetic small.

    stage         what                                                                    output
    stem1_pool1   7x7/2 (64), max pool 3x3/2; then normalisation across channels          [56, 56, 64]
    stem2_pool1   1x1 (64), 3x3 (192), normalisation across channels, max pool 3x3/2      [28, 28, 192]
    inception_3a  1x1 | 1x1, 3x3 | 1x1, 5x5 | max pool 3x3, 1x1                           [28, 28, 256]
    inception_3b  the same, wider; then max pool 3x3/2                                    [28, 28, 480]
    inception_4a  the same; the first auxiliary classifier looks here                     [14, 14, 512]
    inception_4b                                                                          [14, 14, 512]
    inception_4c                                                                          [14, 14, 512]
    inception_4d  the second auxiliary classifier looks here                              [14, 14, 528]
    inception_4e  then max pool 3x3/2                                                     [14, 14, 832]
    inception_5a                                                                          [7, 7, 832]
    inception_5b                                                                          [7, 7, 1024]

Every convolution is followed by ReLU.

Paper: Szegedy et al.: "Going deeper with convolutions", CVPR 2015: table 1 (the stages), figures 2b (the module) and 3
(the whole network, with the place of the normalisations), section 5 (the auxiliary classifiers).

Deviations: for what the paper does not say (the constants of the normalisation, how borders are padded and odd sizes
halved) `googlenet` does as BVLC's Caffe model. Table 1's column of parameters is off by up to 8 % in the modules and
wrong for the first convolution (2.7K, which has 9.4K); the channels beside it count here, as there. `googlenet_bn` is
torchvision's form: batch normalisation instead of biases and of the normalisation across channels, 3x3 convolutions
where the paper has 5x5, a 2x2 last pool, auxiliary classifiers that pool to 4x4 at every input size, dropout 0.2
instead of 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import AdaptiveAveragePooling2D, AveragePooling2D, Dense, Dropout, Flatten, GlobalAveragePooling2D

from kapps.blocks.inception import ROUND_UP, Conv, Norm, Pool, chain, module
from kapps.layers.local_response_normalization import LocalResponseNormalization

# Table 1: channels of 1x1; before 3x3, 3x3; before 5x5, 5x5; behind the pool.
MODULES = {
    "inception_3a": (64, 96, 128, 16, 32, 32),
    "inception_3b": (128, 128, 192, 32, 96, 64),
    "inception_4a": (192, 96, 208, 16, 48, 64),
    "inception_4b": (160, 112, 224, 24, 64, 64),
    "inception_4c": (128, 128, 256, 24, 64, 64),
    "inception_4d": (112, 144, 288, 32, 64, 64),
    "inception_4e": (256, 160, 320, 32, 128, 128),
    "inception_5a": (256, 160, 320, 32, 128, 128),
    "inception_5b": (384, 192, 384, 48, 128, 128),
}
AUXILIARY = {"aux1": "inception_4a", "aux2": "inception_4d"}


@dataclass(frozen=True)
class GoogLeNetConfig:
    """What the paper's and torchvision's form differ in.

    Attributes:
        batch_norm: batch normalisation behind each convolution, without biases, instead of local response
            normalisation in the stem.
        largest: the kernel of each module's third branch.
        last_pool: size of the pool between `inception_4e` and `inception_5a`.
        adaptive: whether the auxiliary classifiers pool to 4x4 at every size, or 5x5 with strides of 3.
        dropout: before the classifier.
        auxiliary_dropout: before the auxiliary classifiers.
    """

    batch_norm: bool = False
    largest: int = 5
    last_pool: int = 3
    adaptive: bool = False
    dropout: float = 0.4
    auxiliary_dropout: float = 0.7


VARIANTS = {
    "googlenet": GoogLeNetConfig(),
    "googlenet_bn": GoogLeNetConfig(batch_norm=True, largest=3, last_pool=2, adaptive=True, dropout=0.2),
}


def build(config: GoogLeNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, 3] to `inception_5b` [B, H/32, W/32, 1024], rounded up."""
    norm = _norm(config)
    halve = Pool("max", 3, 2, ROUND_UP)
    features = {}

    x = features["stem1_pool1"] = chain(image, (Conv(64, 7, 2, padding=3), halve), "stem1", norm)  # [56, 56, 64]
    if not config.batch_norm:
        x = _across_channels("stem1_lrn")(x)
    x = chain(x, (Conv(64), Conv(192, 3)), "stem2", norm)  # [56, 56, 192]
    if not config.batch_norm:
        x = _across_channels("stem2_lrn")(x)
    x = features["stem2_pool1"] = chain(x, (halve,), "stem2", norm)  # [28, 28, 192]

    for name, (one, before_three, three, before_five, five, pooled) in MODULES.items():
        if name == "inception_4a":
            x = chain(x, (halve,), "inception_3", norm)  # [14, 14, 480]
        if name == "inception_5a":
            x = chain(x, (Pool("max", config.last_pool, 2, ROUND_UP),), "inception_4", norm)  # [7, 7, 832]
        branches = (
            (Conv(one),),
            (Conv(before_three), Conv(three, 3)),
            (Conv(before_five), Conv(five, config.largest)),
            (Pool("max"), Conv(pooled)),
        )
        x = features[name] = module(x, branches, name, norm)
    return features


def classify(
    config: GoogLeNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The mean over the last map, dropout and one dense layer: [B, num_classes]."""
    x = GlobalAveragePooling2D(name="global_pool")(features["inception_5b"])  # [1024]
    x = Dropout(config.dropout, name="predictions_dropout")(x)
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def auxiliary(
    config: GoogLeNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> dict[str, keras.KerasTensor]:
    """The two classifiers in the middle, for training: `{"aux1": [B, num_classes], "aux2": [B, num_classes]}`.

    Their losses count 0.3 each (section 5).
    """
    outputs = {}
    for name, feature in AUXILIARY.items():
        pool = AdaptiveAveragePooling2D(4) if config.adaptive else AveragePooling2D(5, strides=3)
        x = pool(features[feature])  # [4, 4, 512] and [4, 4, 528]
        x = Flatten(name=f"{name}_flat")(chain(x, (Conv(128),), name, _norm(config)))  # [2048]
        x = Dense(1024, activation="relu", name=f"{name}_fc1")(x)
        x = Dropout(config.auxiliary_dropout, name=f"{name}_dropout")(x)
        outputs[name] = Dense(num_classes, activation=activation, dtype="float32", name=name)(x)
    return outputs


def _norm(config: GoogLeNetConfig) -> Norm:
    return {"epsilon": 1e-3, "momentum": 0.9} if config.batch_norm else None


def _across_channels(name: str) -> LocalResponseNormalization:
    return LocalResponseNormalization(5, k=1.0, alpha=1e-4, beta=0.75, reduction="mean", name=name)

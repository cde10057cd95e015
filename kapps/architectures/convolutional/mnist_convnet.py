"""The small MNIST network of the early Python libraries: ReLU, max pooling and dropout, nothing else.

Idea: what AlexNet showed at scale in 2012, in a size that a laptop trains.

    stage        what                                          output         weights
    conv1        convolution 5x5, 32 maps, ReLU                [24, 24, 32]       832
    pool1        maximum over 2x2                              [12, 12, 32]
    conv2        convolution 5x5, 32 maps, ReLU                [8, 8, 32]      25,632
    pool2        maximum over 2x2                              [4, 4, 32]
    fc3          dropout 0.5, full connection, 256, ReLU       [256]          131,328
    predictions  dropout 0.5, full connection                  [10]             2,570

It is trained by stochastic gradient descent with Nesterov momentum, rate 0.01 and momentum 0.9.

Source: Dieleman et al.: "Lasagne: first release", 2015, examples/mnist.py (`build_cnn`); the pieces are those of
Krizhevsky, Sutskever, Hinton: "ImageNet classification with deep convolutional neural networks", NIPS 2012.

Deviations: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D


@dataclass(frozen=True)
class MnistConvnetConfig:
    """The sizes of the stages.

    Attributes:
        maps: of conv1 and conv2.
        units: of fc3.
        dropout_rate: share of the inputs of fc3 and of predictions that is dropped in training.
    """

    maps: tuple[int, int] = (32, 32)
    units: int = 256
    dropout_rate: float = 0.5


VARIANTS = {"mnist_convnet": MnistConvnetConfig()}


def build(config: MnistConvnetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] to fc3; shapes for 28x28."""
    first, second = config.maps
    conv1 = Conv2D(first, 5, activation="relu", name="conv1")(image)  # [24, 24, 32]
    pool1 = MaxPooling2D(2, name="pool1")(conv1)  # [12, 12, 32]
    conv2 = Conv2D(second, 5, activation="relu", name="conv2")(pool1)  # [8, 8, 32]
    pool2 = MaxPooling2D(2, name="pool2")(conv2)  # [4, 4, 32]
    x = Flatten(name="pool2_flat")(pool2)  # [512]
    x = Dropout(config.dropout_rate, name="pool2_dropout")(x)
    fc3 = Dense(config.units, activation="relu", name="fc3")(x)  # [256]
    return {"conv1": conv1, "pool1": pool1, "conv2": conv2, "pool2": pool2, "fc3": fc3}


def classify(
    config: MnistConvnetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """Dropout and the last full connection: fc3 [B, 256] to [B, num_classes]."""
    x = Dropout(config.dropout_rate, name="fc3_dropout")(features["fc3"])
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)

"""Spatial transformer: a network that looks where it has to, and turns and scales what it sees.

Idea: a small network finds the place, size and turn of what matters in the image, and a differentiable sampler cuts it
out; both learn from the classifier's error alone, without being told where anything is.

    stage        what                                                         output        weights
    transformed  the image, sampled where the localisation says               [42, 42, 1]    17,086
    conv1        convolution 9x9, 32 maps                                     [34, 34, 32]    2,624
    pool1        max pooling 2x2                                              [17, 17, 32]
    conv2        convolution 7x7, 32 maps                                     [11, 11, 32]   50,208
    pool2        max pooling 2x2                                              [5, 5, 32]

and a full connection to the classes (8,010). `st_cnn_plain` is the same network without the first stage.

`transform` is that stage, for the front of any network: figure 2 of the paper.

    image -+-> localisation: half the size, convolution 5x5 (20 maps), max pooling 2x2, convolution 5x5 (20 maps),
           |   full connection (20), full connection to the 6 numbers of an affine transformation
           +-> sampled bilinearly at the transformed grid -> transformed

Paper: Jaderberg, Simonyan, Zisserman, Kavukcuoglu: "Spatial Transformer Networks", NIPS 2015, figure 2, section 3, and
the supplement on distorted MNIST (ST-CNN with the affine transformation).

Deviations: the paper gives each compared network the filters (32 to 64) that make the numbers of weights equal, and
halves the transformed image; here both networks have 32 filters and the same input, so that they differ in the
transformer alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import AveragePooling2D, Conv2D, Dense, Flatten, MaxPooling2D

from kapps.layers.affine_grid import AffineGrid
from kapps.layers.bilinear_sampler import BilinearSampler


@dataclass(frozen=True)
class SpatialTransformerConfig:
    """What the variants differ in.

    Attributes:
        transformer: whether the network has one.
        filters: maps of conv1 and conv2.
        localisation_filters: maps of the two convolutions that find the transformation.
        localisation_units: of the full connection behind them.
    """

    transformer: bool = True
    filters: tuple[int, int] = (32, 32)
    localisation_filters: int = 20
    localisation_units: int = 20


VARIANTS = {"st_cnn": SpatialTransformerConfig(), "st_cnn_plain": SpatialTransformerConfig(transformer=False)}


def build(config: SpatialTransformerConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C]; shapes for 42x42."""
    features = {}
    x = image
    if config.transformer:
        x = features["transformed"] = transform(config, image, name="transformed")
    for number, (filters, size) in enumerate(zip(config.filters, (9, 7), strict=True), start=1):
        x = features[f"conv{number}"] = Conv2D(filters, size, activation="relu", name=f"conv{number}")(x)
        x = features[f"pool{number}"] = MaxPooling2D(2, name=f"pool{number}")(x)
    return features


def classify(
    config: SpatialTransformerConfig,
    features: Mapping[str, keras.KerasTensor],
    num_classes: int,
    activation: str | None,
) -> keras.KerasTensor:
    """The output layer: pool2 [B, 5, 5, 32] to [B, num_classes]."""
    x = Flatten(name="flat")(features["pool2"])
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def transform(
    config: SpatialTransformerConfig,
    image: keras.KerasTensor,
    size: tuple[int, int] | None = None,
    name: str = "transformed",
) -> keras.KerasTensor:
    """A spatial transformer on an image or on maps, which starts as the identity.

    Args:
        config: the sizes of the localisation network.
        image: [B, H, W, C], H and W known and at least 28.
        size: (height, width) of the result; None = that of the image.
        name: of the layer that gives the result; the others begin with it.

    Returns:
        [B, h, w, C].
    """
    x = AveragePooling2D(2, name=f"{name}_half")(image)  # [21, 21, 1]
    x = Conv2D(config.localisation_filters, 5, activation="relu", name=f"{name}_conv1")(x)  # [17, 17, 20]
    x = MaxPooling2D(2, name=f"{name}_pool1")(x)  # [8, 8, 20]
    x = Conv2D(config.localisation_filters, 5, activation="relu", name=f"{name}_conv2")(x)  # [4, 4, 20]
    x = Flatten(name=f"{name}_flat")(x)
    x = Dense(config.localisation_units, activation="relu", name=f"{name}_fc")(x)
    identity = keras.initializers.Constant([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    theta = Dense(6, kernel_initializer="zeros", bias_initializer=identity, dtype="float32", name=f"{name}_theta")(x)
    height, width = size or image.shape[1:3]
    grid = AffineGrid(height, width, name=f"{name}_grid")(theta)  # [42, 42, 2]
    return BilinearSampler(name=name)(image, grid)

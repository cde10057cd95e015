"""OverFeat: one network that classifies, localises and detects by sliding over the image.

Idea: a convolutional network applied to a larger image is the network applied to every window of it, at the price of
the new pixels only. So the full connections are convolutions, too, the answers are maps, and a second head on the same
features predicts for each place and class where the object's box is.

    stage   what (fast)                         output          what (accurate)                     output
    conv1   convolution 11x11, stride 4         [56, 56, 96]    7x7, stride 2                       [108, 108, 96]
    conv2   max pooling 2x2; convolution 5x5    [24, 24, 256]   max pooling 3x3, stride 3; 7x7      [30, 30, 256]
    conv3   max pooling 2x2; convolution 3x3    [12, 12, 512]   max pooling 2x2; 3x3                [15, 15, 512]
    conv4   convolution 3x3                     [12, 12, 1024]  3x3                                 [15, 15, 512]
    conv5   convolution 3x3                     [12, 12, 1024]  3x3                                 [15, 15, 1024]
    conv6                                                       3x3                                 [15, 15, 1024]
    pooled  max pooling 2x2                     [6, 6, 1024]    max pooling 3x3, stride 3           [5, 5, 1024]
    fc1     convolution 6x6, dropout 0.5        [1, 1, 3072]    5x5                                 [1, 1, 4096]
    fc2     convolution 1x1, dropout 0.5        [1, 1, 4096]    1x1                                 [1, 1, 4096]
    class_map    convolution 1x1                [1, 1, 1000]                                        [1, 1, 1000]
    predictions  the best place of each class   [1000]                                              [1000]

A ReLU follows each layer up to fc2. A larger image makes the last four stages larger maps; `densely` makes them finer
by the factor of the last pooling.

Paper: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun: "OverFeat: integrated recognition, localization and detection
using convolutional networks", ICLR 2014, table 1 (fast), table 3 (accurate), section 3.3 (dense evaluation), section
4.1 (the regressor).

Deviations: each class takes its best place by the scores before the softmax, not behind it, so that probabilities add
up to 1. The regressor's boxes are not merged (the paper does so greedily) but given for every place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import Activation, Conv2D, Dropout, GlobalMaxPooling2D, MaxPooling2D

from kapps.layers.offset_pooling import InterleaveOffsets, OffsetMaxPooling2D

# Of the regressor, section 4.1: two hidden layers.
REGRESSOR_UNITS = (4096, 1024)


@dataclass(frozen=True)
class OverFeatConfig:
    """One of the tables.

    Attributes:
        convolutions: (maps, kernel size, stride, padding, side of the pooling behind it or 0) of each.
        window: side of the pooled maps that a classifier sees.
        units: of fc1 and fc2.
        dropout_rate: behind them.
    """

    convolutions: tuple[tuple[int, int, int, str, int], ...]
    window: int
    units: tuple[int, int]
    dropout_rate: float = 0.5


VARIANTS = {
    "overfeat_fast": OverFeatConfig(
        convolutions=(
            (96, 11, 4, "valid", 2),
            (256, 5, 1, "valid", 2),
            (512, 3, 1, "same", 0),
            (1024, 3, 1, "same", 0),
            (1024, 3, 1, "same", 2),
        ),
        window=6,
        units=(3072, 4096),
    ),
    "overfeat_accurate": OverFeatConfig(
        convolutions=(
            (96, 7, 2, "valid", 3),
            (256, 7, 1, "valid", 2),
            (512, 3, 1, "same", 0),
            (512, 3, 1, "same", 0),
            (1024, 3, 1, "same", 0),
            (1024, 3, 1, "same", 3),
        ),
        window=5,
        units=(4096, 4096),
    ),
}


def build(config: OverFeatConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The layers from an image [B, H, W, C], as large as the default or larger (or None), to fc2 [B, h, w, 4096]."""
    features = {}
    x = image
    for number, (filters, kernel, stride, padding, pool) in enumerate(config.convolutions, 1):
        x = features[f"conv{number}"] = _convolution(x, filters, kernel, f"conv{number}", stride, padding)
        if pool:
            last = number == len(config.convolutions)
            x = MaxPooling2D(pool, name="pooled" if last else f"pool{number}")(x)
    features["pooled"] = x  # [6, 6, 1024]
    fc1 = _convolution(x, config.units[0], config.window, "fc1")  # [1, 1, 3072]
    x = Dropout(config.dropout_rate, name="fc1_dropout")(fc1)
    fc2 = _convolution(x, config.units[1], 1, "fc2")  # [1, 1, 4096]
    return {**features, "fc1": fc1, "fc2": fc2}


def classify(
    config: OverFeatConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The scores at every place and the best of each class: fc2 [B, h, w, 4096] to [B, num_classes]."""
    x = Dropout(config.dropout_rate, name="fc2_dropout")(features["fc2"])
    x = Conv2D(num_classes, 1, kernel_initializer=_start(), name="class_map")(x)  # [1, 1, classes]
    x = GlobalMaxPooling2D(name="best_place")(x)
    return Activation(activation or "linear", dtype="float32", name="predictions")(x)


def localise(config: OverFeatConfig, features: Mapping[str, keras.KerasTensor], num_classes: int) -> keras.KerasTensor:
    """The regressor: a box for every class at every place, from the pooled maps [B, H, W, 1024].

    Returns:
        `boxes` [B, h, w, num_classes * 4]: for each class left, top, right and bottom in pixels of the window there. To
        be trained with the squared error against the true box of the right class, the layers below kept as they are.
    """
    x = _convolution(features["pooled"], REGRESSOR_UNITS[0], config.window, "box_fc1")  # [1, 1, 4096]
    x = _convolution(x, REGRESSOR_UNITS[1], 1, "box_fc2")  # [1, 1, 1024]
    return Conv2D(num_classes * 4, 1, kernel_initializer=_start(), dtype="float32", name="boxes")(x)


def densely(model: keras.Model, output: str = "class_map") -> keras.Model:
    """The same layers, with the last pooling at each of its offsets: a finer map of answers.

    Args:
        model: an OverFeat made with the input shape (None, None, channels).
        output: the layer whose map is wanted.

    Returns:
        A model that shares the layers, from images [B, H, W, C] to [B, h * s, w * s, ...] for a last pooling of side s.

    Raises:
        ValueError: the model takes images of one size only.
    """
    if None not in model.input_shape[1:3]:
        raise ValueError(
            f"densely: expected a model for images of any size, got one for {model.input_shape[1:]}: create it with "
            f"input_shape=(None, None, {model.input_shape[-1]})"
        )
    pooling = model.get_layer("pooled")
    size = pooling.pool_size[0]
    head = keras.Model(pooling.output, model.get_layer(output).output, name=f"{output}_head")
    x = OffsetMaxPooling2D(size, name="offset_pooling")(pooling.input)  # an offset is one more image
    x = InterleaveOffsets(size, name="interleaved")(head(x))
    return keras.Model(model.input, x, name=f"{model.name}_dense")


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, stride: int = 1, padding: str = "valid"
) -> keras.KerasTensor:
    settings = {"strides": stride, "padding": padding, "kernel_initializer": _start()}
    return Conv2D(filters, kernel, activation="relu", name=name, **settings)(x)


def _start() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=0.01)

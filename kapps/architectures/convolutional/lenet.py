"""LeNet-5: the convolutional network that read a tenth of the cheques in the United States.

Idea: local receptive fields, shared weights and subsampling build the tolerance to shift and distortion into the
network.

    stage     what                                                            output        weights
    frame     background around a smaller image, so that strokes are inside   [32, 32, 1]
    c1        convolution 5x5, 6 maps                                         [28, 28, 6]       156
    s2        subsampling 2x2: sum, one coefficient and one bias a map        [14, 14, 6]        12
    c3        convolution 5x5, 16 maps, each of 3, 4 or all 6 maps of s2      [10, 10, 16]    1,516
    s4        subsampling 2x2                                                 [5, 5, 16]         32
    c5        convolution 5x5, 120 maps, each of all maps of s4               [1, 1, 120]    48,120
    f6        full connection, 84 units                                       [84]           10,164
    penalties squared distances to the classes' codes, 7x12 bitmaps           [10]     (840, fixed)

Every unit up to f6 squashes its weighted sum by `1.7159 tanh(2/3 a)`.

Paper: LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", Proc. IEEE 86 (11),
1998: section II.B, figure 2 (the stages), table I (the connections of c3), figure 3 (the bitmaps), eq. 7 (the output).

`logits` are the negative penalties and `predictions` their softmax. The cross-entropy of these is the paper's loss
(eq. 9) without its rubbish class, a class "none of these" with the fixed penalty j. What j adds is the same for every
target, and `penalties` adds it as its activity regulariser, so that training with the cross-entropy minimises eq. 9
exactly. It matters: without j only differences of penalties count, tiny activations give enough of them, and the
network stays in the linear range of its squashing functions (about 90 % on MNIST) for a long time.

Deviations: the paper does not say what j is; here 1. The bitmaps are drawn after figure 3, which prints them small.
Biases start at 0. `lenet5_softmax` is the form in common use since: c3 sees all maps, max pooling, ReLU, dense softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras.layers import Activation, AveragePooling2D, Conv2D, Dense, Flatten, MaxPooling2D, Rescaling

from kapps.layers.fan_in_uniform import FanInUniform
from kapps.layers.frame import Frame
from kapps.layers.partial_conv2d import PartialConv2D
from kapps.layers.rbf import RBF
from kapps.layers.rubbish_class import RubbishClass
from kapps.layers.scaled_tanh import scaled_tanh
from kapps.layers.subsampling import Subsampling

# Table I: the maps of s2 that each map of c3 sees.
TABLE_1 = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),  # three in a row
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),  # four in a row
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),  # two pairs
    (0, 1, 2, 3, 4, 5),
)

# Figure 3: what f6 should look like for each digit, 7x12 pixels.
BITMAPS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. ####### ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## .....## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## ....##. ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. ....##. ...##.. .##.##. ######. ##.###. ....##. .#####. ##...##
##...## ...##.. ...##.. ..####. ##..##. ##...## ###..## ...##.. ##...## .######
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## .##..## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. ..####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


@dataclass(frozen=True)
class LeNetConfig:
    """What the original and the common form differ in.

    Attributes:
        connections: of c3: `"table1"` of the paper, or each map of all maps.
        pooling: of s2 and s4; only `"subsampling"` has weights and squashes.
        activation: `"scaled_tanh"` or a Keras name.
        output: `"rbf"` or `"dense"`.
        kernel_initializer: `"fan_in"` is the paper's, uniform within +-2.4 / fan-in; or a Keras name.
        background: the value of an empty pixel, as the preprocessing gives it; of the frame around small images.
        rubbish_penalty: j of eq. 9, for `output="rbf"`; None leaves the rubbish class out (j at infinity).
    """

    connections: Literal["table1", "full"] = "table1"
    pooling: Literal["subsampling", "average", "max"] = "subsampling"
    activation: str = "scaled_tanh"
    output: Literal["rbf", "dense"] = "rbf"
    kernel_initializer: str = "fan_in"
    background: float = -0.1
    rubbish_penalty: float | None = 1.0


VARIANTS = {
    "lenet5": LeNetConfig(),
    "lenet5_softmax": LeNetConfig("full", "max", "relu", "dense", kernel_initializer="he_normal", background=0.0),
}


def build(config: LeNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C], H and W up to 32 (larger ones work), to f6 [B, 84]."""
    settings = {"activation": _activation(config), "kernel_initializer": _initializer(config)}

    x = Frame(32, 32, config.background, name="frame")(image)  # [32, 32, C]
    c1 = Conv2D(6, 5, name="c1", **settings)(x)  # [28, 28, 6]
    s2 = _pool(config, c1, name="s2")  # [14, 14, 6]
    if config.connections == "table1":
        fan_in = [5 * 5 * len(seen) for seen in TABLE_1]
        own = {**settings, "kernel_initializer": _initializer(config, fan_in)}
        c3 = PartialConv2D(TABLE_1, 5, name="c3", **own)(s2)  # [10, 10, 16]
    else:
        c3 = Conv2D(16, 5, name="c3", **settings)(s2)  # [10, 10, 16]
    s4 = _pool(config, c3, name="s4")  # [5, 5, 16]
    c5 = Conv2D(120, 5, name="c5", **settings)(s4)  # [1, 1, 120]
    x = Flatten(name="c5_flat")(c5)
    f6 = Dense(84, name="f6", **settings)(x)  # [84]
    return {"c1": c1, "s2": s2, "c3": c3, "s4": s4, "c5": c5, "f6": f6}


def classify(
    config: LeNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The output layer: f6 [B, 84] to [B, num_classes]."""
    if config.output == "dense":
        return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(features["f6"])
    rubbish = None if config.rubbish_penalty is None else RubbishClass(config.rubbish_penalty)
    rbf = RBF(codes(num_classes), activity_regularizer=rubbish, dtype="float32", name="penalties")
    logits = Rescaling(-1.0, dtype="float32", name="logits")(rbf(features["f6"]))
    return Activation(activation or "linear", dtype="float32", name="predictions")(logits)


def codes(num_classes: int) -> np.ndarray:
    """The centres of the output units: float32 [num_classes, 84] of -1 (white) and +1 (black).

    The bitmaps for ten classes; for any other number random codes from a fixed seed.
    """
    if num_classes != 10:
        return np.random.default_rng(1998).choice(np.array([-1, 1], dtype="float32"), (num_classes, 84))
    rows = [line.split() for line in BITMAPS.split("\n") if line]  # 12 lines of 10 pieces
    digits = ["".join(row[digit] for row in rows) for digit in range(10)]
    return np.array([[1 if pixel == "#" else -1 for pixel in digit] for digit in digits], dtype="float32")


def _pool(config: LeNetConfig, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    if config.pooling == "average":
        return AveragePooling2D(2, name=name)(x)
    if config.pooling == "max":
        return MaxPooling2D(2, name=name)(x)
    # a unit has 4 inputs; where the paper's rule is not wanted it starts as their mean
    coefficient = (
        FanInUniform(fan_in=4) if config.kernel_initializer == "fan_in" else keras.initializers.Constant(1 / 4)
    )
    return Subsampling(2, _activation(config), coefficient, name=name)(x)


def _activation(config: LeNetConfig):
    return scaled_tanh if config.activation == "scaled_tanh" else config.activation


def _initializer(config: LeNetConfig, fan_in: list[int] | None = None):
    return FanInUniform(fan_in=fan_in) if config.kernel_initializer == "fan_in" else config.kernel_initializer

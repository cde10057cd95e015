"""The convolutional network of DeepLearnToolbox, "6c-2s-12c-2s": LeNet reduced to what fits on one page of Matlab.

Idea: sigmoid convolutions and plain means, trained by plain gradient descent on the squared error.

    stage        what                                   output        weights
    c1           convolution 5x5, 6 maps, sigmoid       [24, 24, 6]       156
    s2           mean over 2x2                          [12, 12, 6]
    c3           convolution 5x5, 12 maps, sigmoid      [8, 8, 12]      1,812
    s4           mean over 2x2                          [4, 4, 12]
    fv           the feature vector                     [192]
    predictions  full connection, the shared head       [10]            1,930

The toolbox's outputs are sigmoids (`classifier_activation="sigmoid"`), its loss half the squared error summed over the
outputs, its training plain gradient descent with rate 1 on batches of 50. It reports 11 % error after one epoch of
MNIST and 1.2 % after 100.

Source: Palm: "Prediction as a candidate for learning deep hierarchical models of data", M.Sc. thesis, DTU, 2012, and
its DeepLearnToolbox: CNN/cnnexamples.m (the stages), CNN/cnnff.m, CNN/cnnsetup.m (the initialisation, which is
Glorot's uniform: +-sqrt(6 / (fan-in + fan-out)) with both counted over the 5x5 window).

Deviations: convolutions do not flip the kernel, and the feature vector runs through the maps pixel by pixel rather
than map by map; both only rename weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras.layers import AveragePooling2D, Conv2D, Flatten


@dataclass(frozen=True)
class DltCnnConfig:
    """The four stages.

    Attributes:
        maps: of c1 and c3.
        kernel: side of the convolution kernels.
        pool: side of the windows of s2 and s4.
    """

    maps: tuple[int, int] = (6, 12)
    kernel: int = 5
    pool: int = 2


VARIANTS = {"dlt_cnn": DltCnnConfig()}


def build(config: DltCnnConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, C] to the feature vector; shapes for 28x28."""
    first, second = config.maps
    c1 = Conv2D(first, config.kernel, activation="sigmoid", name="c1")(image)  # [24, 24, 6]
    s2 = AveragePooling2D(config.pool, name="s2")(c1)  # [12, 12, 6]
    c3 = Conv2D(second, config.kernel, activation="sigmoid", name="c3")(s2)  # [8, 8, 12]
    s4 = AveragePooling2D(config.pool, name="s4")(c3)  # [4, 4, 12]
    fv = Flatten(name="fv")(s4)  # [192]
    return {"c1": c1, "s2": s2, "c3": c3, "s4": s4, "fv": fv}

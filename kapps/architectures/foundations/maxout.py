"""The maxout network for permutation-invariant MNIST: units that learn their own activation function, with dropout.

Idea: the maximum of a few affine maps is piecewise linear and convex in whatever shape training makes it, and dropout,
which averages well over linear pieces, gets the most out of it.

    stage        what                                                     output   weights
    h0           dropout 0.2 on the pixels; 240 maxout units, 5 pieces    [240]    942,000
    h1           dropout 0.5; 240 maxout units, 5 pieces                  [240]    289,200
    predictions  dropout 0.5; full connection                             [10]       2,410

No knowledge of neighbourhood: shuffle the pixels of all images alike and nothing changes ("permutation invariant").
The incoming weight vector of every piece, and of every output, is held to a norm of at most 1.9365.

Paper: Goodfellow, Warde-Farley, Mirza, Courville, Bengio: "Maxout networks", ICML 2013, section 5.1 (0.94 % error);
the sizes are those of the authors' own experiment file, pylearn2/scripts/papers/maxout/mnist_pi.yaml.

Deviations: dropout divides what survives by its probability, also at the input, where the authors' file leaves it
unscaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras.constraints import MaxNorm
from keras.initializers import RandomUniform
from keras.layers import Dense, Dropout, Flatten

from kapps.layers.maxout import Maxout


@dataclass(frozen=True)
class MaxoutConfig:
    """The sizes and the regularisation.

    Attributes:
        units: of each maxout layer, in order.
        pieces: affine maps a unit.
        input_dropout_rate: share of the pixels that is dropped in training.
        dropout_rate: share of the units that is dropped in training.
        max_norm: largest norm of the weight vector into a piece or an output.
        initial_range: weights start uniform within +- this.
    """

    units: tuple[int, ...] = (240, 240)
    pieces: int = 5
    input_dropout_rate: float = 0.2
    dropout_rate: float = 0.5
    max_norm: float = 1.9365
    initial_range: float = 0.005


VARIANTS = {"maxout": MaxoutConfig()}


def build(config: MaxoutConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The maxout layers from an image [B, H, W, C] to the last one's units."""
    features = {}
    x = Flatten(name="pixels")(image)  # [784]
    x = Dropout(config.input_dropout_rate, name="pixels_dropout")(x)
    for number, units in enumerate(config.units):
        name = f"h{number}"
        if number > 0:
            x = Dropout(config.dropout_rate, name=f"h{number - 1}_dropout")(x)
        x = Maxout(units, config.pieces, name=name, **_weights(config))(x)  # [240]
        features[name] = x
    return features


def classify(
    config: MaxoutConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """Dropout and the output layer, under the same norm: [B, units] to [B, num_classes]."""
    name, x = list(features.items())[-1]
    x = Dropout(config.dropout_rate, name=f"{name}_dropout")(x)
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions", **_weights(config))(x)


def _weights(config: MaxoutConfig) -> dict[str, Any]:
    """How the kernels start and are held: a column (axis 0) is the weight vector of one piece or output."""
    return {
        "kernel_initializer": RandomUniform(-config.initial_range, config.initial_range),
        "kernel_constraint": MaxNorm(config.max_norm, axis=0),
    }

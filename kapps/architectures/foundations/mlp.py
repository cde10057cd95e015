"""The multilayer perceptron: full connections of any depth and width, every choice of the 1986 to 2015 debate a field.

Idea: a hidden layer of smooth units can be trained by back-propagating the error, and with it any function
approximated.

    stage        what                                                     output   weights (`mlp`)
    hidden1      full connection of all pixels, activation                [500]    128,500
    hidden2      full connection, activation                              [500]    250,500
    ...          as many as `hidden` has numbers
    predictions  full connection                                          [10]       5,010

`mlp` is the digit reader of the lectures: 16x16 = 256 inputs, sigmoid units, 10 outputs. `xor_net` is the smallest
network that does what no single perceptron can: 2 inputs, 2 sigmoid units, 1 output.

Paper: Rumelhart, Hinton, Williams: "Learning representations by back-propagating errors", Nature 323, 1986, and for
`xor_net` "Learning internal representations by error propagation", Parallel Distributed Processing 1, 1986, chapter 8.

Deviations: weights start by Glorot's rule for sigmoid and tanh (Glorot, Bengio 2010), by He's for ReLU and PReLU (He
et al. 2015) and by LeCun's for maxout, rather than small and uniform. The default loss is the cross-entropy, not the
squared error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras.layers import Dense, Dropout, Flatten, PReLU

from kapps.errors import RecipeError
from kapps.layers.annealed_dropout import AnnealedDropout
from kapps.layers.channel_maxout import ChannelMaxout
from kapps.layers.drop_connect import DropConnect
from kapps.layers.standout import StandoutDense

# Each keeps the size of the signal from layer to layer for its activation. For maxout: the maximum of two independent
# normal numbers has the mean square of one, so LeCun's rule, made for linear units, is exact for 2 pieces.
INITIALIZERS = {
    "sigmoid": "glorot_uniform",
    "tanh": "glorot_uniform",
    "relu": "he_normal",
    "prelu": "he_normal",
    "maxout": "lecun_normal",
}


@dataclass(frozen=True)
class MLPConfig:
    """Depth, width, activation and regularisation.

    Attributes:
        hidden: units of each hidden layer, from the input on; `()` is a linear classifier.
        activation: of the hidden layers.
        pieces: affine maps a unit, for `activation="maxout"`.
        dropout: what is dropped in training. `"dropout"` and `"annealed_dropout"` drop units after each hidden layer,
            `"dropconnect"` drops weights of the hidden layers, `"standout"` drops units by their own input.
        dropout_rate: for all of them but standout, which learns it.
        input_dropout_rate: share of the pixels that is dropped in training, whatever `dropout` is.
        anneal_steps: training steps until annealed dropout has faded to 0.
        standout_alpha, standout_beta: a unit with input z is kept with probability sigmoid(alpha z + beta).
        kernel_initializer: a Keras name for the hidden layers; None = by activation, see `INITIALIZERS`.
    """

    hidden: tuple[int, ...] = (500, 500)
    activation: Literal["sigmoid", "tanh", "relu", "prelu", "maxout"] = "sigmoid"
    pieces: int = 2
    dropout: Literal["none", "dropout", "dropconnect", "standout", "annealed_dropout"] = "none"
    dropout_rate: float = 0.5
    input_dropout_rate: float = 0.0
    anneal_steps: int = 10_000
    standout_alpha: float = 1.0
    standout_beta: float = 0.0
    kernel_initializer: str | None = None

    def __post_init__(self) -> None:
        if any(units < 1 for units in self.hidden):
            raise RecipeError(f"mlp: hidden should be numbers of units of at least 1, not {self.hidden}")
        if self.dropout == "standout" and self.activation == "maxout":
            raise RecipeError(
                "mlp: standout keeps a unit by its one input, but a maxout unit has several; choose another"
            )


VARIANTS = {
    "mlp": MLPConfig(),
    "xor_net": MLPConfig(hidden=(2,)),
}


def build(config: MLPConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The hidden layers from an image [B, H, W, C] (or a vector [B, D]) on."""
    x = Flatten(name="pixels")(image)  # [256]
    features = {} if config.hidden else {"pixels": x}
    if config.input_dropout_rate:
        x = Dropout(config.input_dropout_rate, name="pixels_dropout")(x)
    for number, units in enumerate(config.hidden, start=1):
        if number > 1:
            x = _drop_units(config, x, name=f"hidden{number - 1}_dropout")
        x = _hidden_layer(config, x, units, name=f"hidden{number}")  # [units]
        features[f"hidden{number}"] = x
    return features


def classify(
    config: MLPConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The output layer, behind the last hidden layer's dropout: [B, units] to [B, num_classes]."""
    name, x = list(features.items())[-1]
    if config.hidden:
        x = _drop_units(config, x, name=f"{name}_dropout")
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def _hidden_layer(config: MLPConfig, x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """Full connection and activation; the layer that gives the activation bears the name."""
    initializer = config.kernel_initializer or INITIALIZERS[config.activation]
    if config.activation not in ("prelu", "maxout"):
        return _full_connection(config, units, name, initializer, config.activation)(x)
    pieces = config.pieces if config.activation == "maxout" else 1
    x = _full_connection(config, units * pieces, f"{name}_linear", initializer, activation=None)(x)
    return ChannelMaxout(pieces, name=name)(x) if config.activation == "maxout" else PReLU(name=name)(x)


def _full_connection(config: MLPConfig, units: int, name: str, initializer: str, activation: str | None) -> Dense:
    settings: dict[str, Any] = {"activation": activation, "kernel_initializer": initializer, "name": name}
    if config.dropout == "dropconnect":
        return DropConnect(units, config.dropout_rate, **settings)
    if config.dropout == "standout":
        # with PReLU behind it: prelu(m z) = m prelu(z) for m >= 0, so the order does not matter
        return StandoutDense(units, alpha=config.standout_alpha, beta=config.standout_beta, **settings)
    return Dense(units, **settings)


def _drop_units(config: MLPConfig, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    if config.dropout == "dropout":
        return Dropout(config.dropout_rate, name=name)(x)
    if config.dropout == "annealed_dropout":
        return AnnealedDropout(config.dropout_rate, config.anneal_steps, name=name)(x)
    return x

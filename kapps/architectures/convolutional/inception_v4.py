"""Inception v4: the pure Inception architecture made uniform, deeper and wider.

Idea: with no need to cut the training graph into pieces for several machines any more, every stage has one module,
repeated; only the modules that shrink the grid differ.

    stage          what                                                                 output
    stem_relu3     convolutions 3x3/2 (32), 3x3 (32), 3x3 (64)                          [147, 147, 64]
    stem4          max pool 3x3/2 | 3x3/2 (96)                                          [73, 73, 160]
    stem5          1x1, 3x3 | 1x1, 1x7, 7x1, 3x3                                        [71, 71, 192]
    stem6          3x3/2 (192) | max pool /2                                            [35, 35, 384]
    a1             1x1 | 3x3 | two 3x3 | average pool and 1x1 (figure 4)                [35, 35, 384]
    ...
    a4             the same: four in all                                                [35, 35, 384]
    reduction_a    3x3/2 | 1x1, 3x3, 3x3/2 | max pool /2 (figure 7)                     [17, 17, 1024]
    b1             1x1 | 1x7, 7x1 | twice 7x1, 1x7 | average pool and 1x1 (figure 5)    [17, 17, 1024]
    ...
    b7             the same: seven in all                                               [17, 17, 1024]
    reduction_b    1x1, 3x3/2 | 1x1, 1x7, 7x1, 3x3/2 | max pool /2 (figure 8)           [8, 8, 1536]
    c1             1x1 | 1x3 beside 3x1 | 3x1, 1x3, both | average pool (figure 6)      [8, 8, 1536]
    ...
    c3             the same: three in all                                               [8, 8, 1536]

Every convolution is followed by batch normalisation and ReLU.

Paper: Szegedy, Ioffe, Vanhoucke, Alemi: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", AAAI 2017: figure 9 (the stages), figure 3 (the stem), figures 4 to 8 (the modules), table 1 (the widths of
`reduction_a`: k, l, m, n = 192, 224, 256, 384).

Deviations: the normalisation has a learned scale, as in timm (the authors' code has none; where a ReLU and a
convolution follow, it adds nothing that these could not do).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
from keras.layers import Dense, Dropout, GlobalAveragePooling2D

from kapps.blocks.inception import Conv, Fork, Pool, Step, chain, module

STEM = (Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3))

AVERAGE, SHRINK = Pool("average"), Pool("max", 3, 2, "valid")
_SPREAD = Fork(Conv(256, (1, 3)), Conv(256, (3, 1)))

# Figures 3 to 8: the branches of each module.
STEM_4 = ((SHRINK,), (Conv(96, 3, 2, "valid"),))
STEM_5 = (
    (Conv(64), Conv(96, 3, 1, "valid")),
    (Conv(64), Conv(64, (1, 7)), Conv(64, (7, 1)), Conv(96, 3, 1, "valid")),
)
STEM_6 = ((Conv(192, 3, 2, "valid"),), (SHRINK,))
A = (
    (Conv(96),),
    (Conv(64), Conv(96, 3)),
    (Conv(64), Conv(96, 3), Conv(96, 3)),
    (AVERAGE, Conv(96)),
)
REDUCTION_A = (
    (Conv(384, 3, 2, "valid"),),
    (Conv(192), Conv(224, 3), Conv(256, 3, 2, "valid")),
    (SHRINK,),
)
B = (
    (Conv(384),),
    (Conv(192), Conv(224, (1, 7)), Conv(256, (7, 1))),
    (Conv(192), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))),
    (AVERAGE, Conv(128)),
)
REDUCTION_B = (
    (Conv(192), Conv(192, 3, 2, "valid")),
    (Conv(256), Conv(256, (1, 7)), Conv(320, (7, 1)), Conv(320, 3, 2, "valid")),
    (SHRINK,),
)
C = (
    (Conv(256),),
    (Conv(384), _SPREAD),
    (Conv(384), Conv(448, (3, 1)), Conv(512, (1, 3)), _SPREAD),
    (AVERAGE, Conv(256)),
)


@dataclass(frozen=True)
class InceptionV4Config:
    """How often each module is repeated, and the training's numbers.

    Attributes:
        repeats: of the modules a, b and c.
        momentum: of the batch normalisations' moving statistics.
        dropout: before the classifier; the paper keeps 0.8.
    """

    repeats: tuple[int, int, int] = (4, 7, 3)
    momentum: float = 0.9
    dropout: float = 0.2


VARIANTS = {"inception_v4": InceptionV4Config()}


def build(config: InceptionV4Config, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, H, W, 3], H and W at least 75, to `c3` [B, H/32, W/32, 1536], rounded."""
    norm = {"epsilon": 1e-3, "momentum": config.momentum}
    a, b, c = config.repeats
    table: dict[str, Sequence[Sequence[Step]]] = {
        **{"stem4": STEM_4, "stem5": STEM_5, "stem6": STEM_6},  # [73, 73, 160], [71, 71, 192], [35, 35, 384]
        **{f"a{number}": A for number in range(1, a + 1)},  # [35, 35, 384]
        "reduction_a": REDUCTION_A,  # [17, 17, 1024]
        **{f"b{number}": B for number in range(1, b + 1)},
        "reduction_b": REDUCTION_B,  # [8, 8, 1536]
        **{f"c{number}": C for number in range(1, c + 1)},
    }
    x = chain(image, STEM, "stem", norm)  # [147, 147, 64]
    features = {"stem_relu3": x}
    for name, branches in table.items():
        x = features[name] = module(x, branches, name, norm)
    return features


def classify(
    config: InceptionV4Config, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The mean over the last map, dropout and one dense layer: [B, num_classes]."""
    x = GlobalAveragePooling2D(name="global_pool")(list(features.values())[-1])  # [1536]
    x = Dropout(config.dropout, name="predictions_dropout")(x)
    return Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)

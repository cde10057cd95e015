"""FractalNet: as deep as a residual network without any shortcut, by repeating one rule.

Idea: a block of depth d is doubled by putting two of it in a row and one convolution beside them. The result has paths
of every length, the short ones teach the long ones, and by drop-path each column learns to answer alone.

    stage   what                                                      output        fractalnet20: output
    block1  columns of 1, 2, 4, 8 convolutions 3x3, 16 maps           [16, 16, 16]  [16, 16, 64]
    block2  the same, 32 maps                                         [8, 8, 32]    [8, 8, 128]
    block3  the same, 64 maps                                         [4, 4, 64]    [4, 4, 256]
    block4  the same, 128 maps                                        [2, 2, 128]   [2, 2, 512]
    block5  the same, 128 maps                                        [1, 1, 128]   [1, 1, 512]

A block from top to bottom, with c for convolution, batch normalisation and ReLU; joins (=) are means:

    column   1   2   3   4
    row 1    |   |   |   c
    row 2    |   |   c===c
    row 3    |   |   |   c
    row 4    |   c===c===c
    row 5    |   |   |   c
    row 6    |   |   c===c
    row 7    |   |   |   c
    row 8    c===c===c===c     maximum over 2x2 of each column, then the join

The five blocks of four columns are 40 layers deep; `column` cuts out the plain network of a single column.

Paper: Larsson, Maire, Shakhnarovich: "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017: figure 1
and section 2 (the rule), section 3 (drop-path), table 1 (fractalnet20: three columns), table 3 (fractalnet: 40 layers).

Deviations: the paper gives dropout rates by block, not their place; here behind each block's join. Half of the examples
of a batch take one column through the whole network, the others draw at each join.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import keras
from keras.layers import BatchNormalization, Conv2D, Dropout, MaxPooling2D, ReLU

from kapps.errors import RecipeError
from kapps.layers.drop_path import DropPathJoin, GlobalPath


@dataclass(frozen=True)
class FractalNetConfig:
    """The size of the fractal and its regularisation.

    Attributes:
        columns: C; the longest path of a block has 2^(C - 1) convolutions.
        channels: maps of each block; B is their number.
        drop_path: probability that a join drops a path (local drop-path).
        global_share: of the examples that take a single column (global drop-path).
        dropout: rate behind each block.
    """

    columns: int = 4
    channels: tuple[int, ...] = (16, 32, 64, 128, 128)
    drop_path: float = 0.15
    global_share: float = 0.5
    dropout: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)


VARIANTS = {
    "fractalnet": FractalNetConfig(),
    "fractalnet20": FractalNetConfig(columns=3, channels=(64, 128, 256, 512, 512)),
}


def build(config: FractalNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The blocks from an image [B, H, W, C] of at least 32x32; shapes for 32x32."""
    if len(config.dropout) != len(config.channels):
        raise RecipeError(
            f"fractalnet: expected a dropout rate for each of the {len(config.channels)} blocks, got {config.dropout}"
        )
    path = GlobalPath(config.columns, config.global_share, name="global_path")(image)  # [B]
    features = {}
    x = image
    for number, (channels, rate) in enumerate(zip(config.channels, config.dropout, strict=True), start=1):
        name = f"block{number}"
        x = fractal_block(x, path, channels, config.columns, config.drop_path, name)
        features[name] = x = Dropout(rate, name=name)(x)  # [16, 16, 16], [8, 8, 32], ..., [1, 1, 128]
    return features


def fractal_block(
    x: keras.KerasTensor, path: keras.KerasTensor, channels: int, columns: int, rate: float, name: str
) -> keras.KerasTensor:
    """Figure 1: [B, H, W, C] to [B, H / 2, W / 2, channels].

    The rule f' = (f after f) joined with one convolution, written row by row: a convolution of column c is as high as
    2^(C - c) of the last column's, and all columns whose convolutions end in the same row are joined there.
    """
    rows = 2 ** (columns - 1)
    ends = [x] * columns  # of each column, so far
    for row in range(1, rows + 1):
        ending = [column for column in range(columns) if row % 2 ** (columns - 1 - column) == 0]
        for column in ending:
            number = row // 2 ** (columns - 1 - column)
            ends[column] = _conv(ends[column], channels, name=f"{name}_column{column + 1}", number=number)
            if row == rows:
                ends[column] = MaxPooling2D(2, name=f"{name}_column{column + 1}_pool")(ends[column])
        if len(ending) > 1:
            join = DropPathJoin(ending, rate, name=f"{name}_join{row}")([*(ends[column] for column in ending), path])
            for column in ending:
                ends[column] = join
    return ends[-1]


def column(model: keras.Model, number: int) -> keras.Model:
    """The plain network of a single column, which shares the model's weights: an answer at any time.

    Args:
        model: a FractalNet of `create_model`.
        number: of the column, from 1, the shallowest, to C, the deepest.

    Raises:
        RecipeError: the model has no such column.
    """
    part = re.compile(rf"block\d+(_column{number}_\w+)?|global_pool|predictions")
    layers = [layer for layer in model.layers if part.fullmatch(layer.name)]
    if not any("_column" in layer.name for layer in layers):
        columns = len({match[0] for layer in model.layers if (match := re.match(r"block1_column\d+", layer.name))})
        raise RecipeError(f"{model.name} has no column {number!r}: expected one from 1 to {columns}")
    x = model.inputs[0]
    for layer in layers:
        x = layer(x)
    return keras.Model(model.inputs[0], x, name=f"{model.name}_column{number}")


def _conv(x: keras.KerasTensor, channels: int, *, name: str, number: int) -> keras.KerasTensor:
    x = Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv{number}")(x)
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn{number}")(x)
    return ReLU(name=f"{name}_relu{number}")(x)

"""The two heads of Faster R-CNN: what may be an object, and which object it is."""

from __future__ import annotations

from collections.abc import Sequence

import keras


def score_anchors(
    levels: Sequence[keras.KerasTensor], anchors: int, *, first_level: int = 2
) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """The region proposal network on every level: how much each anchor looks like an object, and how to move it.

    Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, figure 3: a 3x3 convolution, ReLU and two 1x1 convolutions, the
    same weights on all levels (Lin et al., CVPR 2017, section 4.1).

    Args:
        levels: [B, H, W, C], all of the same C; fine to coarse.
        anchors: at each place.
        first_level: the logarithm of the first level's stride, by which levels are named.

    Returns:
        For each level its scores before any activation [B, H, W, anchors], the layers `rpn_scores2`, ..., and its
        deltas [B, H, W, 4 * anchors], the layers `rpn_deltas2`, ...; float32 under every dtype policy.
    """
    channels = levels[0].shape[-1]
    conv = keras.layers.Conv2D(
        channels, 3, padding="same", activation="relu", kernel_initializer=_small(), name="rpn_conv"
    )
    scores = keras.layers.Conv2D(anchors, 1, kernel_initializer=_small(), dtype="float32", name="rpn_scores")
    deltas = keras.layers.Conv2D(4 * anchors, 1, kernel_initializer=_small(), dtype="float32", name="rpn_deltas")
    all_scores, all_deltas = [], []
    for number, level in enumerate(levels, start=first_level):
        x = conv(level)
        # layers that only give each level's output its name
        all_scores.append(keras.layers.Identity(dtype="float32", name=f"rpn_scores{number}")(scores(x)))
        all_deltas.append(keras.layers.Identity(dtype="float32", name=f"rpn_deltas{number}")(deltas(x)))
    return all_scores, all_deltas


def classify_regions(
    regions: keras.KerasTensor, num_classes: int, units: int = 1024
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Two dense layers on every region, then its class and, for each class, how to move its box.

    Girshick: "Fast R-CNN", ICCV 2015, figure 1, with the layer sizes of Lin et al., CVPR 2017, section 4.2.

    Args:
        regions: [B, N, H, W, C] with known H, W and C.
        num_classes: without the background, which comes last.
        units: of the two dense layers.

    Returns:
        Scores before the softmax [B, N, num_classes + 1], the layer `box_scores`, and deltas [B, N, 4 * (num_classes +
        1)], the layer `box_deltas`; float32 under every dtype policy.
    """
    *_, height, width, channels = regions.shape
    x = keras.layers.Reshape((-1, height * width * channels), name="box_flat")(regions)
    x = keras.layers.Dense(units, "relu", kernel_initializer="he_uniform", name="box_fc6")(x)
    x = keras.layers.Dense(units, "relu", kernel_initializer="he_uniform", name="box_fc7")(x)
    return score_boxes(x, num_classes)


def score_boxes(x: keras.KerasTensor, num_classes: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The two sibling layers at the end: Girshick: "Fast R-CNN", ICCV 2015, section 2.1.

    Args:
        x: what is known of each region, [B, N, C].
        num_classes: without the background, which comes last.

    Returns:
        Scores before the softmax [B, N, num_classes + 1], the layer `box_scores`, and deltas [B, N, 4 * (num_classes +
        1)], the layer `box_deltas`; float32 under every dtype policy.
    """
    scores = keras.layers.Dense(num_classes + 1, kernel_initializer=_small(), dtype="float32", name="box_scores")(x)
    deltas = keras.layers.Dense(
        4 * (num_classes + 1), kernel_initializer=_small(0.001), dtype="float32", name="box_deltas"
    )(x)
    return scores, deltas


def _small(spread: float = 0.01) -> keras.Initializer:
    """So small that at first every anchor scores alike and no box moves: Fast R-CNN, section 4.1."""
    return keras.initializers.RandomNormal(stddev=spread)

"""Feature pyramid: maps of all sizes that all know what the deepest one knows."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from kapps.layers.repeat_like import RepeatLike


def feature_pyramid(
    features: Sequence[keras.KerasTensor], channels: int = 256, *, first_level: int = 2
) -> list[keras.KerasTensor]:
    """Lin, Dollar, Girshick, He, Hariharan, Belongie: "Feature Pyramid Networks", CVPR 2017, figure 3 and section 3.

    Each feature goes through a 1x1 convolution to `channels` maps; the coarser level, doubled by repeating its pixels,
    is added; a 3x3 convolution smooths the sum. One more level, every other pixel of the coarsest (section 4.1,
    footnote 2), is there for the largest anchors.

    Args:
        features: [B, H, W, C] of a backbone, fine to coarse, each about half as large as the one before.
        channels: of every level.
        first_level: the logarithm of the first feature's stride, by which levels are named: 2 for a stride of 4.

    Returns:
        One level more than features, fine to coarse: the layers `fpn2`, `fpn3`, ... [B, H, W, channels].
    """
    levels: list[keras.KerasTensor] = []
    above = None
    for level, feature in reversed(list(enumerate(features, start=first_level))):
        x = keras.layers.Conv2D(channels, 1, kernel_initializer="he_uniform", name=f"fpn_inner{level}")(feature)
        if above is not None:
            doubled = RepeatLike(name=f"fpn_doubled{level}")(above, x)
            x = keras.layers.Add(name=f"fpn_sum{level}")([x, doubled])
        above = x
        levels.append(
            keras.layers.Conv2D(channels, 3, padding="same", kernel_initializer="he_uniform", name=f"fpn{level}")(x)
        )
    levels.reverse()
    coarsest = keras.layers.MaxPooling2D(1, 2, name=f"fpn{len(features) + first_level}")(levels[-1])
    return [*levels, coarsest]

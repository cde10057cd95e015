"""The space-time deep belief network: layers that pool over space and layers that pool over time, in turn.

Idea: a convolutional DBN for video. A spatial layer looks at each frame by itself; a temporal layer looks at each
place by itself, along time. In turn they make features that keep what is there and forget where and when.

    layer     what                                                          codes (12 frames of 32x32, the variant here)
    layer1    space: 16 kernels of 9x9, blocks of 3x3, on every frame       [12, 8, 8, 16]
    layer2    time: 24 kernels of 3 frames, blocks of 2, at every place     [5, 8, 8, 24]
    layer3    space: 24 kernels of 5x5, blocks of 2x2                       [5, 2, 2, 24]
    layer4    time: 24 kernels of 2 frames, blocks of 2                     [2, 2, 2, 24]

Each layer is a convolutional RBM: a spatial one shares its weights over the frames, a temporal one over the places. All
maps of the layer below are the channels of either. Learning is greedy, from below.

Paper: Chen, Ting, Marlin, de Freitas: "Deep learning of invariant spatio-temporal features from video", NIPS workshop
on deep learning and unsupervised feature learning, 2010.

Deviations: sizes are those that fit moving digits on 32x32 pixels; the paper's are for the films of the KTH actions.
Frames are not whitened: digits are sparse already, and their pixels suit Bernoulli units.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kapps.architectures.unsupervised.convolutional_dbn import ConvolutionalDBN, ConvolutionalDBNConfig
from kapps.architectures.unsupervised.convolutional_rbm import ConvolutionalRBMConfig
from kapps.errors import RecipeError


@dataclass(frozen=True)
class SpaceTimeDBNConfig(ConvolutionalDBNConfig):
    """As `ConvolutionalDBNConfig`; the first, third, ... layers are spatial, those between are temporal.

    The kernel of a temporal layer and its blocks are so many frames long.
    """

    filters: tuple[int, ...] = (16, 24, 24, 24)
    kernels: tuple[int, ...] = (9, 3, 5, 2)
    pools: tuple[int, ...] = (3, 2, 2, 2)
    learning_rates: tuple[float, ...] = (0.1, 0.1, 0.1, 0.1)
    sparsity_targets: tuple[float, ...] = (0.02, 0.05, 0.03, 0.05)


VARIANTS = {"space_time_dbn": SpaceTimeDBNConfig()}


@keras.saving.register_keras_serializable("kapps")
class SpaceTimeDBN(ConvolutionalDBN):
    """A greedy stack of spatial and temporal RBMs. Codes are float32 [B, times, rows, columns, filters].

    Args:
        data_shape: (frames, height, width, channels).
        config: see `SpaceTimeDBNConfig`.

    Raises:
        RecipeError: another number of dimensions, settings of different lengths, or a layer that `ConvolutionalRBM`
            refuses.
    """

    CONFIG = SpaceTimeDBNConfig

    def __init__(self, data_shape: tuple[int, ...], config: SpaceTimeDBNConfig | None = None, **kwargs: Any):
        if len(tuple(data_shape)) != 4:
            raise RecipeError(
                f"{type(self).__name__}: expected data [frames, height, width, channels], got {list(data_shape)}"
            )
        super().__init__(data_shape, config, **kwargs)

    def _row_shape(self, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        frames, height, width, channels = shape
        return (height, width, channels) if _is_spatial(index) else (frames, 1, channels)

    def _whole_shape(self, index: int, shape: tuple[int, ...], code_shape: tuple[int, ...]) -> tuple[int, ...]:
        frames, height, width, _ = shape
        return (frames, *code_shape) if _is_spatial(index) else (code_shape[0], height, width, code_shape[2])

    def _rows(self, index: int, examples: tf.Tensor) -> tf.Tensor:
        """Spatial: the frames [B * T, H, W, C]. Temporal: what each place sees, [B * H * W, T, 1, C]."""
        _, frames, height, width, channels = examples.shape
        if _is_spatial(index):
            return tf.reshape(examples, (-1, height, width, channels))
        return tf.reshape(tf.transpose(examples, (0, 2, 3, 1, 4)), (-1, frames, 1, channels))

    def _whole(self, index: int, codes: tf.Tensor) -> tf.Tensor:
        frames, height, width, channels = self.code_shapes[index]
        if _is_spatial(index):
            return tf.reshape(codes, (-1, frames, height, width, channels))
        return tf.transpose(tf.reshape(codes, (-1, height, width, frames, channels)), (0, 3, 1, 2, 4))

    def _down(self, index: int, codes: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        rows = self.rbms[index].decode(self._rows(index, codes))
        frames, height, width, channels = shape
        if _is_spatial(index):
            return tf.reshape(rows, (-1, frames, height, width, channels))
        return tf.transpose(tf.reshape(rows, (-1, height, width, frames, channels)), (0, 3, 1, 2, 4))

    def _rbm_config(self, index: int) -> ConvolutionalRBMConfig:
        config = super()._rbm_config(index)
        if _is_spatial(index):
            return config
        return dataclasses.replace(config, kernel=(config.kernel[0], 1), pool=(config.pool[0], 1))


def _is_spatial(index: int) -> bool:
    return index % 2 == 0


LEARNER = SpaceTimeDBN

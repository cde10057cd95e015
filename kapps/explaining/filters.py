"""The first layer's kernels as a picture: what the network looks for in the pixels themselves.

A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
figure 3. Trained on photographs, they are edges of all directions and blobs of colour; noise among them says that a
network was trained too briefly, or does not need so many.

Deviations: none. Deeper kernels do not look at pixels and have no such picture: see `activation_maximisation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kapps.errors import DataError
from kapps.explaining.inner import keras_model, layers_of

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model


@dataclass(frozen=True, eq=False)
class Filters:
    """The kernels of one layer.

    Attributes:
        layer: its name; within a model inside the model `"outer/inner"`.
        kernels: float32 [n, kh, kw, c], one a filter.
        picture: uint8 RGB [H, W, 3], one tile a filter in rows; each is stretched to its own range, around grey for 0.
    """

    layer: str
    kernels: np.ndarray
    picture: np.ndarray


def first_layer_filters(model: Model, *, enlarge: int = 8, bgr: bool = False) -> Filters:
    """The kernels of the first convolution.

    Args:
        model: a `Predictor` or a Keras model.
        enlarge: pixels of the picture for each weight.
        bgr: the network takes blue first, as those that come from Caffe do.

    Returns:
        Kernels of three channels in colours; of any other number as a grey tile a channel.

    Raises:
        DataError: the model has no convolution.
        WeightsError: an exported model whose `model.keras` is missing or damaged.
    """
    found = (
        (name, layer.kernel.numpy())
        for name, layer in layers_of(keras_model(model))
        if len(getattr(getattr(layer, "kernel", None), "shape", ())) == 4  # Keras' convolutions and kapps' own
    )
    name, weights = next(found, ("", None))
    if weights is None:
        raise DataError("the model has no convolution, so no filters to show: take activation_maximisation")
    kernels = np.moveaxis(weights, -1, 0).astype(np.float32)
    return Filters(name, kernels, tiles(kernels[..., ::-1] if bgr else kernels, enlarge))


def tiles(kernels: np.ndarray, enlarge: int = 8) -> np.ndarray:
    """Kernels [n, kh, kw, c] side by side, uint8 RGB [H, W, 3]."""
    if kernels.shape[-1] != 3:
        kernels = np.repeat(np.concatenate(np.moveaxis(kernels, -1, 1))[..., np.newaxis], 3, axis=-1)
    strongest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    pixels = np.round(127.5 + 127.5 * kernels / np.where(strongest, strongest, 1)).astype(np.uint8)
    pixels = pixels.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    count, height, width, _ = pixels.shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    gap = 2
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for place, tile in enumerate(pixels):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet

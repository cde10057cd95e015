"""Two thin layers in place of a thick one: what makes Fast R-CNN's dense layers fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kapps.errors import RecipeError, UnknownNameError


def factorise(kernel: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The product of two matrices that is nearest to a matrix, by its `rank` largest singular values.

    Girshick: "Fast R-CNN", ICCV 2015, section 3.1: W is about U S V^T. As the smaller of W W^T and W^T W has the same
    singular vectors, W is projected on the first `rank` of them; at full rank that is W again.

    Args:
        kernel: [inputs, outputs].
        rank: 1 to the smaller side.

    Returns:
        float32 [inputs, rank] and float32 [rank, outputs].
    """
    kernel = np.asarray(kernel, np.float64)
    inputs, outputs = kernel.shape
    gram = kernel @ kernel.T if inputs < outputs else kernel.T @ kernel
    vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :rank]  # of the largest eigenvalues, which come last
    if inputs < outputs:
        return vectors.astype(np.float32), (vectors.T @ kernel).astype(np.float32)
    return (kernel @ vectors).astype(np.float32), vectors.T.astype(np.float32)


def compress(network: keras.Model, ranks: Mapping[str, int]) -> keras.Model:
    """A network with some dense layers replaced by two each: t (inputs + outputs) weights in place of their product.

    Girshick: "Fast R-CNN", ICCV 2015, section 3.1: the first layer has no bias and no activation, the second those of
    the layer that it replaces.

    Args:
        network: a functional model; it stays as it is.
        ranks: name of a `Dense` layer -> t, e.g. `{"fc6": 1024, "fc7": 256}` (section 4.4, VGG-16).

    Returns:
        A network with the same inputs and outputs. The new layers are `fc6_svd` and `fc6`; of all others it has copies.

    Raises:
        UnknownNameError: the network has no dense layer of this name.
        RecipeError: a rank that is below 1 or above the layer's smaller side.
    """
    dense = {layer.name: layer for layer in network.layers if isinstance(layer, keras.layers.Dense)}
    pairs: dict[str, tuple[keras.layers.Dense, keras.layers.Dense]] = {}
    for name, rank in ranks.items():
        if name not in dense:
            raise UnknownNameError("dense layer of the network", name, dense)
        layer = dense[name]
        most = min(layer.kernel.shape)
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= most:
            raise RecipeError(f"compress: expected a rank of 1 to {most} for {name}, got {rank!r}")
        pairs[name] = _pair(layer, rank)

    def call(layer: Any, *arguments: Any, **settings: Any) -> Any:
        if layer.name not in pairs or not isinstance(layer, keras.layers.Dense):
            return layer(*arguments, **settings)
        first, second = pairs[layer.name]
        return second(first(*arguments, **settings))

    # Copies, not the layers themselves: those would know the old network as the place that they belong to.
    compressed = keras.models.clone_model(network, call_function=call)
    for layer in network.layers:
        if layer.weights and layer.name not in pairs:
            compressed.get_layer(layer.name).set_weights(layer.get_weights())
    return compressed


def _pair(layer: keras.layers.Dense, rank: int) -> tuple[keras.layers.Dense, keras.layers.Dense]:
    inputs, outputs = layer.kernel.shape
    first = keras.layers.Dense(rank, use_bias=False, dtype=layer.dtype_policy, name=f"{layer.name}_svd")
    second = keras.layers.Dense(
        outputs, layer.activation, use_bias=layer.use_bias, dtype=layer.dtype_policy, name=layer.name
    )
    first.build((None, inputs))
    second.build((None, rank))
    kernels = factorise(keras.ops.convert_to_numpy(layer.kernel), rank)
    first.kernel.assign(kernels[0])
    second.kernel.assign(kernels[1])
    if layer.use_bias:
        second.bias.assign(layer.bias)
    return first, second

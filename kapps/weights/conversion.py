"""Weights of another publisher assigned to a model's layers: names through a key map, layouts by the layer's type.

Everything is checked before the first weight is assigned, so weights that do not fit change nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import keras
import numpy as np

from kapps.errors import WeightsError
from kapps.weights.key_map import KeyMap

_log = logging.getLogger("kapps")

Layout = Literal["torch", "keras"]
Tensors = Mapping[str, np.ndarray]

# What Keras calls the variables of its layers, in the order of `layer.weights`, and torch.
_TORCH_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "alpha": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class _MisfitError(Exception):
    """One layer's weights are missing or of another shape."""


def assign_tensors(
    model: keras.Model,
    tensors: Tensors,
    key_map: KeyMap,
    *,
    layout: Layout,
    source: str,
    optional: Collection[str] = (),
    partial: bool = False,
) -> list[str]:
    """Assign a publisher's tensors to a model.

    Args:
        model: takes the weights.
        tensors: the publisher's name -> array. Torch: `conv1.weight` [O, I, H, W]. Keras: `conv1/kernel` [H, W, I, O].
        key_map: from our layer names to the publisher's.
        layout: of the arrays.
        source: a path or URL, for messages.
        optional: layers that may stay as initialised, e.g. a head with another number of classes.
        partial: whether the model is a part of the publisher's (a backbone), so that tensors are left over.

    Returns:
        The layers that stayed as initialised, also said in a log line.

    Raises:
        WeightsError: a tensor is missing, has another shape, or is one that no layer takes.
    """
    values: dict[str, list[np.ndarray]] = {}
    fresh: dict[str, str] = {}
    used: set[str] = set()
    for layer in (layer for layer in model.layers if layer.weights):
        names, reason = _names(layer, key_map, layout), ""
        try:
            values[layer.name] = _layer_values(layer, names, tensors, key_map, layout)
        except _MisfitError as misfit:
            reason = f"layer {layer.name!r} {misfit}"
            if layer.name not in optional:
                raise WeightsError(f"{source}: {reason}; use weights of {model.name}") from None
            fresh[layer.name] = reason
        used.update(names)
        if key_map.folded_into(layer.name):
            used.add(_bias_name(key_map, layer.name, layout))

    left_over = [name for name in tensors if name not in used and not key_map.ignores(name)]
    if left_over and not partial:
        more = f" and {len(left_over) - 3} more" if len(left_over) > 3 else ""
        raise WeightsError(
            f"{source}: {model.name} has no place for {', '.join(left_over[:3])}{more}; use weights of {model.name}"
        )
    if fresh:  # a head is loaded as a whole or not at all
        reason = next(iter(fresh.values()))
        fresh = {layer.name: reason for layer in model.layers if layer.weights and layer.name in optional}
        _log.warning("%s: %s starts fresh (%s); all other layers are loaded", source, ", ".join(fresh), reason)
    _fold(model, values, tensors, key_map, layout)
    for layer in model.layers:
        if layer.name in values and layer.name not in fresh:
            for variable, value in zip(layer.weights, values[layer.name], strict=True):
                variable.assign(value)
    return list(fresh)


def expected_tensors(model: keras.Model, key_map: KeyMap, layout: Layout) -> dict[str, tuple[int, ...]]:
    """The publisher's names of all tensors that the model takes, with the shapes they have in the model."""
    return {
        name: tuple(variable.shape)
        for layer in model.layers
        if layer.weights
        for name, variable in zip(_names(layer, key_map, layout), layer.weights, strict=True)
    }


def _names(layer: keras.Layer, key_map: KeyMap, layout: Layout) -> list[str]:
    """The publisher's name for each variable of a layer, in the order of `layer.weights`."""
    prefix = key_map.source_name(layer.name)
    if prefix is None:
        raise WeightsError(f"layer {layer.name!r} has no counterpart in these weights: the key map has no rule for it")
    if layout == "keras":
        return [f"{prefix}/{variable.name}" for variable in layer.weights]
    depthwise, _, pointwise = prefix.partition("|")
    names = []
    for variable in layer.weights:
        if variable.name in ("depthwise_kernel", "pointwise_kernel"):  # of a separable convolution
            names.append(f"{depthwise if variable.name[0] == 'd' else pointwise}.weight")
        else:
            names.append(f"{pointwise or depthwise}.{_TORCH_NAMES.get(variable.name, variable.name)}")
    return names


def _layer_values(
    layer: keras.Layer, names: Sequence[str], tensors: Tensors, key_map: KeyMap, layout: Layout
) -> list[np.ndarray]:
    values = []
    for name, variable in zip(names, layer.weights, strict=True):
        if name not in tensors:
            raise _MisfitError(f"expected {name} for {tuple(variable.shape)}, but there is no such tensor")
        tensor = np.asarray(tensors[name])
        if tensor.dtype.kind not in "fiu":
            raise _MisfitError(f"expected numbers in {name}, found {tensor.dtype}")
        value = tensor if layout == "keras" else _from_torch(layer, variable, tensor, key_map.flattened.get(layer.name))
        if value is None or value.shape != tuple(variable.shape):
            raise _MisfitError(f"expected {name} to make {tuple(variable.shape)}, found {tensor.shape}")
        values.append(value)
    return values


def _from_torch(
    layer: keras.Layer, variable: keras.Variable, tensor: np.ndarray, flattened: tuple[int, int, int] | None
) -> np.ndarray | None:
    """A torch tensor in Keras' layout; None where its shape cannot be meant."""
    if variable.name == "alpha":  # PReLU: one slope a channel, or one for all
        return np.broadcast_to(tensor.reshape(-1), variable.shape) if tensor.ndim == 1 else None
    if not variable.name.endswith("kernel"):
        return tensor
    if isinstance(layer, keras.layers.Dense):
        tensor = tensor.reshape(tensor.shape[0], -1)  # a 1x1 convolution is a dense layer, too
        if flattened is not None:
            height, width, channels = flattened
            if tensor.shape[1] != height * width * channels:
                return None
            tensor = tensor.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(tensor.shape)
        return tensor.T
    if tensor.ndim == 2 and math.prod(tensor.shape) == math.prod(variable.shape):
        height, width, channels, _ = variable.shape  # a dense layer, written as a convolution over its whole input
        tensor = tensor.reshape(-1, channels, height, width)
    if tensor.ndim != 4:
        return None
    if isinstance(layer, keras.layers.DepthwiseConv2D) or variable.name == "depthwise_kernel":
        height, width, channels, multiplier = variable.shape
        if tensor.shape != (channels * multiplier, 1, height, width):
            return None
        return tensor.reshape(channels, multiplier, height, width).transpose(2, 3, 0, 1)
    # [out, in, H, W] -> [H, W, in, out]; a transposed convolution is [in, out, H, W] and becomes [H, W, out, in]
    return tensor.transpose(2, 3, 1, 0)


def _fold(model: keras.Model, values: dict[str, list[np.ndarray]], tensors: Tensors, key_map: KeyMap, layout: Layout):
    """Move the publisher's convolution biases and epsilon into the statistics of our batch normalisations."""
    layers = {layer.name: layer for layer in model.layers}

    def shift(name: str, statistic: str, by: np.ndarray | float) -> None:
        index = [variable.name for variable in layers[name].weights].index(statistic)
        values[name][index] = values[name][index] + by

    for name in values:
        norm = key_map.folded_into(name)
        if norm is not None and (bias := tensors.get(_bias_name(key_map, name, layout))) is not None:
            shift(norm, "moving_mean", -np.asarray(bias))
        if key_map.epsilon is not None and isinstance(layers[name], keras.layers.BatchNormalization):
            shift(name, "moving_variance", key_map.epsilon - layers[name].epsilon)


def _bias_name(key_map: KeyMap, layer: str, layout: Layout) -> str:
    return f"{key_map.source_name(layer)}{'/' if layout == 'keras' else '.'}bias"

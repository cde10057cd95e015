"""The same function, faster: batch normalisation folded into the convolutions, and weights frozen into constants.

Both are exact but for rounding: at inference a batch normalisation is one scale and one shift a channel, which the
convolution before it can carry in its own kernel and bias (Jacob et al. 2018, section 3.2, eq. 14). With constant
weights the runtime can put them once into the layout that its kernels want, and join convolution, bias and activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

# What computes a weighted sum a channel and nothing behind it, so that a scale and a shift can move into it.
_FOLDABLE = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
)


def fold_batch_normalisation(model: keras.Model) -> tuple[keras.Model, int]:
    """A copy of a functional model without the batch normalisations that stand right behind a convolution.

    Only for inference. A folded normalisation stays as a layer that does nothing, so that all names remain.

    Args:
        model: functional, e.g. of `kapps.create_model`; it is not changed.

    Returns:
        The copy and the number of folded layers; the model itself and 0 if there is nothing to fold.
    """
    pairs = _pairs(model)
    if not pairs:
        return model, 0
    folded = {norm.name for norm in pairs.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        if layer.name in folded:
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if layer.name in pairs:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *arguments, **options):
        return layer(*arguments) if layer.name in folded else layer(*arguments, **options)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.name in pairs:
            copy.get_layer(layer.name).set_weights(_folded_weights(layer, pairs[layer.name]))
        elif layer.name not in folded and layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy, len(pairs)


def _pairs(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Convolution -> the batch normalisation that alone takes its output."""
    takers: dict[int, int] = {}
    for layer in model.layers:
        for node in layer._inbound_nodes:
            for tensor in node.input_tensors:
                takers[id(tensor)] = takers.get(id(tensor), 0) + 1
    for tensor in model.outputs:
        takers[id(tensor)] = takers.get(id(tensor), 0) + 1
    inside = set(map(id, model.layers))
    pairs = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.BatchNormalization) or len(layer._inbound_nodes) != 1:
            continue
        source = layer.input._keras_history.operation
        if (
            isinstance(source, _FOLDABLE)
            and id(source) in inside
            and source.activation is keras.activations.linear
            and len(source._inbound_nodes) == 1
            and takers[id(source.output)] == 1
            and layer.axis in (-1, len(source.output.shape) - 1)
        ):
            pairs[source.name] = layer
    return pairs


def _folded_weights(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel(s) and bias that give what `norm(layer(x))` gives. In float64, so that folding adds no rounding."""
    *kernels, bias = layer.get_weights() if layer.use_bias else [*layer.get_weights(), np.float64(0.0)]
    mean, variance = np.asarray(norm.moving_mean, np.float64), np.asarray(norm.moving_variance, np.float64)
    scale = (np.asarray(norm.gamma, np.float64) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    shift = (np.asarray(norm.beta, np.float64) if norm.center else 0.0) + (bias - mean) * scale
    if isinstance(layer, keras.layers.Conv2DTranspose):  # [H, W, out, in]
        kernels[-1] = kernels[-1] * scale[:, np.newaxis]
    elif isinstance(layer, keras.layers.DepthwiseConv2D):  # [H, W, in, multiplier]: outputs in this order
        kernels[-1] = kernels[-1] * scale.reshape(kernels[-1].shape[2:])
    else:  # [..., out]; of a separable convolution the pointwise kernel is the last
        kernels[-1] = kernels[-1] * scale
    return [*(kernel.astype("float32") for kernel in kernels), shift.astype("float32")]


# Numbers from which on a matrix stays a variable: 64 MB in float32.
_LARGE = 2**24


def better_kept(model: keras.Model) -> list[keras.Variable]:
    """The weights that are no faster as constants: large matrices, as of VGG's first full connections.

    TensorFlow lays out a constant matrix once, for the size of the first batch, and anew at every call with another: a
    variable is taken as it lies. Besides, a graph of constants is held in memory many times over while it is written.
    """
    return [
        variable for variable in model.variables if len(variable.shape) == 2 and math.prod(variable.shape) >= _LARGE
    ]


def freeze(function: Any) -> Callable[..., Any]:
    """A concrete function of tensors whose variables have become constants; it gives what the original gives.

    Gradients that a layer defines itself (`kapps.layers.dense_crf`) refer to tensors of the original, which are not
    there any more. Without them TensorFlow derives the same ones from the operations; this takes more memory only.
    """
    for operation in function.graph.get_operations():
        if "_gradient_op_type" in operation.node_def.attr:
            operation._clear_attr("_gradient_op_type")
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    structure = function.structured_outputs
    return lambda *tensors: tf.nest.pack_sequence_as(structure, frozen(*tensors))


def distance(first: tf.Tensor, second: tf.Tensor) -> float:
    """Largest absolute difference in standard deviations of the second (of its largest value, if it is constant)."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    scale = second.std() or np.abs(second).max() or 1.0
    return float(np.abs(first - second).max() / scale)

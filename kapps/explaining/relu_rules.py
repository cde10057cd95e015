"""Backpropagation to the image with another rule for the ReLUs; the forward pass stays as it is.

A graph may be told to take another gradient for a kind of operation (`gradient_override_map`), so the rule reaches
every ReLU of a model, however deep in models within models it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tensorflow as tf

from kapps.errors import DataError
from kapps.explaining.attribution import Attribution, start
from kapps.explaining.inner import cached, explained, keras_model

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

Rule = Literal["guided", "deconvnet"]

# Each ReLU and its relatives, with its own gradient as TensorFlow computes it.
_GRADIENTS: dict[str, Callable[[Any, tf.Tensor], tf.Tensor]] = {
    "Relu": lambda op, above: tf.raw_ops.ReluGrad(gradients=above, features=op.outputs[0]),
    "Relu6": lambda op, above: tf.raw_ops.Relu6Grad(gradients=above, features=op.outputs[0]),
    "LeakyRelu": lambda op, above: tf.raw_ops.LeakyReluGrad(
        gradients=above, features=op.inputs[0], alpha=op.get_attr("alpha")
    ),
    "Elu": lambda op, above: tf.raw_ops.EluGrad(gradients=above, outputs=op.outputs[0]),
    "Selu": lambda op, above: tf.raw_ops.SeluGrad(gradients=above, outputs=op.outputs[0]),
}


def _register(kind: str, own: Callable[[Any, tf.Tensor], tf.Tensor]) -> None:
    tf.RegisterGradient(f"kapps_guided_{kind}")(lambda op, above: own(op, tf.nn.relu(above)))
    tf.RegisterGradient(f"kapps_deconvnet_{kind}")(lambda op, above: tf.nn.relu(above))


for _kind, _own in _GRADIENTS.items():
    _register(_kind, _own)


def attribution_by_rule(
    model: Model, image: np.ndarray, target: int | None, of: str | None, rule: Rule, method: str
) -> Attribution:
    """What the two methods share: the largest absolute value over the channels, for each pixel, as saliency has it."""
    asked = start(model, image, target, "score")
    network, shape = keras_model(model), (1, *asked.image.shape)

    def traced() -> tuple[Callable[..., tf.Tensor], str, int]:
        facts: list[Any] = []

        @tf.function(autograph=False)
        def function(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            graph = tf.compat.v1.get_default_graph()
            with graph.gradient_override_map({kind: f"kapps_{rule}_{kind}" for kind in _GRADIENTS}):
                scores = network(image, training=False)
            facts[:] = [None, sum(operation.type in _GRADIENTS for operation in graph.get_operations())]
            scores, facts[0] = explained(scores, of)
            (gradient,) = tf.gradients(tf.gather(scores, target, axis=1), image)
            if gradient is None:
                raise DataError("the model's scores do not depend on the image by differentiable steps: use occlusion")
            return gradient

        concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.int32))
        return concrete, *facts

    function, taken, relus = cached(network, (rule, shape, of), traced)
    if not relus:
        raise DataError(f"the model has no ReLU, without which {method} is the plain gradient: take saliency")
    gradient = function(tf.constant(asked.image[np.newaxis]), tf.constant(asked.target)).numpy()[0]
    return Attribution(
        map=np.abs(gradient).max(axis=-1),
        method=method,
        target=asked.target,
        score=asked.score,
        signed=False,
        details={"explained": taken, "relus": relus, "gradient": gradient},
    )

"""What stands before the softmax or sigmoid at the end of a model, found in its graph."""

from __future__ import annotations

import tensorflow as tf


class NoActivation(Exception):
    """The scores do not come out of a softmax or a sigmoid."""


def before_activation(scores: tf.Tensor) -> tuple[tf.Tensor, str]:
    """What the softmax or sigmoid took that gave these scores, wherever in the model it stands.

    Args:
        scores: a tensor of the graph that is being traced, [..., N].

    Returns:
        float32 [..., N], and `"softmax"` or `"sigmoid"`.

    Raises:
        NoActivation: the scores come from neither.
    """
    operation = scores.op
    while operation.type in ("Identity", "Cast"):
        operation = operation.inputs[0].op
    if operation.type not in ("Softmax", "Sigmoid"):
        raise NoActivation
    return tf.cast(operation.inputs[0], tf.float32), operation.type.lower()

"""How many floating-point operations one answer of a model costs."""

from __future__ import annotations

import logging

import keras
import tensorflow as tf
from tensorflow.compat.v1 import profiler

CONVENTION = (
    "float operations for one input by TensorFlow's profiler; a multiply-add counts as two; "
    "convolutions, matrix products, bias, pooling, normalisation and softmax are counted, other activations are not"
)


def count_flops(model: keras.Model) -> int:
    """Float operations of one forward pass with one input (see `CONVENTION`).

    The profiler adds up the operations of the graph once: what is inside a loop (a recurrent layer) counts once too.

    Args:
        model: one input of known shape but for the batch.
    """
    (image,) = model.inputs
    graph = (
        tf.function(lambda one: model(one, training=False))
        .get_concrete_function(tf.TensorSpec((1, *image.shape[1:]), image.dtype))
        .graph
    )
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # the profiler warns about a deprecated helper of its own
    try:
        return profiler.profile(graph, options=options).total_float_ops
    finally:
        logger.setLevel(level)

"""How many floating-point operations one answer of a model costs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.compat.v1 import profiler

from kapps.create import create_model

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
    return count_flops_of_call(
        lambda one: model(one, training=False), tf.TensorSpec((1, *image.shape[1:]), image.dtype)
    )


def count_flops_of_call(function: Callable[..., object], *inputs: tf.TensorSpec) -> int:
    """Float operations of a function of tensors; those whose size is known only when it runs are not counted."""
    graph = tf.function(function).get_concrete_function(*inputs).graph
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # the profiler warns about a deprecated helper of its own
    try:
        return profiler.profile(graph, options=options).total_float_ops
    finally:
        logger.setLevel(level)


def count_flops_of(name: str) -> int:
    """`count_flops` of an architecture of the catalogue with its default input and head, without making its weights.

    Of a network with several hundred million weights this takes a second and no memory.
    """
    with without_weights():
        model = create_model(name)
    for variable in model.variables:
        if variable._value is None:  # a weight is then what its initialiser gives, which must not be counted
            variable._initializer = lambda shape, dtype: tf.zeros(shape, dtype)
    return count_flops(model)


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Models made inside have layers, names and shapes, but no numbers: VGG-19 takes a tenth of a second, no memory."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras keeps a list of variables to be filled later and would fill these at the end of another such scope.
        global_state.set_global_attribute("uninitialized_variables", [])

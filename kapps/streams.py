"""What every stream of `tf.data` in kapps is told."""

from __future__ import annotations

import tensorflow as tf


def untuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """The same stream without the thread that tunes its parallelism and buffers as it runs.

    The tuner sleeps, the longer the more it has run, and who ends a stream may have to wait until it wakes: up to as
    long again as the stream took. What runs in parallel runs on all processors without it, too.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)

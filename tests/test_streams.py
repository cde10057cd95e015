from __future__ import annotations

import tensorflow as tf

from kapps.streams import untuned


def test_a_stream_stays_itself_and_is_not_tuned():
    numbers = tf.data.Dataset.range(10).map(lambda number: number * 2, tf.data.AUTOTUNE).batch(4).prefetch(2)
    stream = untuned(numbers)
    assert stream.options().autotune.enabled is False
    assert [batch.tolist() for batch in stream.as_numpy_iterator()] == [
        batch.tolist() for batch in numbers.as_numpy_iterator()
    ]
    assert stream.element_spec == numbers.element_spec
    assert stream.cardinality() == 3


def test_what_is_done_afterwards_is_not_tuned_either():
    assert untuned(tf.data.Dataset.range(10)).batch(2).prefetch(1).options().autotune.enabled is False

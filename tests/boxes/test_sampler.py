from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.boxes.sampler import sample
from kapps.errors import DataError


def drawn(labels, count, fraction, seed=(1, 2)):
    """The labels of what is drawn from one image, and the numbers."""
    numbers, valid = sample(np.int32([labels]), count, fraction, seed)
    numbers = numbers.numpy()[0][valid.numpy()[0]]
    assert len(set(numbers)) == len(numbers)
    return np.take(labels, numbers).tolist(), numbers.tolist()


def test_positives_first_and_no_more_than_their_share():
    labels = [1] * 20 + [0] * 50 + [-1] * 30
    found, _ = drawn(labels, 16, 0.25)
    assert found == [1] * 4 + [0] * 12


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 0, -1] + [0] * 20, [1] + [0] * 7),  # one positive: negatives fill up
        ([2] * 20 + [0] * 3, [2] * 4 + [0] * 3),  # three negatives: the rest stays empty
        ([0] * 3, [0] * 3),  # fewer candidates than places
        ([-1] * 30, []),
        ([], []),
    ],
)
def test_where_some_lack(labels, expected):
    found, _ = drawn(np.int32(labels), 8, 0.5)
    assert found == expected


def test_the_seed_decides():
    labels = np.int32([1] * 40 + [0] * 60)
    assert drawn(labels, 16, 0.5)[1] == drawn(labels, 16, 0.5)[1]
    assert drawn(labels, 16, 0.5)[1] != drawn(labels, 16, 0.5, seed=(1, 3))[1]
    # every candidate has its chance
    often = np.zeros(100)
    for number in range(200):
        often[drawn(labels, 16, 0.5, seed=(5, number))[1]] += 1
    assert often[:40].min() > 15  # 200 * 8 / 40 = 40 on average
    assert often[40:].min() > 8  # 200 * 8 / 60 = 27 on average


def test_each_image_of_a_batch_in_a_graph():
    labels = np.int32([[1] * 10 + [0] * 90, [0] * 100])
    function = tf.function(
        lambda labels, seed: sample(labels, 32, 0.5, seed),
        input_signature=[tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((2,), tf.int32)],
    )
    numbers, valid = function(labels, (0, 0))
    assert numbers.shape == (2, 32)
    assert valid.numpy().all()
    found = np.take_along_axis(labels, numbers.numpy(), axis=1)
    assert found.sum(axis=1).tolist() == [10, 0]


def test_wrong_arguments():
    with pytest.raises(DataError, match="expected a count of at least 1 and a positive_fraction of 0 to 1, found 8"):
        sample(np.int32([[1]]), 8, 1.5, (0, 0))

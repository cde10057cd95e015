"""Codes of bits: packed, unpacked, cut at the median; by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.retrieval.hashing import Hasher, hasher_at_median, pack, unpack


class Same:
    """A coder whose codes are the data."""

    def transform(self, x):
        return np.asarray(x)


def test_the_first_bit_is_the_highest_and_zeros_fill_up():
    codes = pack(np.array([[1, 0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1, 0]]))
    np.testing.assert_array_equal(codes, [[0b10000001, 0b10000000], [3, 0]])
    assert codes.dtype == np.uint8


def test_unpack_gives_back_what_was_packed():
    bits = np.random.default_rng(0).random((7, 13)) < 0.5
    np.testing.assert_array_equal(unpack(pack(bits), 13), bits)


def test_a_bit_is_1_above_its_threshold():
    numbers = np.array([[0.4, 0.6], [0.5, 0.9]], np.float32)
    np.testing.assert_array_equal(unpack(Hasher(Same()).codes(numbers), 2), [[0, 1], [0, 1]])
    hasher = Hasher(Same(), np.array([0.45, 0.8], np.float32))
    np.testing.assert_array_equal(unpack(hasher.codes(numbers), 2), [[0, 0], [1, 1]])


def test_at_the_median_every_bit_is_1_for_half():
    numbers = np.random.default_rng(0).normal(size=(100, 5)) * [1, 10, 100, 0.1, 1] + [0, 5, -50, 3, 2]
    hasher = hasher_at_median(Same(), numbers)
    np.testing.assert_array_equal(unpack(hasher.codes(numbers), 5).sum(axis=0), [50] * 5)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: pack(np.zeros(3)), r"expected bits \[N, bits\], got \[3\]"),
        (lambda: unpack(np.zeros((2, 1), np.uint8), 9), r"uint8 codes \[N, 2\] for 9 bits, got uint8 \[2, 1\]"),
        (lambda: unpack(np.zeros((2, 1)), 8), "got float64"),
        (lambda: Hasher(Same(), np.zeros(3)).codes(np.zeros((2, 4))), "codes of 3 numbers"),
        (lambda: Hasher(Same()).codes(np.zeros((2, 4, 4))), r"expected codes \[N, bits\], got \[2, 4, 4\]"),
    ],
)
def test_what_cannot_be_hashed_is_refused_in_one_line(call, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)

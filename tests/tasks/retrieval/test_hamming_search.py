"""Search by bits and by distance: by hand, and against the plain way."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.retrieval.hashing import pack, unpack
from kapps.tasks.retrieval.search import EuclideanSearch, HammingSearch

ITEMS = np.array([[0b0000], [0b1111], [0b0001], [0b0011], [0b1000]], np.uint8)


def test_the_nearest_come_first_and_equally_near_ones_by_their_index():
    search = HammingSearch(ITEMS)
    np.testing.assert_array_equal(search.distances(np.array([0], np.uint8)), [0, 4, 1, 2, 1])
    indices, distances = search.search(np.array([[0b0000], [0b1111]], np.uint8), 4)
    np.testing.assert_array_equal(indices, [[0, 2, 4, 3], [1, 3, 2, 4]])
    np.testing.assert_array_equal(distances, [[0, 1, 1, 2], [0, 2, 3, 3]])


@pytest.mark.parametrize("bits", [5, 32, 64, 130, 600])
def test_it_finds_what_the_plain_way_finds(bits):
    rng = np.random.default_rng(bits)
    items, queries = (pack(rng.random((count, bits)) < 0.5) for count in (300, 7))
    apart = (unpack(items, bits)[None] != unpack(queries, bits)[:, None]).sum(axis=2)
    expected = np.argsort(apart, axis=1, kind="stable")
    for k in (1, 20, 300):
        indices, distances = HammingSearch(items).search(queries, k)
        np.testing.assert_array_equal(indices, expected[:, :k])
        np.testing.assert_array_equal(distances, np.take_along_axis(apart, indices, axis=1))


def test_euclidean_search():
    items = np.array([[[0.0, 0]], [[3, 4]], [[1, 0]]], np.float32)
    indices, distances = EuclideanSearch(items).search(np.array([[[0.0, 0]], [[3, 3]]], np.float32), 2)
    np.testing.assert_array_equal(indices, [[0, 2], [1, 2]])
    np.testing.assert_allclose(distances, [[0, 1], [1, np.sqrt(13)]], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: HammingSearch(ITEMS.astype(int)), r"uint8 \[N, B\], got int64 \[5, 1\]"),
        (lambda: HammingSearch(ITEMS[:0]), r"got uint8 \[0, 1\]"),
        (lambda: HammingSearch(ITEMS).search(np.zeros((1, 2), np.uint8), 1), r"uint8 \[N, 1\], got uint8 \[1, 2\]"),
        (lambda: HammingSearch(ITEMS).search(ITEMS, 6), "1 to 5 items, as many as there are, got k=6"),
        (lambda: HammingSearch(ITEMS).search(ITEMS, 0), "got k=0"),
        (lambda: EuclideanSearch(np.zeros((3, 2))).search(np.zeros((3, 3)), 1), r"items \[N, 2\], got \[3, 3\]"),
        (lambda: EuclideanSearch(np.array([[np.nan, 0.0]])), "expected finite numbers"),
        (lambda: EuclideanSearch(np.zeros((3, 2))).search(np.zeros((1, 2)), 4), "got k=4"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(call, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)

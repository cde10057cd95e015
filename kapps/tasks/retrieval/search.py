"""Search: the k nearest of many items, by the bits in which their codes differ, or by Euclidean distance.

Both go through all items for each query. That is the fair comparison: what hashing saves is memory and arithmetic, 32
bits instead of 784 numbers an item. (Salakhutdinov, Hinton 2009 go further and use the code as an address in memory.)
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from kapps.errors import DataError

_WORD_BYTES = 8


class HammingSearch:
    """Items by their packed codes.

    Args:
        codes: uint8 [N, B], as `kapps.tasks.retrieval.hashing.pack` gives them.

    Raises:
        DataError: no such codes.
    """

    def __init__(self, codes: np.ndarray):
        codes = _checked(codes, None)
        self._bytes = codes.shape[1]
        self._words = np.ascontiguousarray(_as_words(codes).T)  # [W, N]: the same word of all items side by side

    def __len__(self) -> int:
        return self._words.shape[1]

    def distances(self, query: np.ndarray) -> np.ndarray:
        """The bits in which each item differs from one code: uint8 [B] -> uint16 [N]."""
        return self._distances(_as_words(_checked(np.asarray(query)[None], self._bytes))[0])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest items of each query, the nearest first, equally near ones by their index.

        Args:
            queries: uint8 [Q, B].
            k: 1 to N.

        Returns:
            indices int64 [Q, k], and distances in bits, int64 [Q, k].

        Raises:
            DataError: queries of another length than the items, or more to find than there are.
        """
        words = _as_words(_checked(queries, self._bytes))
        _check_k(k, len(self))
        indices, distances = (np.empty((len(words), k), np.int64) for _ in range(2))
        for row, query in enumerate(words):
            apart = self._distances(query)
            # The smallest radius that holds k items; only what lies within has to be sorted.
            radius = np.searchsorted(np.cumsum(np.bincount(apart)), k)
            near = np.flatnonzero(apart <= radius)
            near = near[np.argsort(apart[near], kind="stable")[:k]]
            indices[row], distances[row] = near, apart[near]
        return indices, distances

    def _distances(self, query: np.ndarray) -> np.ndarray:
        """One query's words, uint64 [W] -> uint16 [N]."""
        apart = np.zeros(len(self), np.uint16)
        for words, word in zip(self._words, query, strict=True):
            apart += np.bitwise_count(words ^ word)
        return apart


class EuclideanSearch:
    """Items by their numbers [N, ...]; scikit-learn's search through all of them.

    Raises:
        DataError: less than one item, or numbers that are not finite.
    """

    def __init__(self, items: np.ndarray):
        self._shape = np.shape(items)[1:]
        self._count = len(items)
        flat = _finite(items, self._shape)
        self._neighbours = NearestNeighbors(algorithm="brute").fit(flat)

    def __len__(self) -> int:
        return self._count

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest items of each query [Q, ...], the nearest first: indices int64 [Q, k], and distances [Q, k].

        Raises:
            DataError: queries of another shape than the items, or more to find than there are.
        """
        _check_k(k, len(self))
        distances, indices = self._neighbours.kneighbors(_finite(queries, self._shape), n_neighbors=k)
        return indices, distances


def _as_words(codes: np.ndarray) -> np.ndarray:
    """uint8 [N, B] -> uint64 [N, ceil(B / 8)], zeros behind."""
    missing = -codes.shape[1] % _WORD_BYTES
    return np.ascontiguousarray(np.pad(codes, ((0, 0), (0, missing)))).view(np.uint64)


def _checked(codes: np.ndarray, length: int | None) -> np.ndarray:
    codes = np.asarray(codes)
    expected = "B" if length is None else str(length)
    if codes.ndim != 2 or codes.dtype != np.uint8 or not codes.size or length not in (None, codes.shape[1]):
        raise DataError(
            f"expected packed codes, uint8 [N, {expected}], got {codes.dtype} {list(codes.shape)}: see "
            "kapps.tasks.retrieval.hashing.pack"
        )
    return codes


def _check_k(k: int, count: int) -> None:
    if not 1 <= k <= count:
        raise DataError(f"expected to find 1 to {count:,} items, as many as there are, got k={k}")


def _finite(items: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    items = np.asarray(items)
    if items.shape[1:] != shape or not items.size:
        raise DataError(f"expected items [N, {', '.join(map(str, shape))}], got {list(items.shape)}: reshape them")
    if not np.isfinite(items).all():
        raise DataError("expected finite numbers to compare, got NaN or infinity: leave these items out")
    return items.reshape(len(items), -1)

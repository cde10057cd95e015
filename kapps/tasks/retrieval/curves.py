"""What a search found, against what it should have found: precision and recall after each place of its ranking.

    found, _ = HammingSearch(codes).search(queries, k=1000)
    hits, totals = of_the_same_class(found, labels, query_labels)   # or among_neighbours(found, euclidean)
    precision, recall = precision_recall(hits, totals)              # [1000] each, means over the queries

Precision after place k is the part of the first k that is wanted; recall the part of all wanted ones that is among
them.
"""

from __future__ import annotations

import numpy as np

from kapps.errors import DataError


def of_the_same_class(found: np.ndarray, labels: np.ndarray, query_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wanted is what has the query's class.

    Args:
        found: indices int [Q, K], each row the nearest first.
        labels: int [N], of the items.
        query_labels: int [Q].

    Returns:
        hits bool [Q, K], and how many items each query wants, int [Q].
    """
    labels, query_labels = np.asarray(labels), np.asarray(query_labels)
    hits = labels[found] == query_labels[:, None]
    totals = (labels[None, :] == np.unique(query_labels)[:, None]).sum(axis=1)
    return hits, totals[np.searchsorted(np.unique(query_labels), query_labels)]


def among_neighbours(found: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wanted is what another search found, e.g. a Euclidean one on pixels.

    Args:
        found: indices int [Q, K], each row the nearest first.
        neighbours: indices int [Q, M], in any order.

    Returns:
        hits bool [Q, K], and M for each query, int [Q].
    """
    hits = np.stack([np.isin(one, other) for one, other in zip(found, neighbours, strict=True)])
    return hits, np.full(len(found), neighbours.shape[1])


def precision_recall(hits: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after 1, 2, ..., K places, each float64 [K]: the means over the queries.

    Args:
        hits: bool [Q, K]: whether what stands at this place is wanted.
        totals: int [Q]: how many are wanted.

    Raises:
        DataError: no query, or one that wants nothing: its recall is not defined.
    """
    hits, totals = np.asarray(hits, bool), np.asarray(totals)
    if hits.ndim != 2 or not hits.size or totals.shape != hits.shape[:1]:
        raise DataError(f"expected hits [Q, K] and totals [Q], got {list(hits.shape)} and {list(totals.shape)}")
    if (totals < 1).any():
        raise DataError(
            f"expected something to find for each query, got nothing for {int((totals < 1).sum())} of {len(totals)}: "
            "leave these out"
        )
    so_far = hits.cumsum(axis=1)
    precision = so_far / np.arange(1, hits.shape[1] + 1)
    return precision.mean(axis=0), (so_far / totals[:, None]).mean(axis=0)

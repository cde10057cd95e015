"""Precision and recall of rankings, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.retrieval.curves import among_neighbours, of_the_same_class, precision_recall

FOUND = np.array([[0, 1, 2], [3, 2, 0]])


def test_wanted_is_what_has_the_same_class():
    hits, totals = of_the_same_class(FOUND, np.array([7, 8, 7, 9]), np.array([7, 9]))
    np.testing.assert_array_equal(hits, [[True, False, True], [True, False, False]])
    np.testing.assert_array_equal(totals, [2, 1])


def test_a_class_that_no_item_has_is_wanted_in_vain():
    hits, totals = of_the_same_class(FOUND, np.array([7, 8, 7, 9]), np.array([7, 5]))
    np.testing.assert_array_equal(totals, [2, 0])
    with pytest.raises(DataError, match="got nothing for 1 of 2"):
        precision_recall(hits, totals)


def test_wanted_is_what_another_search_found():
    hits, totals = among_neighbours(FOUND, np.array([[2, 5], [1, 4]]))
    np.testing.assert_array_equal(hits, [[False, False, True], [False, False, False]])
    np.testing.assert_array_equal(totals, [2, 2])


def test_precision_and_recall_are_means_over_the_queries():
    precision, recall = precision_recall(np.array([[1, 0, 1], [0, 1, 0]]), np.array([2, 4]))
    np.testing.assert_allclose(precision, [(1 + 0) / 2, (1 / 2 + 1 / 2) / 2, (2 / 3 + 1 / 3) / 2])
    np.testing.assert_allclose(recall, [(1 / 2 + 0) / 2, (1 / 2 + 1 / 4) / 2, (1 + 1 / 4) / 2])


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(DataError, match=r"got \[2, 3\] and \[3\]"):
        precision_recall(np.ones((2, 3)), np.ones(3))

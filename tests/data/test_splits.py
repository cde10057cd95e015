from __future__ import annotations

import pytest

from kapps.data.splits import split_slices
from kapps.errors import DataError

SIZES = {"train": 200, "test": 50}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("train", slice(0, 200))]),
        ("train[:80%]", [("train", slice(0, 160))]),
        ("train[80%:]", [("train", slice(160, 200))]),
        ("train[100:120]", [("train", slice(100, 120))]),
        ("train[-20:]", [("train", slice(180, 200))]),
        ("test[5:]+train[:1]", [("test", slice(5, 50)), ("train", slice(0, 1))]),
    ],
)
def test_slices(split, expected):
    assert split_slices(split, SIZES, "it") == expected


@pytest.mark.parametrize("split", ["tran", "", "train[", "train[a:b]", "train[:200%]", "train[:201]", "validation"])
def test_what_is_no_split_is_answered_with_the_splits(split):
    with pytest.raises(DataError, match=r"it has no split .*train \(200\), test \(50\)"):
        split_slices(split, SIZES, "it")


def test_an_empty_slice_is_refused():
    with pytest.raises(DataError, match="holds no example"):
        split_slices("train[20:20]", SIZES, "it")

"""Split names with slices, in TFDS' own words, for sets that TFDS does not know: `"train[:80%]"`,
`"train[100:200]"`."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import tensorflow_datasets as tfds

from kapps.errors import DataError


def split_slices(split: str, sizes: Mapping[str, int], name: str) -> list[tuple[str, slice]]:
    """What `split` asks for: `(part, slice of its examples)`, in the order of the request.

    Args:
        split: a key of `sizes`, a slice of one, or a sum such as `"train[:50%]+test"`.
        sizes: the number of examples of every part.
        name: the data set's name, for the error.

    Raises:
        DataError: not a split, not a slice, or a slice without a single example.
    """
    try:
        instruction = tfds.core.ReadInstruction.from_spec(split)
        wanted = instruction.to_absolute({key: SimpleNamespace(num_examples=size) for key, size in sizes.items()})
    except (ValueError, AssertionError, TypeError):
        raise split_error(split, sizes, name) from None
    slices = [
        (part.splitname, slice(part.from_ or 0, sizes[part.splitname] if part.to is None else part.to))
        for part in wanted
    ]
    if not any(part.start < part.stop for _, part in slices):
        raise DataError(f"split {split!r} of {name} holds no example; its splits: {_listed(sizes)}")
    return slices


def split_error(split: str, sizes: Mapping[str, int], name: str) -> DataError:
    """The error for a split that the set does not have."""
    first = next(iter(sizes))
    return DataError(
        f"{name} has no split {split!r}: expected one of {_listed(sizes)}, "
        f"or a slice such as '{first}[:80%]' or '{first}[100:200]'"
    )


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{key} ({size:,})" for key, size in sizes.items())

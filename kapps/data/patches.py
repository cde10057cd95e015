"""Patches of natural photographs, contrast-normalised and whitened: what sparse coding learns edges from.

The photographs are the two that scikit-learn carries (a palace and a flower, CC BY): no network is needed. A patch lies
anywhere in either, is grey and has its own mean and contrast taken away:

    (patch - mean) / sqrt(variance + 10)        of pixels 0 to 255 (Coates, Ng 2012, section 2.1)

Whitening then makes all directions of pixel space alike, so that what is learned is more than that neighbours are
similar. `zca` turns back into pixel space after the scaling, so that a whitened patch is still a picture; `pca` gives
the coefficients of the principal components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import tensorflow as tf

from kapps.errors import DataError

# Added to a variance before the division: in grey levels, and after the contrast is 1 (both Coates, Ng 2012).
CONTRAST_FLOOR = 10.0
WHITENING_FLOOR = 0.1

_LEARNED_FROM = 20_000  # patches, always the same, from which the whitening is learned
_SEED = 1996

Kind = Literal["zca", "pca"]


@dataclass(frozen=True, eq=False)
class Whitening:
    """x -> (x - mean) M^T, whose covariance is nearly 1 in every direction with more variance than the floor.

    Attributes:
        mean: of every column, float32 [d].
        matrix: M, float32 [d, d]; its rows are the whitened directions for `"pca"`, by falling variance.
        inverse: of the matrix.
    """

    mean: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray

    @classmethod
    def learn(cls, rows: np.ndarray, *, kind: Kind = "zca", floor: float = WHITENING_FLOOR) -> Whitening:
        """Learn it from examples.

        Args:
            rows: numbers [N, d].
            kind: `"zca"` or `"pca"`.
            floor: added to every direction's variance: what varies less is noise, and is not blown up.

        Raises:
            DataError: no rows [N, d] of at least two examples, numbers that are not finite, constant columns, or
                another kind.
        """
        if kind not in ("zca", "pca"):
            raise DataError(f"whitening: expected 'zca' or 'pca', got {kind!r}")
        if rows.ndim != 2 or len(rows) < 2:
            raise DataError(f"whitening: expected at least 2 examples [N, d], got {list(rows.shape)}: flatten them")
        rows = rows.astype(np.float64)
        if not np.isfinite(rows).all():
            raise DataError("whitening: expected finite numbers, got NaN or infinity: leave these examples out")
        constant = int((np.ptp(rows, axis=0) == 0).sum())
        if constant:
            raise DataError(
                f"whitening: expected columns that vary, got {constant} of {rows.shape[1]} that are constant: leave "
                "them out"
            )
        mean = rows.mean(axis=0)
        centred = rows - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(rows))
        variances, directions = variances[::-1], directions[:, ::-1]
        scales = np.sqrt(np.maximum(variances, 0) + floor)
        matrix, inverse = directions.T / scales[:, np.newaxis], directions * scales
        if kind == "zca":
            matrix, inverse = directions @ matrix, inverse @ directions.T
        return cls(*(each.astype(np.float32) for each in (mean, matrix, inverse)))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Examples [N, d] -> whitened, float32 [N, d]."""
        return (rows - self.mean) @ self.matrix.T

    def undo(self, whitened: np.ndarray) -> np.ndarray:
        """Whitened [N, d] -> the examples again."""
        return whitened @ self.inverse.T + self.mean


def natural_patches(
    size: int = 8, count: int = 10_000, *, whiten: bool = True, kind: Kind = "zca", seed: int = 0
) -> np.ndarray:
    """Patches at random places of two photographs.

    Args:
        size: pixels in a row of a patch, 2 to 64.
        count: how many.
        whiten: after the contrast normalisation, with a whitening that is the same for all counts and seeds.
        kind: of the whitening.
        seed: of the places.

    Returns:
        float32 [count, size, size, 1].

    Raises:
        DataError: a size or a count that is not possible, or another kind of whitening.
    """
    if count < 1:
        raise DataError(f"natural patches: expected a count of at least 1, got {count}")
    _check_size(size)
    whitening = _whitening(size, kind) if whiten else None
    return _drawn(size, count, whitening, np.random.default_rng(seed))


def patch_stream(
    size: int = 8,
    batch_size: int = 1000,
    *,
    batches: int | None = None,
    whiten: bool = True,
    kind: Kind = "zca",
    seed: int = 0,
) -> tf.data.Dataset:
    """Patches without end, in the memory of two photographs and a batch.

    Args:
        batch_size: patches in a batch.
        batches: after which it ends; None = never. Batch i depends on the seed and i alone.
        size, whiten, kind, seed: see `natural_patches`.

    Returns:
        A data set of float32 [batch_size, size, size, 1].

    Raises:
        DataError: as `natural_patches`.
    """
    for name, value in (("batch_size", batch_size), ("batches", 1 if batches is None else batches)):
        if value < 1:
            raise DataError(f"patch stream: expected {name} of at least 1, got {value}")
    _check_size(size)
    whitening = _whitening(size, kind) if whiten else None

    def draw() -> Iterator[np.ndarray]:
        number = 0
        while batches is None or number < batches:
            yield _drawn(size, batch_size, whitening, np.random.default_rng((seed, number)))
            number += 1

    spec = tf.TensorSpec((batch_size, size, size, 1), tf.float32)
    stream = tf.data.Dataset.from_generator(draw, output_signature=spec)
    if batches is not None:
        stream = stream.apply(tf.data.experimental.assert_cardinality(batches))
    return stream.prefetch(2)


def _drawn(size: int, count: int, whitening: Whitening | None, rng: np.random.Generator) -> np.ndarray:
    patches = np.empty((count, size, size), np.float32)
    photographs = _photographs()
    which = rng.integers(len(photographs), size=count)
    for number, photograph in enumerate(photographs):
        mine = which == number
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (size, size))
        tops, lefts = (rng.integers(side, size=int(mine.sum())) for side in windows.shape[:2])
        patches[mine] = windows[tops, lefts]
    rows = patches.reshape(count, -1)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.sqrt(rows.var(axis=1, keepdims=True) + CONTRAST_FLOOR)
    if whitening is not None:
        rows = whitening.apply(rows)
    return rows.reshape(count, size, size, 1)


@cache
def _whitening(size: int, kind: Kind) -> Whitening:
    rows = _drawn(size, _LEARNED_FROM, None, np.random.default_rng(_SEED)).reshape(_LEARNED_FROM, -1)
    return Whitening.learn(rows, kind=kind)


@cache
def _photographs() -> tuple[np.ndarray, ...]:
    """Grey levels 0 to 255 (ITU-R BT.601), float32 [H, W] each."""
    from sklearn.datasets import load_sample_images  # only now: it takes a second

    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return tuple(image.astype(np.float32) @ weights for image in load_sample_images().images)


def _check_size(size: int) -> None:
    if not 2 <= size <= 64:
        raise DataError(f"natural patches: expected a size of 2 to 64 pixels, got {size}")

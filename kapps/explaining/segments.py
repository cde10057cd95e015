"""The parts of an input that LIME and SHAP take away: superpixels of an image, pieces of a sound, words of a text."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from kapps.errors import DataError, MissingExtraError


@dataclass(frozen=True, eq=False)
class Parts:
    """What the parts of a text, a sound or a table's row brought.

    Attributes:
        names: of the parts: words, times, features.
        values: float32 [F]; positive for the class, negative against it.
        spans: of a text or sound the (begin, end) of every place of each part, in characters or samples.
        details: what else the method can say.
    """

    names: tuple[str, ...]
    values: np.ndarray
    spans: tuple[tuple[tuple[int, int], ...], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def optional(package: str, module: str) -> ModuleType:
    """A module of a package that the extra `explain` installs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "explain") from error


def superpixels(image: np.ndarray, parts: int | np.ndarray) -> np.ndarray:
    """Neighbouring pixels of like colour as one part: int [h, w], numbered from 0.

    R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", 2012, as in scikit-image. Of
    a small image every pixel is a part, where there are no more of them than `parts`.

    Args:
        image: float [h, w, c]; its range does not matter.
        parts: about how many; or the parts themselves, int [h, w].

    Raises:
        DataError: fewer than two parts, or parts of another shape than the image.
        MissingExtraError: scikit-image, which comes with LIME, is not installed.
    """
    if not isinstance(parts, int):
        numbers = np.unique(parts, return_inverse=True)[1].reshape(np.shape(parts))
        if numbers.shape != image.shape[:2] or numbers.max() == 0:
            raise DataError(
                f"expected at least two segments as int {list(image.shape[:2])}, got {numbers.max() + 1} in "
                f"{list(np.shape(parts))}"
            )
        return numbers
    if parts < 2:
        raise DataError(f"expected at least two segments, got {parts}")
    height, width = image.shape[:2]
    if height * width <= parts:
        return np.arange(height * width).reshape(height, width)
    span = np.ptp(image)
    scaled = (image - image.min()) / span if span else np.zeros_like(image)
    slic = optional("scikit-image", "skimage.segmentation").slic
    # Strokes are parts of their own: in an image of one channel the distance of colours is less than in three.
    compactness = 10.0 if image.shape[-1] == 3 else 0.1
    found = slic(scaled.astype(np.float64), n_segments=parts, compactness=compactness, start_label=0, channel_axis=-1)
    return found if found.max() else _grid(height, width, parts)  # an image of one colour


def pieces(length: int, parts: int) -> np.ndarray:
    """Equal stretches of time: int [length], numbered from 0.

    Raises:
        DataError: fewer than two parts, or more than there are samples.
    """
    if not 2 <= parts <= length:
        raise DataError(f"expected from two segments to as many as the {length} samples, got {parts}")
    return np.arange(length) * parts // length


def spans_of(numbers: np.ndarray) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Where each piece begins and ends, for the numbers that `pieces` gives."""
    begins = np.searchsorted(numbers, np.arange(numbers[-1] + 2))
    return tuple(((int(begin), int(end)),) for begin, end in itertools.pairwise(begins))


def times(spans: tuple[tuple[tuple[int, int], ...], ...], rate: float | None) -> tuple[str, ...]:
    """The pieces' names: seconds where the rate (in Hz) is known, else numbers of samples."""
    if rate is None:
        return tuple(f"{begin} to {end - 1}" for ((begin, end),) in spans)
    return tuple(f"{begin / rate:.3f} to {end / rate:.3f} s" for ((begin, end),) in spans)


def checked_background(
    row: np.ndarray, background: np.ndarray | None, names: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The rows that stand for "not known", float64 [n, F], and the features' names.

    Raises:
        DataError: no rows, rows of another width, numbers that are not finite, or too few names.
    """
    if background is None:
        raise DataError("expected background=rows of the table [n, F] that a missing feature is drawn from, got none")
    background = np.asarray(background, np.float64)
    if row.ndim != 1 or background.ndim != 2 or background.shape[1:] != row.shape or not len(background):
        raise DataError(
            f"expected one row [F] and background rows [n, F], got {list(row.shape)} and {list(background.shape)}"
        )
    if not np.isfinite(background).all() or not np.isfinite(row).all():
        raise DataError("expected a row and background of finite numbers, got NaN or infinity: fill the gaps first")
    names = tuple(map(str, names)) if names is not None else tuple(f"feature {place}" for place in range(len(row)))
    if len(names) != len(row):
        raise DataError(f"expected {len(row)} feature names, one for each column, got {len(names)}")
    return background, names


def _grid(height: int, width: int, parts: int) -> np.ndarray:
    side = max(2, round(parts**0.5))
    rows, columns = np.arange(height) * side // height, np.arange(width) * side // width
    return rows[:, np.newaxis] * side + columns

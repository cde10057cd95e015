"""Where detectors look that get their proposals from outside: selective search, remembered on disk, or windows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kapps.errors import DataError, OutputError
from kapps.tasks.detection.selective_search import Mode, selective_search

# An image uint8 [H, W, 3] -> float32 [N, 4], "xyxy" in its pixels.
Propose = Callable[[np.ndarray], np.ndarray]

# Part of every key of the cache: to be raised when selective search gives other boxes than before.
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ProposalConfig:
    """What proposals are made of; a detector's configuration has these fields.

    Attributes:
        proposals: selective search, `"fast"` or `"quality"`, or `"windows"`, which need nothing installed.
        max_proposals: of selective search in an image.
        search_side: the longest side of what selective search sees of an image; 0 = the image as it is.
        window_sizes: square roots of the windows' areas, in pixels.
        window_ratios: their heights over their widths.
        window_stride: from one window to the next, as a part of its side.
    """

    proposals: Literal["fast", "quality", "windows"] = "fast"
    max_proposals: int = 2000
    search_side: int = 500
    window_sizes: tuple[float, ...] = (32, 64, 128, 256)
    window_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    window_stride: float = 0.25


def proposer(config: ProposalConfig, cache: str | Path | None = None) -> Propose:
    """The function from an image to its proposals.

    Args:
        config: says how.
        cache: the folder of a `ProposalCache` for those of selective search; None = search every time anew.
    """
    if config.proposals == "windows":
        return lambda image: sliding_windows(
            len(image), image.shape[1], config.window_sizes, config.window_ratios, config.window_stride
        )
    search = selective_search if cache is None else ProposalCache(cache)
    mode, limit, side = config.proposals, config.max_proposals, config.search_side or None
    return lambda image: search(image, mode, limit, longest_side=side)


def sliding_windows(
    height: int, width: int, sizes: Sequence[float], ratios: Sequence[float] = (1.0,), stride: float = 0.25
) -> np.ndarray:
    """Windows of some sizes and shapes all over an image, none of them over its border.

    Of each size and shape the first window lies in the upper left corner and the last one in the lower right; between
    them they are equally far apart. A window that is larger than the image is cut to it.

    Args:
        height: of the image, in pixels.
        width: likewise.
        sizes: square roots of the areas, in pixels.
        ratios: heights over widths.
        stride: the most from one window to the next, as a part of its side.

    Returns:
        float32 [N, 4], `"xyxy"`, in the order of sizes, ratios, rows, columns; none twice.

    Raises:
        DataError: a number that is not positive.
    """
    if min(height, width, stride, *sizes, *ratios) <= 0:
        raise DataError(
            f"sliding_windows: expected positive numbers, got height {height}, width {width}, sizes {list(sizes)}, "
            f"ratios {list(ratios)}, stride {stride}"
        )
    windows: dict[tuple[float, float, float, float], None] = {}  # keeps the order
    for size in sizes:
        for ratio in ratios:
            high, wide = min(size * ratio**0.5, height), min(size / ratio**0.5, width)
            for top in _starts(height, high, stride):
                for left in _starts(width, wide, stride):
                    windows[left, top, left + wide, top + high] = None
    return np.array(list(windows), np.float32).reshape(-1, 4)


def _starts(extent: int, side: float, stride: float) -> np.ndarray:
    steps = int(np.ceil((extent - side) / (stride * side) - 1e-9))
    return np.linspace(0, extent - side, steps + 1)


class ProposalCache:
    """Selective search that remembers what it found, in one small file an image.

    The key is a hash of the pixels and of how they were searched. A file appears whole or not at all, so that several
    processes may share a folder. A damaged one is searched for anew and replaced.

    Args:
        folder: is made when it is first written to.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def __call__(
        self, image: np.ndarray, mode: Mode = "fast", limit: int = 2000, *, longest_side: int | None = None
    ) -> np.ndarray:
        """Arguments, result and errors as `selective_search`.

        Raises:
            OutputError: the folder cannot be written.
        """
        file = self.file(image, mode, limit, longest_side)
        boxes = _read(file)
        if boxes is None:
            boxes = selective_search(image, mode, limit, longest_side=longest_side)
            self._write(file, boxes)
        return boxes

    def file(self, image: np.ndarray, mode: str, limit: int, longest_side: int | None = None) -> Path:
        """Where the proposals of an image are kept."""
        image = np.ascontiguousarray(image)
        asked = (_VERSION, image.shape, str(image.dtype), mode, limit, longest_side)
        digest = hashlib.sha256(repr(asked).encode())
        digest.update(image.data)
        return self.folder / f"{digest.hexdigest()}.npz"

    def _write(self, file: Path, boxes: np.ndarray) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number, part = tempfile.mkstemp(prefix=".part-", suffix=".npz", dir=self.folder)
            try:
                with os.fdopen(number, "wb") as opened:
                    np.savez_compressed(opened, boxes=boxes)
                os.replace(part, file)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written ({error.strerror or error}): give another folder"
            ) from error


def _read(file: Path) -> np.ndarray | None:
    """The boxes of a file whose checksum is right; None without one."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            boxes = arrays["boxes"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None
    right = boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4 and np.isfinite(boxes).all()
    return boxes if right else None

"""Files that commands write: refused before the work when they cannot be written, and never left half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kapps.errors import OutputError


def check_writable(path: Path, *, suffixes: tuple[str, ...] = ()) -> Path:
    """`path`, if a file can be written there; asked before a command starts its work.

    Args:
        suffixes: the endings that the file may have; any when empty.

    Raises:
        OutputError: its folder is missing or read-only, a folder is in its place, or its ending is another one.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise OutputError(f"expected a file name ending in {' or '.join(suffixes)}, got {path}: rename it")
    if path.is_dir():
        raise OutputError(f"expected a file name to write to, but {path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: {path.parent} is not a folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: no permission to write into {path.parent}; choose another folder")
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes `path`'s place when the block ends well and vanishes when it does not.

    Raises:
        OutputError: the file cannot be written, e.g. because the disk is full.
    """
    part = path.with_name(f".part-{path.name}")  # the ending stays: writers choose the format by it
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from None
    finally:
        part.unlink(missing_ok=True)

"""Put a new version folder beside the old ones in one step, so that whoever reads sees the old state or the new one.

Everything is first written to a hidden sibling folder, flushed to the disk, and renamed; the files beside the versions
(`card.json`, which says what version is current) are replaced after that, each by a rename of its own. A process that
is killed at any point leaves at most hidden files, which the next export into the same place removes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kapps.errors import KappsError, OutputError

try:
    import fcntl
except ImportError:  # Windows has no flock: two exports at once into one folder are then not held apart
    fcntl = None  # type: ignore[assignment]

# TensorFlow Serving only looks at folders whose names are integers, so it never serves a folder of this name.
STAGING_PREFIX = ".kapps-export-"


@dataclass
class StagedVersion:
    """A version that is being written.

    Attributes:
        version: the number it will have.
        folder: the hidden folder to write into.
        beside: name -> content of the files to replace beside the version folders, in this order, once it is in place.
    """

    version: int
    folder: Path
    beside: dict[str, bytes] = field(default_factory=dict)


def versions(path: Path) -> list[int]:
    """The version numbers in an export folder, rising; empty if there is no such folder."""
    if not path.is_dir():
        return []
    return sorted(
        int(child.name) for child in path.iterdir() if child.name.isascii() and child.name.isdigit() and child.is_dir()
    )


@contextlib.contextmanager
def staged_version(path: Path, version: int | None, *, overwrite: bool = False) -> Iterator[StagedVersion]:
    """Write `path/version` so that it appears whole or not at all.

    Args:
        path: the folder of the versions; made if it is not there.
        version: a positive number, or None for the highest one + 1.
        overwrite: replace the version if it is there; otherwise that is an error.

    Raises:
        OutputError: the version exists, or something cannot be written (what was begun is then removed).
    """
    made: list[Path] = []
    try:
        made = _make_folders(path)
        with _locked(path):
            for stale in path.glob(STAGING_PREFIX + "*"):  # we hold the lock, so nobody is writing into it any more
                _remove(stale)
            if version is None:
                version = max(versions(path), default=0) + 1
            check_free(path, version, overwrite=overwrite)
            target = path / str(version)
            staging = Path(tempfile.mkdtemp(prefix=f"{STAGING_PREFIX}{version}-", dir=path))
            try:
                staging.chmod(0o755)  # mkdtemp makes it private, but a server under another user must read it
                staged = StagedVersion(version, staging)
                yield staged
                _flush_tree(staging)
                _publish(staging, target, {path / name: content for name, content in staged.beside.items()})
            finally:
                _remove(staging)
    except BaseException as error:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # not empty: somebody else uses it by now
                folder.rmdir()
        if isinstance(error, OSError) and not isinstance(error, KappsError):
            raise OutputError(_why(path, error)) from error
        raise


def check_free(path: Path, version: int | None, *, overwrite: bool = False) -> None:
    """Refuse a version that exists, so that a caller learns it before any work is done.

    Raises:
        OutputError: `path/version` is there, and `overwrite` was not asked for.
    """
    target = path / str(version)
    if version is not None and target.exists() and not overwrite:
        raise OutputError(
            f"{target} exists already: give another version (or none, for the next one), or ask to overwrite it"
        )


def _publish(staging: Path, target: Path, beside: dict[Path, bytes]) -> None:
    """Rename the finished folder and then the files beside it; if one of these fails, undo the rename."""
    # The files are written before anything becomes visible, so that a full disk is met while nothing has changed.
    temporaries = {path: path.with_name(STAGING_PREFIX + path.name) for path in beside}
    try:
        for path, content in beside.items():
            _write_flushed(temporaries[path], content)
        put = _swap if target.exists() else os.rename
        put(staging, target)
        try:
            _flush(target.parent)
            for path, temporary in temporaries.items():
                os.replace(temporary, path)
            _flush(target.parent)
        except BaseException:
            put(target, staging)
            raise
    finally:
        for temporary in temporaries.values():
            _remove(temporary)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees its old content or its new one, never a part.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(STAGING_PREFIX + path.name)
    try:
        _write_flushed(temporary, content)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        _remove(temporary)
        raise OutputError(_why(path, error)) from error


def _write_flushed(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Delete a file or a folder, as far as that works; never hides the error that made it necessary."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _why(path: Path, error: OSError) -> str:
    reason = error.strerror or " ".join(str(error).split())
    return f"cannot write to {path}: {reason}; give a folder that can be written, with enough space"


def _make_folders(path: Path) -> list[Path]:
    """Make `path` and the folders above it; returns the ones that were not there, the outermost first."""
    missing = []
    folder = path
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    path.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, waiting for other exports into it; the system frees it when the process dies."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    """Have the system write a file's content, or a folder's list of names, to the disk now."""
    if os.name == "nt":  # Windows flushes only what is open for writing, and folders not at all
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            _flush(Path(parent, name))
        _flush(Path(parent))


def _swap(one: Path, other: Path) -> None:
    """Let two folders change names in one step, as Linux can; with two renames, a kill between them would lose one."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        raise OutputError(
            f"{other} cannot be replaced in one step on this system: delete it first, or export a new version"
        )
    at_cwd, rename_exchange = -100, 2
    if renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), rename_exchange) != 0:
        code = ctypes.get_errno()
        raise OutputError(
            f"{other} cannot be replaced in one step ({os.strerror(code)}): delete it first, or export a new version"
        )

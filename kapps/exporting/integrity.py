"""The sha256 of every file of an exported version, and the check that nothing is missing, changed or added.

This tells a damaged or incomplete copy from a whole one. It does not tell a friend's model from a stranger's: who can
replace the files can also replace the sums beside them. A SavedModel is a program; its graph can contain operations
that read and write files, so load only those whose source you trust.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from kapps.errors import SavedModelError

CARD = "card.json"  # holds the sums, so it has none itself


def sha256_of_files(folder: Path) -> dict[str, str]:
    """Relative path (with `/`) -> sha256 in hexadecimal, of every file below `folder` but its `card.json`."""
    sums = {}
    for file in _files(folder):
        with open(folder / file, "rb") as stream:
            sums[file] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums


def verify(folder: Path, expected: Mapping[str, str]) -> None:
    """Check the files of an exported version against the sums of its card.

    Args:
        folder: the version's folder.
        expected: relative path -> sha256, as `sha256_of_files` gives them.

    Raises:
        SavedModelError: names the first files that are missing, were changed, or do not belong there.
    """
    present = set(_files(folder))
    missing = sorted(set(expected) - present)
    added = sorted(present - set(expected))
    changed = []
    for name in sorted(set(expected) & present):
        try:
            with open(folder / name, "rb") as stream:
                same = hashlib.file_digest(stream, "sha256").hexdigest() == expected[name]
        except OSError as error:
            raise SavedModelError(f"{folder / name} cannot be read: {error.strerror}; copy the model again") from error
        if not same:
            changed.append(name)
    faults = [
        f"{what} {_some(names)}"
        for what, names in (("missing", missing), ("changed (other sha256)", changed), ("not in the card", added))
        if names
    ]
    if faults:
        raise SavedModelError(
            f"{folder} is not as it was exported: {'; '.join(faults)}; copy or export the model again"
        )


def _files(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        # A linked folder is not walked into; named like a file, it is reported as one that does not belong there.
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in (*files, *linked)]
    return sorted(name for name in found if name != CARD)


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""What the words on the command line stand for: images, folders and patterns of images, JSON files."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kapps.errors import DataError

if TYPE_CHECKING:
    from kapps.data import Preprocessing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")


def image_files(words: Iterable[str]) -> tuple[list[Path], list[DataError]]:
    """The files that the words stand for, in their order and each once, and an error for each word without one.

    A file is taken whatever its ending: reading it will tell. In a folder only the endings of images count, at any
    depth, hidden files and folders aside.
    """
    files: dict[Path, None] = {}
    errors = []
    for word in words:
        if os.path.isdir(word):
            found = _images_below(Path(word))
            if not found:
                errors.append(
                    DataError(f"{word}: expected a folder with {', '.join(IMAGE_SUFFIXES)} files, found none in it")
                )
        elif os.path.isfile(word):
            found = [Path(word)]
        elif glob.has_magic(word):
            found = [Path(match) for match in sorted(glob.glob(word, recursive=True)) if Path(match).is_file()]
            if not found:
                errors.append(DataError(f"{word}: no file matches this pattern; check the folder and the ending"))
        else:
            found = []
            errors.append(DataError(f"{word}: no such file or folder; check the path"))
        files.update(dict.fromkeys(found))
    return list(files), errors


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: it is missing, not JSON, or no object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}; check the path") from None
    except ValueError as error:
        raise DataError(f"expected JSON in {file}, got: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"expected a JSON object in {file}, got a {type(content).__name__}")
    return content


def read_preprocessing(file: Path) -> Preprocessing:
    """The preprocessing in a JSON file, as it stands in a run's `recipe.json` under `data`.

    Raises:
        DataError: the file cannot be read.
        RecipeError: it describes no preprocessing.
    """
    content = read_json(file)

    from kapps.data import Preprocessing

    return Preprocessing.from_dict(content)

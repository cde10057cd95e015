"""A folder of images by class: `folder/<class>/*.jpg`, or `folder/train/<class>/...` and `folder/test/<class>/...`.

Classes are the sub-folders' names in sorted order, as in `keras.utils.image_dataset_from_directory`. Files are looked
at once when the folder is opened: what is no whole PNG, JPEG, GIF or BMP is left out, with a warning and a line in
`Dataset.notes`. Their pixels are decoded when they are needed.

Without `train` and `test` folders, about a fifth of every class is kept for testing. Which files these are depends on
their own paths inside the folder alone (the order of a hash), so nothing moves from one side to the other when the
folder is copied, and little when files are added. A class with a single image keeps it for training.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import tensorflow as tf

from kapps.data.dataset import Dataset
from kapps.data.decoding import decode_image
from kapps.data.images import MAX_FILE_BYTES, ImageHeader, check_image_bytes
from kapps.data.splits import split_slices
from kapps.errors import DataError, ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")
TEST_PART = 0.2
# Only so many left-out files are named one by one.
_MOST_NOTES = 20

_SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """The images of a folder that can be read.

    Attributes:
        files: split -> class -> paths in sorted order; `"train"` alone where the folder has no split folders.
        has_splits: whether it has.
        class_names: those of the training split, sorted.
        headers: of every file in `files`.
        notes: what was left out and why, one line each.
    """

    files: dict[str, dict[str, list[Path]]]
    has_splits: bool
    class_names: tuple[str, ...]
    headers: dict[Path, ImageHeader]
    notes: tuple[str, ...]


def scan(folder: Path) -> Scan:
    """Look at all files of a folder of images by class.

    Raises:
        DataError: no folder, no class folders, one class alone, or not one readable image.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of images or a .npz or .npy file at {folder}, found {_found(folder)}")
    notes: list[str] = []
    split_folders = _explicit_splits(folder)
    roots = split_folders or {"train": folder}
    listed = {key: _list_classes(root, folder, notes) for key, root in roots.items()}
    headers = _check_files([path for classes in listed.values() for paths in classes.values() for path in paths], notes)
    readable = {
        key: {name: kept for name, paths in classes.items() if (kept := [path for path in paths if path in headers])}
        for key, classes in listed.items()
    }
    if not headers:
        kinds = ", ".join(SUFFIXES)
        raise DataError(f"expected images ({kinds}) in {folder}/<class>/, found none that can be read{_first(notes)}")
    class_names = _class_names(readable, folder, notes, listed)
    return Scan(readable, bool(split_folders), class_names, headers, tuple(notes))


def load_split(folder: Path, split: str = "train") -> Dataset:
    """A split of a folder of images by class: `"train"`, `"test"`, `"validation"` where it lies there, or a slice.

    Images are uint8 `[H, W, 1 or 3]` and may differ in size and in channels; give a preprocessing to `Dataset.batches`.

    Raises:
        DataError: no folder, no class folders, one class alone, not one readable image, or no such split.
    """
    found = scan(folder)
    notes = list(found.notes)
    if found.has_splits:
        parts = found.files
    else:
        parts = {"train": {}, "test": {}}
        for name, paths in found.files["train"].items():
            parts["train"][name], parts["test"][name] = train_and_test(paths, folder)
            if not parts["test"][name]:
                notes.append(f"class {name!r} has one image: it is used for training, none is left for testing")
    # Class after class, files in sorted order.
    examples = {
        key: [(path, index) for index, name in enumerate(found.class_names) for path in sorted(classes.get(name, ()))]
        for key, classes in parts.items()
    }
    slices = split_slices(split, {key: len(files) for key, files in examples.items()}, str(folder))
    files = [file for key, rows in slices for file in examples[key][rows]]
    _warn(folder, notes)
    return Dataset(
        records=tf.data.Dataset.from_tensor_slices(
            ([os.fsencode(path) for path, _ in files], tf.constant([label for _, label in files], tf.int64))
        ),
        decode=_reader(shape := _common_shape([found.headers[path] for path, _ in files])),
        num_examples=len(files),
        input_shape=shape,
        class_names=found.class_names,
        name=folder.resolve().name,
        split=split,
        source=f"folder {folder.resolve().name}",
        licence="the user's own",
        notes=tuple(notes),
    )


def _explicit_splits(folder: Path) -> dict[str, Path]:
    """The folders of the splits, empty where the classes lie in the folder itself."""
    found = {
        split: folder / name for split, names in _SPLIT_FOLDERS.items() for name in names if (folder / name).is_dir()
    }
    # A class may be called "train" too; then its images lie directly in it.
    is_split = "train" in found and any(child.is_dir() for child in _visible(found["train"]))
    return found if is_split else {}


def _list_classes(root: Path, folder: Path, notes: list[str]) -> dict[str, list[Path]]:
    """The image files of every class folder in `root`, by their endings."""
    classes: dict[str, list[Path]] = {}
    others = 0
    for child in sorted(_visible(root), key=lambda path: path.name):
        if not child.is_dir():
            others += 1
        elif root.resolve().is_relative_to(child.resolve()):
            notes.append(f"left out {child}: a link to a folder that it lies in")
        else:
            classes[child.name] = []
            # Links to folders are not followed: they may lead in circles.
            for parent, directories, names in os.walk(child, onerror=_refuse_folder):
                directories[:] = sorted(name for name in directories if not name.startswith("."))
                for name in sorted(names):
                    if name.startswith("."):
                        continue
                    if name.lower().endswith(SUFFIXES):
                        classes[child.name].append(Path(parent, name))
                    else:
                        others += 1
    if others:
        notes.append(f"left out {others} files in {root} that are not {', '.join(SUFFIXES)} files in a class folder")
    if not classes:
        raise DataError(f"expected class folders with images in {root} ({folder.name}/<class>/*.jpg), found none")
    return classes


def _check_files(paths: Sequence[Path], notes: list[str]) -> dict[Path, ImageHeader]:
    """The headers of all files that can be read; what is wrong with the others goes into the notes."""

    def check(path: Path) -> ImageHeader | str:
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                return f"left out {path}: expected at most {MAX_FILE_BYTES:,} bytes, got {size:,}"
            return check_image_bytes(path.read_bytes(), str(path))
        except ImageError as error:
            return f"left out {error}"
        except OSError as error:
            return f"left out {path}: cannot be read ({error.strerror or error})"

    headers: dict[Path, ImageHeader] = {}
    problems = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        for path, result in zip(paths, pool.map(check, paths), strict=True):
            if isinstance(result, str):
                problems.append(result)
            else:
                headers[path] = result
    if len(problems) > _MOST_NOTES:
        problems[_MOST_NOTES:] = [f"left out {len(problems) - _MOST_NOTES} more files that cannot be read"]
    notes[:0] = problems
    return headers


def _class_names(
    readable: dict[str, dict[str, list[Path]]], folder: Path, notes: list[str], listed: dict[str, dict[str, list[Path]]]
) -> tuple[str, ...]:
    """The classes of the training split, sorted."""
    train = readable["train"]
    for name in listed["train"]:
        if name not in train:
            notes.append(f"left out the class {name!r}: no image in it can be read")
    if len(train) < 2:
        raise DataError(
            f"expected at least two class folders with images in {folder}, "
            f"found {', '.join(map(repr, train)) or 'none'}: add a folder with images of something else"
        )
    for split, classes in readable.items():
        unknown = sorted(set(classes) - set(train))
        if unknown:
            raise DataError(
                f"{folder} has the class {unknown[0]!r} in {split!r} and no image of it in 'train': add some"
            )
    return tuple(sorted(train))


def train_and_test(paths: Sequence[Path], folder: Path) -> tuple[list[Path], list[Path]]:
    """A class's images in two parts, by the order of the hashes of their paths inside the folder."""

    def key(path: Path) -> bytes:
        return hashlib.sha256(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")).digest()

    ordered = sorted(paths, key=key)
    count = min(max(round(TEST_PART * len(ordered)), 1), len(ordered) - 1)
    return ordered[count:], ordered[:count]


def _common_shape(headers: Sequence[ImageHeader]) -> tuple[int | None, int | None, int | None]:
    """The shape that all images have; None for what differs."""
    channels = {header.channels for header in headers}
    sizes = {(header.height, header.width) for header in headers}
    (height, width), *more = sizes
    # A JPEG may be turned by its EXIF orientation, which the header does not tell.
    may_turn = height != width and any(header.format == "JPEG" for header in headers)
    size = (None, None) if more or may_turn else (height, width)
    return (*size, channels.pop() if len(channels) == 1 else None)


def _reader(shape: tuple[int | None, int | None, int | None]):
    def decode(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.ensure_shape(decode_image(tf.io.read_file(path)), shape), label

    return decode


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        _refuse_folder(error)


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(f"the folder {error.filename} cannot be read ({error.strerror}): change its rights") from error


def _found(path: Path) -> str:
    return "a file that is neither" if path.exists() else "nothing"


def _first(notes: Sequence[str]) -> str:
    return f" ({notes[0]})" if notes else ""


def _warn(folder: Path, notes: Sequence[str]) -> None:
    for note in notes:
        logger.warning("%s: %s", folder, note)

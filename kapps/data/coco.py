"""COCO's JSON of boxes: one file for a whole set of images, beside a folder of them.

    FILE.json                                    the images in `images` beside it, or beside it themselves
    folder/annotations/instances_<split>.json    the images in folder/<split>
    folder/instances_<split>.json                the images in folder/<split> or folder/images
    folder/instances.json                        the images in folder/images, as `kapps.data.write_scenes` writes them

A file alone is the split `"train"`, as an array file is; its own name is understood, too. In a folder, the year of a
split may be left out: `"train"` is `train2017` where there is no other, and `"validation"` is `val2017`.

Lin, Maire, Belongie, Bourdev, Girshick, Hays, Perona, Ramanan, Zitnick, Dollár: "Microsoft COCO", ECCV 2014; the fields
are those of its data format page: `images` (id, file_name, width, height), `annotations` (id, image_id, category_id,
bbox = [x, y, width, height] with the origin (0, 0), area, iscrowd), `categories` (id, name). Categories are sorted by
id; their places are the class numbers. Fields that are not named here are ignored.

Rules for what is not right:

- a box over the border is clipped, one without area (as written or inside its image) is left out, both are counted in
  the notes;
- NaN, infinity, a negative width or height, an unknown image or category: an error that names the file and the
  annotation's id;
- a `file_name` that leads out of the images' folder (an absolute path, a drive, `..`) is refused;
- a `width` and `height` that are absent or 0 are ignored; those that are not the image's are an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from kapps.data.boxes import (
    MAX_BOXES,
    AnnotatedImage,
    BoxDataset,
    Mending,
    from_files,
    image_sizes,
    unknown_class,
)
from kapps.data.splits import split_slices
from kapps.errors import DataError

# The largest file of COCO 2017 has less than half a gigabyte.
MAX_JSON_BYTES = 2 * 2**30

_WORDS = {"val": "validation", "valid": "validation"}
# The name of a part in a split such as "train2017[:10%]+val2017".
_PART = re.compile(r"(^|\+)\s*([^\[+\s]+)")


def annotation_files(folder: Path) -> dict[str, Path]:
    """The files of a folder by split; empty where it has none."""
    for parent in (folder / "annotations", folder):
        files = {path.stem.removeprefix("instances_"): path for path in sorted(parent.glob("instances_*.json"))}
        if files:
            short = [_without_year(name) for name in files]
            return {
                _without_year(name) if short.count(_without_year(name)) == 1 else name: path
                for name, path in files.items()
            }
        if (parent / "instances.json").is_file():
            return {"train": parent / "instances.json"}
    return {}


def load_folder(folder: Path, split: str = "train", classes: Sequence[str] | None = None) -> BoxDataset:
    """A split of a folder with COCO files, or a slice of one; of the files, only those of the split are read.

    Images of the split are looked at now, their pixels are decoded when they are needed. No box is difficult; areas are
    the file's where it has them.

    Args:
        folder: in one of the forms of the module's docstring.
        split: which part.
        classes: the names in the order of their numbers; None = those of the categories, by id.

    Raises:
        DataError: no such split, an image that is missing, what cannot be read, or one of the faults in the module's
            docstring; it names the file and the annotation.
    """
    return _load(annotation_files(folder), split, classes, folder.resolve().name, f"folder {folder.resolve().name}")


def load_file(path: Path, split: str = "train", classes: Sequence[str] | None = None) -> BoxDataset:
    """A COCO file, `"train"`, or a slice of it; arguments and errors as `load_folder`."""
    return _load({"train": path}, split, classes, path.stem, f"file {path.name}")


def _load(files: dict[str, Path], split: str, classes: Sequence[str] | None, name: str, source: str) -> BoxDataset:
    keys = {path.stem.removeprefix("instances_"): key for key, path in files.items()}
    if len(files) == 1:
        keys.update({_without_year(full): key for full, key in keys.items()})
    in_keys = _PART.sub(lambda term: term[1] + keys.get(term[2], term[2]), split)
    asked = [term[2] for term in _PART.finditer(in_keys)] or [split]
    if "all" in asked:
        asked = list(files)
    for part in asked:
        if part not in files:
            raise DataError(
                f"{name} has no split {part!r}: expected one of {', '.join(files)}, "
                f"or a slice such as '{next(iter(files))}[:80%]'"
            )
    contents = {key: _read(files[key]) for key in dict.fromkeys(asked)}
    slices = split_slices(in_keys, {key: len(content.images) for key, content in contents.items()}, name)

    if classes is None:
        classes = _names_of(contents, files)
    mending = Mending()
    images: list[AnnotatedImage] = []
    for key, rows in slices:
        images += _examples(files[key], contents[key], rows, classes, mending)
    return from_files(images, classes, name=name, split=split, source=f"{source} (COCO)", notes=mending.notes())


def _without_year(name: str) -> str:
    short = re.sub(r"_?\d{4}$", "", name) or name
    return _WORDS.get(short, short)


# One file -----------------------------------------------------------------------------------------------------------


class _Content(NamedTuple):
    images: list[dict[str, Any]]
    annotations: dict[int | str, list[dict[str, Any]]]  # by image
    categories: dict[int, str]  # by id, sorted


def _read(path: Path) -> _Content:
    try:
        if not path.is_file():
            raise DataError(f"expected a COCO file at {path}, found {'a folder' if path.is_dir() else 'nothing'}")
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise DataError(f"{path}: expected at most {MAX_JSON_BYTES:,} bytes, got {size:,}: split it up")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected JSON, it cannot be read as such ({error}): write it again") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        found = _shown(list(content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: expected the lists images, annotations and categories, found {found}")

    categories: dict[int, str] = {}
    for number, entry in enumerate(content["categories"]):
        where = f"{path}: category {number}"
        identity, name = _entry(entry, where).get("id"), entry.get("name")
        if not _is_int(identity) or not isinstance(name, str) or not name:
            raise DataError(f"{where}: expected a whole number as id and a name, found {_shown(entry)}")
        if identity in categories or name in categories.values():
            raise DataError(f"{where}: expected every id and name once, found {_shown(entry)} again: rename it")
        categories[identity] = name

    annotations: dict[int | str, list[dict[str, Any]]] = {}
    for number, entry in enumerate(content["images"]):
        where = f"{path}: image {number}"
        identity = _entry(entry, where).get("id")
        if not _is_int(identity) and not isinstance(identity, str):
            raise DataError(f"{where}: expected an id, found {_shown(entry)}: number the images")
        if identity in annotations:
            raise DataError(f"{where}: expected every image's id once, found {_shown(identity)} again: renumber them")
        annotations[identity] = []
    for number, entry in enumerate(content["annotations"]):
        image = _entry(entry, f"{path}: annotation at place {number}").get("image_id")
        mine = annotations.get(image) if _is_int(image) or isinstance(image, str) else None
        if mine is None:
            raise DataError(
                f"{path}: {_named(entry)}: expected the id of an image as image_id, found {_shown(image)}: "
                "add the image or remove the annotation"
            )
        mine.append(entry)
    return _Content(content["images"], annotations, dict(sorted(categories.items())))


def _names_of(contents: dict[str, _Content], files: dict[str, Path]) -> tuple[str, ...]:
    """The class names, which must be the same in every file."""
    first, *more = contents
    for key in more:
        if contents[key].categories != contents[first].categories:
            raise DataError(f"{files[key]}: expected the categories of {files[first]}, found others: make them alike")
    if not contents[first].categories:
        raise DataError(f"{files[first]}: expected categories, found none: there is nothing to learn")
    return tuple(contents[first].categories.values())


def _examples(
    path: Path, content: _Content, rows: slice, classes: Sequence[str], mending: Mending
) -> list[AnnotatedImage]:
    entries = content.images[rows]
    names = [_file_name(entry, path) for entry in entries]
    root = _image_folder(path, names)
    files = [root / name for name in names]
    for entry, file in zip(entries, files, strict=True):
        if not file.is_file():
            raise DataError(f"{path}: image {_shown(entry['id'])}: expected it at {file}, found nothing: add it")
    return [
        _example(path, entry, content, file, size, classes, mending)
        for entry, file, size in zip(entries, files, image_sizes(files), strict=True)
    ]


def _image_folder(path: Path, names: Sequence[str]) -> Path:
    """Where the images lie: the first of the usual places that holds the first of them."""
    folder, split = path.parent, path.stem.rpartition("_")[2]
    places = [folder / "images", folder / split, folder]
    if folder.name == "annotations":
        places += [folder.parent / split, folder.parent / "images" / split, folder.parent / "images", folder.parent]
    for place in places:
        if names and (place / names[0]).is_file():
            return place
    return places[0]  # the error for the first missing image names it


def _file_name(entry: dict[str, Any], path: Path) -> str:
    name = entry.get("file_name")
    inside = isinstance(name, str) and bool(name) and "\0" not in name
    if inside:
        as_path = PureWindowsPath(name)  # knows both kinds of separators, and drives
        inside = not as_path.drive and not as_path.root and ".." not in as_path.parts
    if not inside:
        raise DataError(
            f"{path}: image {_shown(entry['id'])}: expected a file_name inside the images' folder, "
            f"found {_shown(name)}: mend it"
        )
    return name


def _example(
    path: Path,
    entry: dict[str, Any],
    content: _Content,
    file: Path,
    size: tuple[int, int],
    classes: Sequence[str],
    mending: Mending,
) -> AnnotatedImage:
    height, width = size
    told = [entry.get("width") or 0, entry.get("height") or 0]
    if told != [width, height] and 0 not in told:
        raise DataError(
            f"{path}: image {_shown(entry['id'])}: expected the size of {file}, {width}x{height}, "
            f"found {_shown(told[0])}x{_shown(told[1])}: mend the one that is wrong"
        )
    annotations = content.annotations[entry["id"]]
    if len(annotations) > MAX_BOXES:
        raise DataError(
            f"{path}: image {_shown(entry['id'])}: expected at most {MAX_BOXES:,} boxes, got {len(annotations):,}"
        )
    boxes = np.array([_box(annotation, path) for annotation in annotations], np.float64).reshape(-1, 4)
    mended, kept = mending(boxes, size, [_named(annotation) for annotation in annotations])
    own = (mended[:, 2] - mended[:, 0]) * (mended[:, 3] - mended[:, 1])
    areas = [_area(annotation, float(area), path) for annotation, area in zip(annotations, own, strict=True)]
    return AnnotatedImage(
        path=file,
        boxes=mended[kept],
        classes=np.array([_class_of(it, content.categories, classes, path) for it in annotations], np.int32)[kept],
        crowd=np.array([_is_crowd(annotation, path) for annotation in annotations], bool)[kept],
        difficult=np.zeros(int(kept.sum()), bool),
        areas=np.array(areas, np.float32)[kept],
    )


# One annotation -----------------------------------------------------------------------------------------------------


def _box(annotation: dict[str, Any], path: Path) -> tuple[float, float, float, float]:
    numbers = annotation.get("bbox")
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(_is_finite, numbers)):
        raise DataError(
            f"{path}: {_named(annotation)}: expected four finite numbers as bbox [x, y, width, height], "
            f"found {_shown(numbers)}: mend it"
        )
    x, y, width, height = map(float, numbers)
    if width < 0 or height < 0:
        raise DataError(
            f"{path}: {_named(annotation)}: expected a width and a height from 0 in bbox, found {width:g} and "
            f"{height:g}: write [x, y, width, height]"
        )
    return x, y, x + width, y + height


def _area(annotation: dict[str, Any], default: float, path: Path) -> float:
    area = annotation.get("area", default)
    if not _is_finite(area) or area < 0:
        raise DataError(
            f"{path}: {_named(annotation)}: expected a number from 0 as area, found {_shown(area)}: mend it"
        )
    return float(area)


def _is_crowd(annotation: dict[str, Any], path: Path) -> bool:
    crowd = annotation.get("iscrowd", 0)
    if not isinstance(crowd, (int, float)) or crowd not in (0, 1):
        raise DataError(f"{path}: {_named(annotation)}: expected 0 or 1 as iscrowd, found {_shown(crowd)}: mend it")
    return bool(crowd)


def _class_of(annotation: dict[str, Any], categories: dict[int, str], classes: Sequence[str], path: Path) -> int:
    category = annotation.get("category_id")
    if not _is_int(category) or category not in categories:
        raise DataError(
            f"{path}: {_named(annotation)}: expected the id of a category as category_id, found {_shown(category)}: "
            "add the category or mend it"
        )
    if categories[category] not in classes:
        raise unknown_class(f"{path}: {_named(annotation)}", categories[category], classes)
    return classes.index(categories[category])


def _entry(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object {{...}}, found {_shown(entry)}")
    return entry


def _named(annotation: dict[str, Any]) -> str:
    return f"annotation {_shown(annotation.get('id'))}"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _shown(value: Any) -> str:
    """A value of the file for an error: one line, and short."""
    return repr(value)[:80]

"""A folder of photos by class, made ready to learn from: read, looked through for copies, and split.

Nearly equal photos (the same one smaller, cropped a little, saved anew, or the next of a burst) never come to lie on
both sides of the split: what was learned by heart would count as understood. They are found by their perceptual hash:
64 signs of the lowest frequencies of the picture (the package imagehash), equal up to a few.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kapps.data.folders import scan
from kapps.errors import DataError
from kapps.weights.download import cache_dir

# Of 64 signs. Photos of different things differ in about 32, with a deviation of 4; copies that were made smaller or
# saved anew in 0 to 6.
_NEARLY = 6

_BLOCK = 1024  # rows of the table of distances that are held at once


@dataclass(frozen=True)
class Photo:
    """One file.

    Attributes:
        path: where it lies.
        label: the number of its class.
        digest: sha256 of the file, in hexadecimal.
        group: photos with the same number are nearly equal.
    """

    path: Path
    label: int
    digest: str
    group: int


@dataclass(frozen=True)
class Photos:
    """What was found in a folder.

    Attributes:
        class_names: sorted.
        train, validation: the two sides; no group is on both.
        test: photos that lie in a folder `test`, which nothing is chosen by; usually empty.
        notes: what was left out or decided, one line each.
    """

    class_names: tuple[str, ...]
    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]
    test: tuple[Photo, ...]
    notes: tuple[str, ...]


def read_photos(
    folder: str | Path, *, validation: float = 0.2, progress: Callable[[int], None] | None = None
) -> Photos:
    """Read a folder of photos by class and split it.

    Args:
        folder: `folder/<class>/*.jpg`, or with `train/<class>` and `val/<class>` inside, which are then the sides.
        validation: the share of every class that is kept back otherwise. Which groups these are depends on what is in
            the photos alone, so that a copy of the folder is split in the same way.
        progress: called with 1 for every photo that was read.

    Returns:
        The photos. Files that are damaged or no images are left out with a note; so are photos that lie in several
        classes (nobody could say which is right), exact copies within a class (but the first), and photos of the
        training folder that are nearly equal to one of a validation or test folder.

    Raises:
        DataError: no folder, no class folders, one class alone, or no photos that can be read.
    """
    if not 0 <= validation < 1:
        raise DataError(f"expected a share for validation of at least 0 and below 1, got {validation}")
    folder = Path(folder)
    found = scan(folder)
    notes = list(found.notes)
    rows = [
        (split, path, label)
        for split, classes in found.files.items()
        for label, name in enumerate(found.class_names)
        for path in classes.get(name, ())
    ]
    hashes = _hashes([path for _, path, _ in rows], notes, progress)
    rows = [row for row in rows if row[1] in hashes]
    rows = _without_contradictions(rows, hashes, found.class_names, notes)
    rows = _without_copies(rows, hashes, notes)
    groups = group_nearly_equal([hashes[path][1] for _, path, _ in rows])
    photos = [
        (split, Photo(path, label, hashes[path][0], group))
        for (split, path, label), group in zip(rows, groups, strict=True)
    ]
    sides: dict[str, list[Photo]] = {"train": [], "validation": [], "test": []}
    for split, photo in photos:
        sides[split].append(photo)
    kept_back = {photo.group for split in ("validation", "test") for photo in sides[split]}
    leaked = [photo for photo in sides["train"] if photo.group in kept_back]
    if leaked:
        notes.append(
            f"left out {len(leaked)} training photos that are nearly equal to one of validation or test, "
            f"e.g. {leaked[0].path}"
        )
        sides["train"] = [photo for photo in sides["train"] if photo.group not in kept_back]
    if not sides["validation"] and validation:
        sides["train"], sides["validation"] = _split(sides["train"], validation)
    missing = set(range(len(found.class_names))) - {photo.label for photo in sides["train"]}
    if missing:
        raise DataError(
            f"no photo of {found.class_names[min(missing)]!r} is left to learn from: add some that lie in no other "
            "class and are no copies of the validation's"
        )
    train, kept_back_photos, test = (tuple(sides[split]) for split in ("train", "validation", "test"))
    return Photos(found.class_names, train, kept_back_photos, test, tuple(notes))


def group_nearly_equal(hashes: Sequence[int], distance: int = _NEARLY) -> list[int]:
    """Numbers that are equal for hashes that differ in at most `distance` bits, or are linked by such steps."""
    values = np.array(hashes, np.uint64)
    parent = list(range(len(values)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for begin in range(0, len(values), _BLOCK):
        block = values[begin : begin + _BLOCK]
        near = np.bitwise_count(block[:, np.newaxis] ^ values[np.newaxis, begin:]) <= distance
        for row, column in zip(*np.nonzero(near), strict=True):
            parent[root(begin + int(column))] = root(begin + int(row))
    return [root(index) for index in range(len(values))]


def _hashes(
    paths: Sequence[Path], notes: list[str], progress: Callable[[int], None] | None
) -> dict[Path, tuple[str, int]]:
    """(sha256, perceptual hash) of every file that can be decoded; the second is remembered for the next time."""
    store = cache_dir() / "photos.json"
    try:
        known = {str(key): int(value) for key, value in json.loads(store.read_text()).items()}
    except (OSError, ValueError, AttributeError):  # not there yet, or damaged: it is made anew
        known = {}
    before = len(known)

    def look(path: Path) -> tuple[str, int] | str:
        try:
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            return digest, known[digest] if digest in known else _perceptual_hash(path)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            return f"left out {path}: cannot be decoded ({error})"
        finally:
            if progress is not None:
                progress(1)

    hashes: dict[Path, tuple[str, int]] = {}
    with ThreadPoolExecutor() as pool:
        for path, result in zip(paths, pool.map(look, paths), strict=True):
            if isinstance(result, str):
                notes.append(result)
            else:
                hashes[path] = result
    known.update(hashes.values())
    if len(known) > before:
        _write(store, json.dumps(known))
    return hashes


def _perceptual_hash(path: Path) -> int:
    import imagehash  # brings scipy.fftpack and PyWavelets, which `kapps --help` need not load

    with Image.open(path) as image:
        image.draft("L", (128, 128))  # a JPEG is decoded at a fraction of its size
        signs = imagehash.phash(image.convert("L")).hash
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def _write(path: Path, text: str) -> None:
    """What cannot be remembered is worked out again next time: no reason to stop."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_text(text)
        os.replace(part, path)
    except OSError:
        pass


def _without_contradictions(
    rows: Sequence[tuple[str, Path, int]],
    hashes: dict[Path, tuple[str, int]],
    class_names: Sequence[str],
    notes: list[str],
) -> list[tuple[str, Path, int]]:
    classes_of: dict[str, set[int]] = defaultdict(set)
    for _, path, label in rows:
        classes_of[hashes[path][0]].add(label)
    kept = []
    for split, path, label in rows:
        classes = classes_of[hashes[path][0]]
        if len(classes) == 1:
            kept.append((split, path, label))
        elif label == min(classes):
            names = " and ".join(repr(class_names[other]) for other in sorted(classes))
            notes.append(f"left out {path}: the same photo lies in the classes {names}")
    return kept


def _without_copies(
    rows: Sequence[tuple[str, Path, int]], hashes: dict[Path, tuple[str, int]], notes: list[str]
) -> list[tuple[str, Path, int]]:
    """Each photo once a side."""
    seen: set[tuple[str, str]] = set()
    kept, copies = [], 0
    for split, path, label in rows:
        key = split, hashes[path][0]
        if key in seen:
            copies += 1
        else:
            seen.add(key)
            kept.append((split, path, label))
    if copies:
        notes.append(f"left out {copies} exact copies of other photos of the same class")
    return kept


def _split(photos: Iterable[Photo], share: float) -> tuple[list[Photo], list[Photo]]:
    """(to learn from, kept back): of each class about `share`, in whole groups, and never all of a class."""
    classes: dict[int, dict[int, list[Photo]]] = defaultdict(lambda: defaultdict(list))
    groups: dict[int, list[Photo]] = defaultdict(list)
    for photo in photos:
        groups[photo.group].append(photo)
    for group, members in groups.items():  # a group with several classes is counted with its first
        classes[min(photo.label for photo in members)][group] = members
    train, kept_back = [], []
    for by_group in classes.values():
        # In the order of what is in the photos: as good as chance, and the same for every copy of the folder.
        ordered = sorted(by_group.values(), key=lambda members: min(photo.digest for photo in members))
        wanted = share * sum(map(len, ordered))
        taken = 0
        for index, members in enumerate(ordered):
            is_last = index == len(ordered) - 1
            if not is_last and taken + len(members) / 2 <= wanted:
                kept_back += members
                taken += len(members)
            else:
                train += members
    order = {photo.path: index for index, photo in enumerate(sorted(train + kept_back, key=lambda p: str(p.path)))}
    return sorted(train, key=lambda p: order[p.path]), sorted(kept_back, key=lambda p: order[p.path])

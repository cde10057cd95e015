"""A folder in the form of Pascal VOC: an XML file with boxes for each image.

    folder/Annotations/<id>.xml
    folder/JPEGImages/<id>.jpg                                  or .jpeg, .png, .gif, .bmp
    folder/ImageSets/Main/{train,val,trainval,test}.txt         an id a line; may be absent

Without lists in ImageSets, about a fifth of the annotations is kept for testing, chosen by the hash of their paths as
in `kapps.data.folders`.

Everingham, Van Gool, Williams, Winn, Zisserman: "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, and the
development kit of VOC 2012, whose documentation gives the image's top left pixel the coordinates (1, 1) and whose
measure counts the pixels of both corners in. So `(xmin - 1, ymin - 1, xmax, ymax)` is the box in kapps' words, and
(1, 1, W, H) is the whole image, (0, 0, W, H).

Tools that write this form count from 0 just as often, and nothing in the file tells. Rules for that and for slips:

- a coordinate of 0 (or less), or one beyond the image, is clipped to the border;
- a box with xmin = xmax or ymin = ymax is a click, not a thing, and is left out; both are counted in the notes;
- xmin over xmax, no number, NaN: an error that names the file and the line;
- the image is the one with the annotation's own name; `filename`, which is often wrong, counts only where there is no
  such image or more than one; `folder` and `path` never count;
- a `size` that is absent or has a zero is ignored; one that is not the image's is an error: the boxes were drawn on
  another image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import sax as defused_sax

from kapps.data.boxes import MAX_BOXES, AnnotatedImage, BoxDataset, Mending, from_files, image_sizes, unknown_class
from kapps.data.folders import SUFFIXES, train_and_test
from kapps.data.splits import split_slices
from kapps.errors import DataError

# An object takes about 300 bytes: room for MAX_BOXES of them and more.
MAX_XML_BYTES = 16 * 2**20
# VOC's own files go five deep: annotation, object, part, bndbox, xmin.
_MAX_DEPTH = 20

_SPLIT_LISTS = {"train": "train", "validation": "val", "trainval": "trainval", "test": "test"}
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_OF_THE_IMAGE = ("filename", "size/width", "size/height")
_OF_AN_OBJECT = ("name", "difficult", *(f"bndbox/{side}" for side in _SIDES))


def is_voc(folder: Path) -> bool:
    """Whether a path is a folder with annotations in VOC's form."""
    return next((folder / "Annotations").glob("*.xml"), None) is not None


def load_split(folder: Path, split: str = "train", classes: Sequence[str] | None = None) -> BoxDataset:
    """A split of a VOC folder: `"train"`, `"validation"`, `"trainval"`, `"test"` as far as it has them, or a slice.

    Annotations and images of the split are looked at now, and all annotations where the classes have to be found;
    pixels are decoded when they are needed. No box is of a crowd, and areas are those of the boxes.

    Args:
        folder: with `Annotations` and `JPEGImages`.
        split: which part.
        classes: the names in the order of their numbers; None = all names in the folder's annotations, sorted.

    Raises:
        DataError: no such split, an image or an annotation without the other, what cannot be read, or one of the
            faults in the module's docstring; it names the file and, in an annotation or a list, the line.
    """
    found = sorted((folder / "Annotations").glob("*.xml"))
    annotations = {path.stem: path for path in found if not path.name.startswith(".")}
    parts = _parts(folder, annotations)
    slices = split_slices(split, {key: len(paths) for key, paths in parts.items()}, str(folder))
    wanted = [path for key, rows in slices for path in parts[key][rows]]
    pages = {path: _read(path) for path in dict.fromkeys(wanted)}
    if classes is None:
        names = {thing.name for page in pages.values() for thing in page.things}
        for path in annotations.values():
            if path not in pages:
                names |= {thing.name for thing in _read(path).things}
        classes = tuple(sorted(names))
    if not classes:
        raise DataError(f"expected <object> in the annotations of {folder}, found none: there is nothing to learn")

    listed = _listed_images(folder)
    images = {path: _image_of(path, page, listed, folder) for path, page in pages.items()}
    sizes = dict(zip(pages, image_sizes(list(images.values())), strict=True))
    mending = Mending()
    examples = {path: _example(path, page, images[path], sizes[path], classes, mending) for path, page in pages.items()}
    notes = mending.notes()
    alone = len(set(listed) - annotations.keys())
    if alone:
        notes.append(f"left out {alone:,} images without an annotation of the same name")
    return from_files(
        [examples[path] for path in wanted],
        classes,
        name=folder.resolve().name,
        split=split,
        source=f"folder {folder.resolve().name} (VOC)",
        notes=notes,
    )


# What lies in the folder --------------------------------------------------------------------------------------------


def _parts(folder: Path, annotations: dict[str, Path]) -> dict[str, list[Path]]:
    """The annotations of every split."""
    lists = {split: folder / "ImageSets" / "Main" / f"{name}.txt" for split, name in _SPLIT_LISTS.items()}
    parts = {split: _listed_annotations(path, annotations, folder) for split, path in lists.items() if path.is_file()}
    if not parts:
        train, test = train_and_test(list(annotations.values()), folder)
        parts = {"train": sorted(train), "test": sorted(test)}
    return parts


def _listed_annotations(path: Path, annotations: dict[str, Path], folder: Path) -> list[Path]:
    try:
        lines = _bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected an id a line in UTF-8, it is something else: save it as UTF-8") from error
    found: dict[str, Path] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name in found:
            raise DataError(f"{path} line {number}: expected every id once, got {name[:80]!r} again: remove one")
        if name and name not in annotations:
            raise DataError(
                f"{path} line {number}: expected the annotation of {name[:80]!r} in {folder / 'Annotations'}, "
                "found none: add it or remove the line"
            )
        if name:
            found[name] = annotations[name]
    return list(found.values())


def _listed_images(folder: Path) -> dict[str, list[Path]]:
    """The image files in JPEGImages by their names without the ending."""
    images: dict[str, list[Path]] = {}
    try:
        for path in sorted((folder / "JPEGImages").iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                images.setdefault(path.stem, []).append(path)
    except OSError as error:
        raise DataError(f"expected the images of {folder} in {folder / 'JPEGImages'} ({error.strerror})") from error
    return images


def _image_of(annotation: Path, page: _Page, listed: dict[str, list[Path]], folder: Path) -> Path:
    """The image of an annotation, out of those that lie in the folder: no name leads anywhere else."""
    candidates = listed.get(annotation.stem, [])
    if len(candidates) != 1:
        candidates = [path for path in listed.get(Path(page.filename).stem, []) if path.name == page.filename]
    if len(candidates) != 1:
        raise DataError(
            f"{annotation}: expected one image {annotation.stem}.jpg (or {', '.join(SUFFIXES)}) in "
            f"{folder / 'JPEGImages'}, found {len(listed.get(annotation.stem, []))}: add or remove it"
        )
    return candidates[0]


def _example(
    annotation: Path,
    page: _Page,
    image: Path,
    size: tuple[int, int],
    classes: Sequence[str],
    mending: Mending,
) -> AnnotatedImage:
    height, width = size
    if page.size is not None and page.size != (width, height):
        raise DataError(
            f"{annotation} line {page.size_line}: expected the size of {image}, {width}x{height}, "
            f"found {page.size[0]}x{page.size[1]}: mend the one that is wrong"
        )
    for thing in page.things:
        if thing.name not in classes:
            raise unknown_class(f"{annotation} line {thing.line}", thing.name, classes)
    boxes = np.array([thing.box for thing in page.things], np.float64).reshape(-1, 4)
    mended, kept = mending(boxes, size, [f"{annotation.name} line {thing.line}" for thing in page.things])
    mended = mended[kept]
    return AnnotatedImage(
        path=image,
        boxes=mended,
        classes=np.array([classes.index(thing.name) for thing in page.things], np.int32)[kept],
        crowd=np.zeros(len(mended), bool),
        difficult=np.array([thing.difficult for thing in page.things], bool)[kept],
        areas=(mended[:, 2] - mended[:, 0]) * (mended[:, 3] - mended[:, 1]),
    )


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_XML_BYTES:
            raise DataError(f"{path}: expected at most {MAX_XML_BYTES:,} bytes, got {size:,}: split it up")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


# One annotation -----------------------------------------------------------------------------------------------------


class _Thing(NamedTuple):
    line: int
    name: str
    box: tuple[float, float, float, float]  # "xyxy", may reach over the border
    difficult: bool


class _Page(NamedTuple):
    things: list[_Thing]
    filename: str
    size: tuple[int, int] | None  # width, height; None where the file does not tell
    size_line: int


class _Field(NamedTuple):
    text: str
    line: int


def _read(path: Path) -> _Page:
    """One XML file. Document types and entities, from which XML bombs are made, are refused."""
    reader = _Reader(path)
    try:
        defused_sax.parseString(_bytes(path), reader, forbid_dtd=True)
    except SAXParseException as error:
        raise DataError(
            f"{path} line {error.getLineNumber()}: expected XML, it is damaged there ({error.getMessage()}): mend it"
        ) from error
    except DefusedXmlException as error:
        raise DataError(
            f"{path} line {reader.line}: expected XML without DOCTYPE and entities, found one: remove it"
        ) from error
    except (ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected XML in UTF-8, it cannot be read ({error}): save it as UTF-8") from error
    things = [_to_thing(path, line, fields) for line, fields in reader.objects]
    sides = [_number(path, reader.fields.get(f"size/{side}"), 1, side, default=0) for side in ("width", "height")]
    line = reader.fields["size/width"].line if "size/width" in reader.fields else 1
    size = (round(sides[0]), round(sides[1])) if min(sides) > 0 else None
    return _Page(things, reader.fields.get("filename", _Field("", 1)).text, size, line)


class _Reader(ContentHandler):
    """Collects the texts of the elements that count, with their lines."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.locator: Any = None
        self.tags: list[str] = []
        self.text: list[str] = []
        self.fields: dict[str, _Field] = {}
        self.objects: list[tuple[int, dict[str, _Field]]] = []

    def setDocumentLocator(self, locator):
        self.locator = locator

    @property
    def line(self) -> int:
        return self.locator.getLineNumber() if self.locator is not None else 1

    def startElement(self, name, attrs):
        if not self.tags and name != "annotation":
            raise DataError(f"{self.path} line {self.line}: expected <annotation>, found <{name[:80]}>")
        if len(self.tags) == _MAX_DEPTH:
            raise DataError(f"{self.path} line {self.line}: expected at most {_MAX_DEPTH} elements inside each other")
        self.tags.append(name)
        self.text = []
        if self.tags == ["annotation", "object"]:
            if len(self.objects) == MAX_BOXES:
                raise DataError(f"{self.path} line {self.line}: expected at most {MAX_BOXES:,} objects, got more")
            self.objects.append((self.line, {}))

    def characters(self, content):
        self.text.append(content)

    def endElement(self, name):
        inside = self.tags[1:]
        if inside[:1] == ["object"]:
            fields, place, counts = self.objects[-1][1], "/".join(inside[1:]), _OF_AN_OBJECT
        else:
            fields, place, counts = self.fields, "/".join(inside), _OF_THE_IMAGE
        if place in counts:
            if place in fields:
                raise DataError(f"{self.path} line {self.line}: expected one <{name}>, found another: remove one")
            fields[place] = _Field("".join(self.text).strip(), self.line)
        self.tags.pop()


def _to_thing(path: Path, line: int, fields: dict[str, _Field]) -> _Thing:
    name = fields.get("name", _Field("", line)).text
    if not name:
        raise DataError(f"{path} line {line}: expected a <name> in the <object>, found none: add it")
    xmin, ymin, xmax, ymax = (_number(path, fields.get(f"bndbox/{side}"), line, side) for side in _SIDES)
    if xmin > xmax or ymin > ymax:
        raise DataError(
            f"{path} line {line}: expected xmin up to xmax and ymin up to ymax, "
            f"found x {xmin:g} to {xmax:g} and y {ymin:g} to {ymax:g}: exchange them"
        )
    difficult = fields.get("difficult", _Field("0", line))
    if difficult.text not in ("0", "1"):
        raise DataError(f"{path} line {difficult.line}: expected 0 or 1 as <difficult>, found {difficult.text[:80]!r}")
    # Without extent it stays so, instead of growing to one pixel.
    box = (xmin - 1 if xmin < xmax else xmin, ymin - 1 if ymin < ymax else ymin, xmax, ymax)
    return _Thing(line, name, box, difficult.text == "1")


def _number(path: Path, field: _Field | None, line: int, tag: str, default: float | None = None) -> float:
    if field is None:
        if default is not None:
            return default
        raise DataError(f"{path} line {line}: expected a <{tag}> in the <bndbox> of the <object>, found none: add it")
    try:
        number = float(field.text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{path} line {field.line}: expected a number as <{tag}>, found {field.text[:80]!r}: mend it")
    return number

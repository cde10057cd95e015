"""`kapps data`: what there is to train on, what is in one set, and a sheet of it to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kapps.cli.console import AsJson, print_facts, print_json, print_table, progress, waiting
from kapps.cli.list import shape
from kapps.cli.output import check_writable, written_whole
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from kapps.data import BoxDataset, Dataset

_TILE = 96  # pixels of an example's longer side on the sheet
_CAPTION = 14  # pixels of the line under it
_MOST_ON_SHEET = 1000

# COCO's sizes of things: the side of a square of the largest area that is one.
_SIZES = {"small": 32.0, "medium": 96.0, "large": float("inf")}


def command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A data set's name, a folder of images by class, a .npz file, or boxes: VOC_FOLDER, FILE.json."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part, in TFDS' words: train, test, train[:1000], ...")] = "train",
    data_dir: Annotated[Path | None, typer.Option(help="Where TensorFlow Datasets keeps its sets.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the first examples into this .png file.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many examples on the sheet, or scenes to write.")] = 100,
    out: Annotated[Path | None, typer.Option(help="scenes only: write generated scenes into this folder.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="scenes only: where the generator starts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List the data sets, or look into one of them."""
    if source is None:
        _list_sources(as_json)
        return
    if out is not None:
        _write_scenes(source, out, count, seed, as_json)
        return
    if sheet is not None:
        check_writable(sheet, suffixes=(".png",))
        if count > _MOST_ON_SHEET:
            raise DataError(f"a sheet shows at most {_MOST_ON_SHEET:,} examples, got --count {count}: ask for fewer")
    load_tensorflow()
    if _holds_boxes(source, data_dir):
        if sheet is not None:
            raise DataError(f"a sheet shows one label an example, {source} holds boxes: leave --sheet out")
        _show_boxes(source, split, data_dir, as_json)
        return
    with waiting(f"opening {source}"):
        import kapps.data

        data = kapps.data.load(source, split, data_dir=data_dir)
    if sheet is not None and data.kind != "image":
        raise DataError(f"expected images for --sheet, {source} holds {data.kind}: leave --sheet out")
    histogram = class_histogram(data)
    if sheet is not None:
        with written_whole(sheet) as part:
            contact_sheet(data, count).save(part)
    summary = {
        "name": data.name,
        "split": data.split,
        "kind": data.kind,
        "num_examples": sum(histogram.values()) if data.num_examples is None else data.num_examples,
        "input_shape": list(data.input_shape),
        "classes": histogram,
        "source": data.source,
        "licence": data.licence,
        "notes": list(data.notes),
    }
    if as_json:
        print_json(summary)
        return
    print_facts(
        {
            "name": f"{data.name} [{data.split}]",
            "examples": f"{summary['num_examples']:,}",
            "input": shape(data.input_shape) + f" {data.kind}",
            "source": data.source,
            "licence": data.licence,
            **({"sheet": sheet} if sheet is not None else {}),
        }
    )
    print_table(("class", "examples", ""), _bars(histogram), right=("examples",))
    for note in data.notes:
        print_facts({"note": note})


def class_histogram(data: Dataset) -> dict[str, int]:
    """How many examples each class has, by name; classes without an example are in it with 0.

    Where pixels are labelled, an example counts for every class that is in it.
    """
    import numpy as np

    counts = np.zeros(len(data.class_names), np.int64)
    labels = data.examples.map(lambda _, label: label).batch(256)
    with progress("counting", data.num_examples) as advance:
        for batch in labels.as_numpy_iterator():
            present = [np.unique(label) for label in batch] if batch.ndim > 1 else [batch]
            counts += np.bincount(np.concatenate(present), minlength=len(counts))
            advance(len(batch))
    return {name: int(number) for name, number in zip(data.class_names, counts, strict=True)}


def _holds_boxes(source: str, data_dir: Path | None) -> bool:
    """Whether a source is what `kapps.data.load_boxes` opens."""
    from kapps.data import coco, voc

    paths = [Path(source).expanduser(), *([data_dir / source] if data_dir is not None else [])]
    if source == "scene_boxes" or (source.partition("/")[0] in ("voc", "coco") and not paths[0].exists()):
        return True
    return any(
        path.suffix == ".json" or (path.is_dir() and (voc.is_voc(path) or bool(coco.annotation_files(path))))
        for path in paths
    )


def _show_boxes(source: str, split: str, data_dir: Path | None, as_json: bool) -> None:
    with waiting(f"opening {source}"):
        from kapps.data import load_boxes

        data = load_boxes(source, split, data_dir=data_dir)
    summary = box_summary(data)
    if as_json:
        print_json(summary)
        return
    print_facts(
        {
            "name": f"{data.name} [{data.split}]",
            "images": f"{summary['num_examples']:,}, {summary['images_without_boxes']:,} without a box",
            "boxes": f"{summary['num_boxes']:,}, {summary['difficult']:,} difficult, {summary['crowd']:,} of a crowd",
            "source": data.source,
            "licence": data.licence,
        }
    )
    print_table(("class", "boxes", ""), _bars(summary["classes"]), right=("boxes",))
    print_table(("size", "boxes", ""), _bars(summary["sizes"]), right=("boxes",))
    for note in data.notes:
        print_facts({"note": note})


def box_summary(data: BoxDataset) -> dict[str, Any]:
    """What is in a set of boxes, as plain Python.

    `classes` and `sizes` count boxes, also difficult ones and crowds; small, medium and large are COCO's: up to 32 and
    up to 96 pixels square, and the rest.
    """
    import numpy as np

    classes, sizes = np.zeros(data.num_classes, np.int64), np.zeros(len(_SIZES), np.int64)
    images = empty = difficult = crowd = 0
    with progress("counting", data.num_examples) as advance:
        # the pixels are not needed, but for their number
        for targets in data.examples.map(lambda image, targets: targets).as_numpy_iterator():
            images += 1
            empty += len(targets["classes"]) == 0
            difficult += int(targets["difficult"].sum())
            crowd += int(targets["crowd"].sum())
            classes += np.bincount(targets["classes"], minlength=data.num_classes)
            places = np.searchsorted([side**2 for side in _SIZES.values()][:-1], targets["areas"])
            sizes += np.bincount(places, minlength=len(_SIZES))
            advance()
    return {
        "name": data.name,
        "split": data.split,
        "kind": "boxes",
        "num_examples": images,
        "images_without_boxes": empty,
        "num_boxes": int(classes.sum()),
        "difficult": difficult,
        "crowd": crowd,
        "classes": {name: int(count) for name, count in zip(data.class_names, classes, strict=True)},
        "sizes": {name: int(count) for name, count in zip(_SIZES, sizes, strict=True)},
        "source": data.source,
        "licence": data.licence,
        "notes": list(data.notes),
    }


def contact_sheet(data: Dataset, count: int) -> Image.Image:
    """The first examples in a grid about as wide as high, each with its class under it."""
    import numpy as np
    from PIL import Image, ImageDraw

    tiles = [
        (_tile(image), ", ".join(data.class_names[present] for present in np.unique(label)))
        for image, label in data.take(count).examples.as_numpy_iterator()
    ]
    columns = max(1, round(len(tiles) ** 0.5))
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (_TILE + 4) + 4, rows * (_TILE + _CAPTION + 4) + 4), "white")
    draw = ImageDraw.Draw(page)
    for place, (tile, name) in enumerate(tiles):
        left = 4 + place % columns * (_TILE + 4)
        top = 4 + place // columns * (_TILE + _CAPTION + 4)
        page.paste(tile, (left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2))
        while draw.textlength(name) > _TILE:
            name = name[:-2] + "…"
        draw.text((left + _TILE // 2, top + _TILE + 1), name, fill="black", anchor="ma")
    return page


def _tile(pixels: np.ndarray) -> Image.Image:
    """One example uint8 [H, W, C] fitted into a tile; a small one grows by a whole number: its pixels stay visible."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    scale = _TILE / max(image.size)
    if scale >= 1:
        scale = min(4, int(scale))
        return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _bars(histogram: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    most = max(histogram.values(), default=0) or 1
    for name, number in histogram.items():
        yield name, f"{number:,}", "█" * round(30 * number / most)


def _list_sources(as_json: bool) -> None:
    from kapps.data import SOURCES

    if as_json:
        print_json([asdict(source) for source in SOURCES])
        return
    print_table(
        ("name", "what", "splits", "from", "licence"),
        (
            (
                source.name,
                source.title,
                ", ".join(f"{split} {size:,}" for split, size in source.splits.items()),
                source.needs,
                source.licence,
            )
            for source in SOURCES
        ),
        fold=("what", "splits", "licence"),
    )


def _write_scenes(source: str, out: Path, count: int, seed: int, as_json: bool) -> None:
    if source != "scenes":
        raise DataError(f"expected `kapps data scenes --out FOLDER`, got {source!r}: only generated scenes are written")
    load_tensorflow()
    import kapps.data

    with progress("writing scenes", count) as advance:
        folder = kapps.data.write_scenes(out, count, seed=seed, progress=lambda done: advance())
    written: dict[str, Any] = {"folder": str(folder), "num_scenes": count, "seed": seed}
    print_json(written) if as_json else print_facts(written)

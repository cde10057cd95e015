"""`kapps predict MODEL FILES...`: what an exported model sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kapps.cli.console import AsJson, print_error, print_json, print_table, progress
from kapps.cli.files import image_files
from kapps.cli.output import check_writable, written_whole
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError, KappsError, OutputError, RecipeError

if TYPE_CHECKING:
    from kapps.predict import Predictor

_TOP = 5  # classes, or numbers of an embedding, that a line shows unless said otherwise
_LEAST_SCORE = 0.5  # of an object that is shown unless said otherwise
_MOST_EXPLAINED = 12  # rows of the figure: more cannot be looked at


def command(
    model: Annotated[str, typer.Argument(help="An exported model: saved_models/NAME or saved_models/NAME/VERSION.")],
    files: Annotated[list[str], typer.Argument(help="Images, folders of images, or patterns such as 'scans/*.png'.")],
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many classes to show an image, the first ones first; 5. Of other kinds of models all."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of a segmentation: write the mask, one colour a class, as a .png as large as the image whose pixels "
            "are the classes' indices (255: not seen). For several images a folder."
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            help="Of a detector: the image with what was found in frames, as a .png. For several images a folder."
        ),
    ] = None,
    score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of a detector: show what has at least this score; 0.5.")
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Also draw which pixels mattered, into this .png, .pdf or .svg file.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What computes: openvino, onnx, litert, tensorflow; the first that there is unless given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an exported model sees in images.

    A segmentation answers with the classes in the image, their shares of its pixels and their colours in --out; --json
    names the written mask, it does not print it. An embedding answers with its numbers, a detector with the objects
    that it found: label, score, and left, top, right and bottom in pixels.

    A file that cannot be read is told on stderr and the others are answered all the same; the exit code is then 2.
    """
    if explain is not None:
        check_writable(explain, suffixes=(".png", ".pdf", ".svg"))
    paths, missing = image_files(files)
    if explain is not None and len(paths) > _MOST_EXPLAINED:
        raise OutputError(f"--explain draws at most {_MOST_EXPLAINED} images, got {len(paths)}: name fewer")
    masks = {} if out is None else _picture_files(paths, out, "mask")
    drawings = {} if draw is None else _picture_files(paths, draw, "drawing")
    for error in missing:
        print_error(error)
    bad = len(missing)
    answers: list[dict[str, Any]] = []
    if paths:
        load_tensorflow()
        import kapps

        predictor = kapps.load(model, engine=engine)
        kind = predictor.card.kind
        for option, given, right in (
            ("explain", explain, "classification"),
            ("out", out, "segmentation"),
            ("draw", draw, "detection"),
            ("score", score, "detection"),
        ):
            if given is not None and kind != right:
                raise RecipeError(f"--{option} is for a {right}, and {model} is of the kind {kind}: leave it out")
        with progress("predicting", len(paths)) as advance:
            for path in paths:
                try:
                    if kind == "detection":
                        answers.append(_detected(predictor, path, top, score, drawings.get(path)))
                    else:
                        answers.append(_ANSWERS[kind](predictor, path, top, masks.get(path)))
                except KappsError as error:
                    bad += 1
                    print_error(error if str(path) in str(error) else f"{path}: {error}")
                advance()
        if explain is not None and answers:
            _draw(predictor, [answer["file"] for answer in answers], explain)
    if as_json:
        print_json(answers)
    elif answers:
        _TABLES[kind](answers)
    if bad:
        raise typer.Exit(2)


def _picture_files(images: list[Path], out: Path, what: str) -> dict[Path, Path]:
    """Where the picture of each image goes: into the file, or where there are several images into the folder.

    Raises:
        OutputError: it cannot be written, or two pictures would have one name.
    """
    if len(images) == 1 and not out.is_dir():
        return {images[0]: check_writable(out, suffixes=(".png",))}
    if out.suffix or out.is_file():
        raise OutputError(f"expected a folder for the {what}s of {len(images)} images, got {out}: name a folder")
    names: dict[str, Path] = {}
    for image in images:
        other = names.setdefault(f"{image.stem}.png", image)
        if other != image:
            raise OutputError(f"the {what}s of {other} and {image} would both be {image.stem}.png: predict them apart")
    check_writable((out if out.is_dir() else out.parent) / f"{what}.png")
    return {image: out / name for name, image in names.items()}


def _classified(predictor: Predictor, path: Path, top: int | None, _: Path | None) -> dict[str, Any]:
    """The predictor's answer for one file, with the `top` most probable classes of all that it knows."""
    answer = predictor(path)
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    return {
        "file": str(path),
        "label": answer["label"],
        "score": answer["score"],
        "top_k": [{"label": label, "score": score} for label, score in ranked[: top or _TOP]],
    }


def _segmented(predictor: Predictor, path: Path, top: int | None, out: Path | None) -> dict[str, Any]:
    """The classes in one image and their colours; the mask goes into a file, or nowhere."""
    from kapps import masks

    answer = predictor(path)
    colours = {
        label: f"#{bytes(colour).hex()}"
        for label, colour in zip(predictor.labels, masks.palette(predictor.labels), strict=True)
    }
    if out is not None:
        out.parent.mkdir(exist_ok=True)
        with written_whole(out) as part:
            masks.write_png(answer["mask"], predictor.labels, part)
    return {
        "file": str(path),
        "size": list(answer["mask"].shape),
        "classes": [{**region, "colour": colours[region["label"]]} for region in answer["classes"][:top]],
        "mask": None if out is None else str(out),
    }


def _detected(
    predictor: Predictor, path: Path, top: int | None, score: float | None, drawing: Path | None
) -> dict[str, Any]:
    """What was found in one image; the image with its frames goes into a file, or nowhere."""
    least = _LEAST_SCORE if score is None else score
    objects = [found for found in predictor(path) if found["score"] >= least][:top]
    if drawing is not None:
        from PIL import Image

        from kapps.boxes.drawing import draw
        from kapps.data.images import read_image

        drawing.parent.mkdir(exist_ok=True)
        with written_whole(drawing) as part:
            Image.fromarray(draw(read_image(path), objects, predictor.labels)).save(part, format="PNG")
    return {"file": str(path), "objects": objects, "drawing": None if drawing is None else str(drawing)}


def _embedded(predictor: Predictor, path: Path, _top: int | None, _out: Path | None) -> dict[str, Any]:
    return {"file": str(path), **predictor(path)}


def _print_classified(answers: list[dict[str, Any]]) -> None:
    def rest(answer: dict[str, Any]) -> str:
        return ", ".join(f"{place['label']} {place['score']:.2%}" for place in answer["top_k"][1:])

    print_table(
        ("file", "label", "score", "then"),
        ((answer["file"], answer["label"], f"{answer['score']:.2%}", rest(answer)) for answer in answers),
        right=("score",),
        fold=("then",),
    )


def _print_segmented(answers: list[dict[str, Any]]) -> None:
    """A row for every class of every image: the legend of its mask."""
    print_table(
        ("file", "class", "colour", "share", "score"),
        (
            (answer["file"], region["label"], region["colour"], f"{region['share']:.2%}", f"{region['score']:.2%}")
            for answer in answers
            for region in answer["classes"]
        ),
        right=("share", "score"),
    )


def _print_embedded(answers: list[dict[str, Any]]) -> None:
    print_table(
        ("file", "numbers", "the first"),
        (
            (
                answer["file"],
                len(answer["embedding"]),
                ", ".join(f"{number:.3f}" for number in answer["embedding"][:_TOP]),
            )
            for answer in answers
        ),
        right=("numbers",),
    )


def _print_detected(answers: list[dict[str, Any]]) -> None:
    """A row for every object; an image without any has a row that says so."""
    nothing = {"label": "nothing", "score": None, "box": ()}
    print_table(
        ("file", "label", "score", "left", "top", "right", "bottom"),
        (
            (
                answer["file"],
                found["label"],
                "" if found["score"] is None else f"{found['score']:.2%}",
                *(f"{side:.1f}" for side in found["box"] or ()),
                *([""] * (4 - len(found["box"]))),
            )
            for answer in answers
            for found in answer["objects"] or [nothing]
        ),
        right=("score", "left", "top", "right", "bottom"),
    )


_ANSWERS = {"classification": _classified, "segmentation": _segmented, "embedding": _embedded}
_TABLES = {
    "classification": _print_classified,
    "segmentation": _print_segmented,
    "embedding": _print_embedded,
    "detection": _print_detected,
}


def _draw(predictor: Predictor, files: list[str], out: Path) -> None:
    """A row an image: the image as the network sees it, and what each method says about the predicted class."""
    from matplotlib.figure import Figure

    from kapps.explaining import BUILT_IN, attribute, to_image

    columns = 1 + len(BUILT_IN)
    figure = Figure(figsize=(2.6 * columns, 2.9 * len(files)), layout="constrained")
    axes = figure.subplots(len(files), columns, squeeze=False)
    with progress("explaining", len(files) * len(BUILT_IN)) as advance:
        for row, file in zip(axes, files, strict=True):
            image = predictor.preprocess(file)[0]
            low, high = image.min(), image.max()
            shown = (image - low) / ((high - low) or 1)
            row[0].imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", interpolation="nearest")
            row[0].set_title(Path(file).name, fontsize=9, parse_math=False)
            for axis, method in zip(row[1:], BUILT_IN, strict=True):
                title = method.replace("_", " ")
                try:
                    found = attribute(predictor, image, method=method)
                except DataError:  # Grad-CAM needs a layer with positions
                    axis.set_title(f"{title}\nnot for this network", fontsize=9)
                else:
                    axis.imshow(to_image(found, image), interpolation="nearest")
                    title += f"\n{predictor.labels[found.target]} {found.score:.2%}"
                    axis.set_title(title, fontsize=9, parse_math=False)
                advance()
    for axis in axes.flat:
        axis.set_axis_off()
    with written_whole(out) as part:
        figure.savefig(part, dpi=120)

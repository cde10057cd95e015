"""`kapps predict MODEL FILES...`: what an exported model sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kapps.cli.console import AsJson, print_error, print_json, print_table, progress
from kapps.cli.files import image_files
from kapps.cli.output import check_writable, written_whole
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError, KappsError, OutputError

if TYPE_CHECKING:
    from kapps.predict import Predictor

_MOST_EXPLAINED = 12  # rows of the figure: more cannot be looked at


def command(
    model: Annotated[str, typer.Argument(help="An exported model: saved_models/NAME or saved_models/NAME/VERSION.")],
    files: Annotated[list[str], typer.Argument(help="Images, folders of images, or patterns such as 'scans/*.png'.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show an image, the most probable first.")] = 5,
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

    A file that cannot be read is told on stderr and the others are answered all the same; the exit code is then 2.
    """
    if explain is not None:
        check_writable(explain, suffixes=(".png", ".pdf", ".svg"))
    paths, missing = image_files(files)
    if explain is not None and len(paths) > _MOST_EXPLAINED:
        raise OutputError(f"--explain draws at most {_MOST_EXPLAINED} images, got {len(paths)}: name fewer")
    for error in missing:
        print_error(error)
    bad = len(missing)
    answers: list[dict[str, Any]] = []
    if paths:
        load_tensorflow()
        import kapps

        predictor = kapps.load(model, engine=engine)
        with progress("predicting", len(paths)) as advance:
            for path in paths:
                try:
                    answers.append(_answer(predictor, path, top))
                except KappsError as error:
                    bad += 1
                    print_error(error if str(path) in str(error) else f"{path}: {error}")
                advance()
        if explain is not None and answers:
            _draw(predictor, [answer["file"] for answer in answers], explain)
    if as_json:
        print_json(answers)
    elif answers:
        print_table(
            ("file", "label", "score", "then"),
            ((answer["file"], answer["label"], f"{answer['score']:.2%}", _rest(answer)) for answer in answers),
            right=("score",),
            fold=("then",),
        )
    if bad:
        raise typer.Exit(2)


def _answer(predictor: Predictor, path: Path, top: int) -> dict[str, Any]:
    """The predictor's answer for one file, with the `top` most probable classes of all that it knows."""
    answer = predictor(path)
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    return {
        "file": str(path),
        "label": answer["label"],
        "score": answer["score"],
        "top_k": [{"label": label, "score": score} for label, score in ranked[:top]],
    }


def _rest(answer: dict[str, Any]) -> str:
    return ", ".join(f"{place['label']} {place['score']:.2%}" for place in answer["top_k"][1:])


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

"""`kapps explain MODEL FILES...`: why an exported model says what it says about images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kapps.cli.console import AsJson, print_error, print_json, print_table, progress
from kapps.cli.files import image_files
from kapps.cli.output import check_writable
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError, KappsError, OutputError, UnknownNameError

if TYPE_CHECKING:
    from kapps.explaining.explain import Explanation
    from kapps.predict import Predictor

_MOST = 12  # files of one picture or page: more cannot be looked at


def command(
    model: Annotated[str, typer.Argument(help="An exported model: saved_models/NAME or saved_models/NAME/VERSION.")],
    files: Annotated[list[str], typer.Argument(help="Images, folders of images, or patterns such as 'scans/*.png'.")],
    method: Annotated[
        str,
        typer.Option(help="How: grad_cam, integrated_gradients, lime, ...; several with commas; all built-in: all."),
    ] = "grad_cam",
    target: Annotated[
        str | None, typer.Option(help="The class to explain, by name or number; each image's own answer unless given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture (.png) or page (.html) to write.")] = Path("why.png"),
    layers: Annotated[
        bool, typer.Option("--layers", help="Instead, print a row a layer: activations, dead units, receptive field.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which parts of images made a model say what it says.

    Writes one picture or page with all of it, and prints a row a file and method. A file that cannot be read is told on
    stderr and the others are explained all the same; the exit code is then 2.
    """
    methods = _methods(method)
    paths, missing = image_files(files)
    if not layers:
        check_writable(out, suffixes=(".png", ".html"))
        if len(paths) > _MOST:
            raise OutputError(f"kapps explain shows at most {_MOST} images, got {len(paths)}: name fewer")
    for error in missing:
        print_error(error)
    if not paths:
        raise typer.Exit(2)
    load_tensorflow()
    from kapps.predict import load

    predictor = load(model, engine="tensorflow")
    bad = len(missing)
    if layers:
        _print_layers(predictor, paths, as_json)
    else:
        found, failed = _explained(predictor, paths, methods, _class(predictor, target))
        bad += failed
        if found:
            from kapps.explaining.pictures import save

            save(found, out)
        _print(found, out, as_json)
    if bad:
        raise typer.Exit(2)


def _methods(words: str) -> tuple[str, ...]:
    from kapps.explaining import BUILT_IN, METHODS

    if words == "all":
        return BUILT_IN
    methods = tuple(word.strip() for word in words.split(","))
    for method in methods:
        if method not in METHODS:
            raise UnknownNameError("method", method, (*METHODS, "all"))
    return methods


def _class(predictor: Predictor, target: str | None) -> str | int | None:
    """A word is a class' name first, and its number if there is no such name."""
    if target is None or target in predictor.labels or not target.isdecimal():
        return target
    return int(target)


def _explained(
    predictor: Predictor, paths: list[Path], methods: tuple[str, ...], target: str | int | None
) -> tuple[list[tuple[str, Explanation]], int]:
    """(file, explanation) pairs, and how many files could not be explained."""
    from kapps.explaining.explain import explain

    found: list[tuple[str, Explanation]] = []
    bad = 0
    with progress("explaining", len(paths) * len(methods)) as advance:
        for path in paths:
            reasons: list[KappsError] = []
            before = len(found)
            for method in methods:
                try:
                    found.append((str(path), explain(predictor, path, method, target)))
                except DataError as error:  # the file, or a method that this network is not made for
                    reasons.append(error)
                advance()
            if len(found) == before or (reasons and len(methods) == 1):
                bad += 1
                print_error(reasons[0] if str(path) in str(reasons[0]) else f"{path}: {reasons[0]}")
    return found, bad


def _print(found: list[tuple[str, Explanation]], out: Path, as_json: bool) -> None:
    if as_json:
        print_json([{"file": file, **explanation.facts, "out": str(out)} for file, explanation in found])
    elif found:
        print_table(
            ("file", "method", "class", "score"),
            ((file, one.method, one.label, f"{one.score:.2%}") for file, one in found),
            right=("score",),
        )
        typer.echo(f"\nwritten: {out}")


def _print_layers(predictor: Predictor, paths: list[Path], as_json: bool) -> None:
    from dataclasses import asdict

    from kapps.explaining.layer_report import COLUMNS, layer_report

    rows = layer_report(predictor, [str(path) for path in paths])
    if as_json:
        answer: list[dict[str, Any]] = [asdict(row) for row in rows]
        print_json(answer)
    else:
        print_table(COLUMNS, (row.cells() for row in rows), right=COLUMNS[3:])

"""`kapps evaluate MODEL DATA`: how often a model is right, per class, and what it takes for what; a detector's average
precision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kapps.cli.console import AsJson, print_facts, print_json, print_table, waiting
from kapps.cli.files import read_preprocessing
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import RecipeError

_MOST_CLASSES_IN_MATRIX = 20  # a wider confusion matrix fits no terminal; --json has it whole


def command(
    model: Annotated[
        str, typer.Argument(help="An exported model (saved_models/NAME), the folder of a run, or a .keras file.")
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="A data set's name, a folder of images by class, or a .npz file; for a detector a folder in Pascal "
            "VOC's form or a COCO file."
        ),
    ],
    split: Annotated[str, typer.Option(help="Which part, in TFDS' words: test, train[:1000], ...")] = "test",
    data_dir: Annotated[Path | None, typer.Option(help="Where TensorFlow Datasets keeps its sets.")] = None,
    preprocessing: Annotated[
        Path | None,
        typer.Option(help="JSON file with the preprocessing of a .keras file. The others bring their own."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a step; it does not change the result.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Measure a model on labelled data."""
    if model.endswith(".keras") and preprocessing is None:
        raise RecipeError(f"{model} does not say how images become its input: give --preprocessing FILE.json")
    steps = None if preprocessing is None else read_preprocessing(preprocessing)
    load_tensorflow()
    with waiting(f"evaluating {model} on {data} [{split}]"):
        import kapps

        result = kapps.evaluate(model, data, split=split, data_dir=data_dir, preprocessing=steps, batch_size=batch_size)
    if as_json:
        print_json(result)
        return
    if "AP50" in result:
        _print_detection(result)
        return
    classes = list(result["per_class"])
    print_facts(
        {
            **({"mean IoU": f"{result['mean_iou']:.2%}"} if "mean_iou" in result else {}),
            "accuracy": f"{result['accuracy']:.2%}",
            "error": f"{result['error']:.2%}",
            "loss": f"{result['loss']:.4f}",
            "examples": f"{result['num_examples']:,}",
        }
    )
    typer.echo()
    shares = ["iou", "precision", "recall"] if "mean_iou" in result else ["precision", "recall"]
    counted = "pixels" if "mean_iou" in result else "examples"
    headings = ["IoU" if name == "iou" else name for name in shares]
    print_table(
        ("class", *headings, counted),
        (
            (name, *(_percent(figures[share]) for share in shares), f"{figures['count']:,}")
            for name, figures in result["per_class"].items()
        ),
        right=(*headings, counted),
    )
    if len(classes) <= _MOST_CLASSES_IN_MATRIX:
        typer.echo("\nconfusion: rows are the true classes, columns the answers")
        print_table(
            ("", *classes),
            ((name, *row) for name, row in zip(classes, result["confusion"], strict=True)),
            right=classes,
        )


def _print_detection(result: dict[str, Any]) -> None:
    print_facts(
        {
            "AP": _percent(result["AP"]),
            "AP50": _percent(result["AP50"]),
            "AP75": _percent(result["AP75"]),
            "VOC's AP": _percent(result["VOC_AP"]),
            "images": f"{result['num_examples']:,}",
            "seconds an image": f"{result['seconds_an_image']:.3f}",
        }
    )
    typer.echo()
    print_table(
        ("class", "AP", "AP50", "boxes"),
        (
            (name, _percent(figures["AP"]), _percent(figures["AP50"]), f"{figures['count']:,}")
            for name, figures in result["per_class"].items()
        ),
        right=("AP", "AP50", "boxes"),
    )


def _percent(share: float | None) -> str:
    """A share as a percentage; `-` where there was nothing to take it of."""
    return "-" if share is None else f"{share:.2%}"

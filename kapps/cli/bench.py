"""`kapps bench MODEL`: how long one answer takes, beside the network alone and Keras' own predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kapps.cli.console import AsJson, console, print_json, print_table, waiting
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError


def command(
    model: Annotated[str, typer.Argument(help="An exported model: saved_models/NAME or saved_models/NAME/VERSION.")],
    image: Annotated[
        Path | None, typer.Option(help="An image file; a made-up one of the input's size unless given.")
    ] = None,
    calls: Annotated[int, typer.Option(min=1, help="Calls of the model, and of its network alone.")] = 1000,
    keras_calls: Annotated[int, typer.Option(min=0, help="Calls of Keras' predict to compare with; 0: none.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure how long one answer takes."""
    data = None
    if image is not None:
        try:
            data = image.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {image}: {error.strerror}; check the path") from None
    load_tensorflow()
    with waiting(f"measuring {model}"):
        from kapps.bench import bench

        result = bench(model, data, calls=calls, keras_calls=keras_calls)
    if as_json:
        print_json(result)
        return
    whole = result["predictor"]["median"]
    rows = [
        ("from the image's bytes", result["predictor"]),
        ("the network alone", result["network"]),
        ("keras predict", result["keras_predict"]),
    ]
    print_table(
        ("single answer", "median ms", "90 %", "99 %", "calls", "times the first"),
        (
            (
                name,
                f"{row['median']:.2f}",
                f"{row['p90']:.2f}",
                f"{row['p99']:.2f}",
                row["calls"],
                f"{row['median'] / whole:.2f}",
            )
            for name, row in rows
            if row is not None
        ),
        right=("median ms", "90 %", "99 %", "calls", "times the first"),
    )
    console().print(f"\n{result['image']}; {result['cpus']} processors, {result['machine']}")

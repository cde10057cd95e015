"""`kapps list`: the catalogue, or the part of it that matches. As JSON it has the detectors with `--task detection`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from kapps import catalog
from kapps.cli.console import AsJson, print_json, print_table


def command(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, e.g. 'lenet*'.")] = "*",
    task: Annotated[
        str | None, typer.Option(help="Only what is for this task, e.g. classification or detection.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures, and the detectors that are built on them."""
    detectors = [catalog.detector_info(name) for name in catalog.list_detectors(pattern) if task in (None, "detection")]
    entries = [] if task == "detection" else [catalog.info(name) for name in catalog.list_models(pattern, task=task)]
    if as_json:
        print_json([asdict(entry) for entry in (detectors if task == "detection" else entries)])
        return
    if entries or not detectors:
        _print_architectures(entries)
    if detectors:
        if entries:
            typer.echo()
        print_table(
            ("detector", "title", "year", "weights"),
            ((entry.name, entry.title, entry.year, ", ".join(entry.weights)) for entry in detectors),
            right=("year",),
            fold=("title",),
        )


def _print_architectures(entries: list[catalog.Entry]) -> None:
    print_table(
        ("name", "title", "year", "params", "input", "task"),
        (
            (entry.name, entry.title, entry.year, f"{entry.params:,}", shape(entry.input_shape), entry.task)
            for entry in entries
        ),
        right=("year", "params"),
        fold=("title",),
    )


def shape(dimensions: Iterable[int | None]) -> str:
    """`(28, 28, 1)` -> `28x28x1`, with `?` for a size that varies."""
    return "x".join("?" if size is None else str(size) for size in dimensions)

"""`kapps list`: the catalogue, or the part of it that matches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from kapps import catalog
from kapps.cli.console import AsJson, print_json, print_table


def command(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, e.g. 'lenet*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only architectures for this task, e.g. classification.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures."""
    entries = [catalog.info(name) for name in catalog.list_models(pattern, task=task)]
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
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

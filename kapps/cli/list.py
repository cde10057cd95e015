"""`kapps list`: the catalogue, or the part of it that matches. As JSON it has the detectors with `--task detection`
and what learns without labels with `--task features`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any

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
    """List the architectures, the detectors that are built on them, and what learns features without labels."""
    detectors = [catalog.detector_info(name) for name in catalog.list_detectors(pattern) if task in (None, "detection")]
    learners = [catalog.learner_info(name) for name in catalog.list_learners(pattern) if task in (None, "features")]
    others: dict[str | None, list[Any]] = {"detection": detectors, "features": learners}
    entries = [] if task in others else [catalog.info(name) for name in catalog.list_models(pattern, task=task)]
    if as_json:
        print_json([asdict(entry) for entry in others.get(task, entries)])
        return
    printers: list[tuple[Callable[[Any], None], list[Any]]] = [
        (_print_architectures, entries),
        (_print_detectors, detectors),
        (_print_learners, learners),
    ]
    shown = [(printer, some) for printer, some in printers if some] or printers[:1]
    for number, (printer, some) in enumerate(shown):
        if number:
            typer.echo()
        printer(some)


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


def _print_detectors(entries: list[catalog.DetectorEntry]) -> None:
    print_table(
        ("detector", "title", "year", "weights"),
        ((entry.name, entry.title, entry.year, ", ".join(entry.weights)) for entry in entries),
        right=("year",),
        fold=("title",),
    )


def _print_learners(entries: list[catalog.LearnerEntry]) -> None:
    print_table(
        ("learner", "title", "year", "params", "data"),
        ((entry.name, entry.title, entry.year, f"{entry.params:,}", shape(entry.data_shape)) for entry in entries),
        right=("year", "params"),
        fold=("title",),
    )


def shape(dimensions: Iterable[int | None]) -> str:
    """`(28, 28, 1)` -> `28x28x1`, with `?` for a size that varies."""
    return "x".join("?" if size is None else str(size) for size in dimensions)

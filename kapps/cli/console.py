"""What all commands share for talking: tables and JSON on stdout, progress and errors on stderr.

Rich is imported inside the functions that draw: the others answer sooner without it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]

# In a pipe nothing may wrap or be cut: the next program reads whole lines. No table of ours is wider than this.
_PIPE_WIDTH = 10_000


def console(stream: IO[str] | None = None) -> Console:
    """A rich console on `stream` (stdout unless said otherwise) that prints text as it is, without markup."""
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def print_json(result: Any) -> None:
    """Write one JSON document to stdout; it holds plain Python values only."""
    sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def print_error(message: object) -> None:
    """Write `error: <message>` to stderr, as one line whatever the message holds."""
    sys.stderr.write("error: " + " ".join(str(message).split()) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), fold: Sequence[str] = ()
) -> None:
    """Write a table to stdout.

    Args:
        columns: the headings.
        rows: the cells, one sequence a row.
        right: the headings of the columns of numbers.
        fold: the headings of the columns that may wrap on a narrow terminal; names never do.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    cells = [[str(cell) for cell in row] for row in rows]
    for place, column in enumerate(columns):
        # What is asked for by its name must be readable: the first column is never cut.
        width = max((len(row[place]) for row in cells), default=0) if place == 0 else None
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column not in fold, min_width=width
        )
    for row in cells:
        table.add_row(*row)
    console().print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Write `name  value` lines to stdout, the values under one another."""
    width = max(len(name) for name in facts)
    sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in facts.items())


def _counting_bar() -> Progress:
    """On stderr: what is done, of how much, and the time left; silent where stderr is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Any]:
    """A progress bar on stderr with the time left; silent where stderr is no terminal.

    Yields:
        a function that moves the bar on: `advance(steps=1)`.
    """
    with _counting_bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps=1: bar.advance(task, steps)


@contextmanager
def waiting(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """A spinner with the elapsed time on stderr, for work of unknown length; silent where stderr is no terminal.

    Yields:
        a function for a part of which more is known, a download: `received(bytes so far, bytes in all or None)` shows
        these, and the time left.
    """
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=None, amount="")

        def received(have: int, total: int | None) -> None:
            amount = f"{have / 1e6:,.0f} MB" if total is None else f"{have / 1e6:,.0f} of {total / 1e6:,.0f} MB"
            if have == total:  # what follows is of unknown length again
                bar.update(task, total=None, amount="")
            else:
                bar.update(task, completed=have, total=total, amount=amount)

        yield received


@contextmanager
def steps_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A line for every step of long work on stderr, with the time left; silent where stderr is no terminal.

    Yields:
        a function `progress(step, done, of)`, with `of` 0 where nobody knows; a new step begins a new line.
    """
    with _counting_bar() as bar:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, of: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=None)
            bar.update(tasks[step], completed=done, total=of or None)

        yield show

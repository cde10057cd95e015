"""`kapps tables` (hidden): writes the generated tables of the README, or checks that they are current.

The catalogue's table comes from `kapps.catalog`, the results from the `<name>.results.json` files that measuring
writes beside the recipes and experiments. Each stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; the rest
is left alone.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kapps import catalog, paths
from kapps.cli.console import progress
from kapps.cli.list import shape
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError, OutputError

# Beside what was measured: recipes and the tasks' experiments.
MEASURED = (paths.PACKAGE / "recipes", paths.PACKAGE / "tasks")
README = paths.PACKAGE.parent / "README.md"


def command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 when a table is stale.")] = False,
    readme: Annotated[Path, typer.Option(help="The page that holds the tables.")] = README,
    recipes: Annotated[
        Path | None, typer.Option(help="The folder with the *.results.json files; default kapps' own.")
    ] = None,
    flops: Annotated[
        bool, typer.Option("--flops", help="Count the float operations of all architectures anew.")
    ] = False,
) -> None:
    """Write the generated tables of the README."""
    if flops:
        count_all()
    try:
        page = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"expected a readable page at {readme}, got: {error.strerror}; name it with --readme") from None
    tables = (catalogue_table(), detectors_table(), learners_table())
    current = fill(page, "catalogue", "\n\n".join(tables))
    current = fill(current, "results", results_table(read_results(*([recipes] if recipes else MEASURED))))
    if current == page:
        return
    if check:
        sys.stderr.write(f"{readme.name} is stale: run `kapps tables` and commit what it writes\n")
        raise typer.Exit(1)
    try:
        beside = readme.with_name(readme.name + ".partial")
        beside.write_text(current, encoding="utf-8")
        os.replace(beside, readme)
    except OSError as error:
        raise OutputError(f"cannot write {readme}: {error.strerror}") from None


def count_all() -> None:
    """Write `kapps/flops.json`: the float operations of every architecture for one input."""
    load_tensorflow()
    from kapps.exporting.flops import count_flops_of

    names = catalog.list_models()
    with progress("counting", len(names)) as advance:
        counts = {}
        for name in names:
            counts[name] = count_flops_of(name)
            advance()
    file = paths.PACKAGE / "flops.json"
    beside = file.with_name(file.name + ".partial")
    beside.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, file)
    catalog._flops.cache_clear()


def operations(count: int | None) -> str:
    """`4.1 G` for 4,100,000,000."""
    if count is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def fill(page: str, name: str, content: str) -> str:
    """`page` with `content` between the markers of `name`."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise DataError(
            f"expected one line {begin} and, after it, one line {end} in the page: put them where the table goes"
        )
    before, rest = page.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def catalogue_table() -> str:
    """Every architecture as one row, in the catalogue's order."""
    return markdown(
        ("name", "architecture", "year", "input", "task", "parameters", "FLOPs", "paper"),
        [
            (
                f"`{e.name}`",
                e.title,
                e.year,
                shape(e.input_shape),
                e.task,
                f"{e.params:,}",
                operations(catalog.flops(e.name)),
                f"[{e.paper}]({e.url})" if e.url else e.paper,
            )
            for e in catalog.ENTRIES
        ],
        right=("year", "parameters", "FLOPs"),
    )


def detectors_table() -> str:
    """Every detector as one row."""
    return markdown(
        ("name", "detector", "year", "paper"),
        [(f"`{e.name}`", e.title, e.year, f"[{e.paper}]({e.url})") for e in catalog.DETECTORS],
        right=("year",),
    )


def learners_table() -> str:
    """Everything that learns without labels as one row."""
    return markdown(
        ("name", "learner without labels", "year", "data", "parameters", "paper"),
        [
            (
                f"`{e.name}`",
                e.title,
                e.year,
                shape(e.data_shape),
                f"{e.params:,}",
                f"[{e.paper}]({e.url})" if e.url else e.paper,
            )
            for e in catalog.LEARNERS
        ],
        right=("year", "parameters"),
    )


def read_results(*folders: Path) -> list[dict[str, Any]]:
    """The measured results in and under the folders, in each sorted by file name.

    Raises:
        DataError: a file is not JSON, or lacks what a row of the table needs.
    """
    results = []
    files = [sorted(folder.rglob("*.results.json"), key=lambda file: file.name) for folder in folders]
    for file in itertools.chain(*files):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"expected JSON in {file.name}, got: {error}; measure it anew") from None
        needed = {"recipe", "title", "command", "seeds"}
        needed |= {"cases", "finding"} if result.get("kind") == "study" else {"data", "metric", "median", "min", "max"}
        if missing := sorted(needed - result.keys()):
            raise DataError(f"expected the key {missing[0]!r} in {file.name}, got {sorted(result)}; measure it anew")
        results.append(result)
    return results


def results_table(results: Sequence[Mapping[str, Any]]) -> str:
    """One table of all recipes' results, then a table a study."""
    parts = []
    if runs := [result for result in results if result.get("kind") != "study"]:
        parts.append(
            markdown(
                ("recipe", "data", "metric", "must reach", "median (min to max)", "seeds", "reference", "time a run"),
                [_run_row(run) for run in runs],
                right=("must reach", "median (min to max)", "seeds", "time a run"),
            )
        )
        parts.append("\n".join(f"- {run['recipe']}: `{run['command']}`" for run in runs))
        if machines := sorted({run["machine"] for run in runs if run.get("machine")}):
            parts.append("Measured on " + "; ".join(machines) + ".")
    for study in (result for result in results if result.get("kind") == "study"):
        metric = study.get("metric", "test accuracy")
        parts.append(f"**{study['title']}** (`{study['command']}`, {seeds(study['seeds'])})")
        parts.append(
            markdown(
                ("case", f"{metric}, median (min to max)"),
                [(case["label"], spread(case, metric)) for case in study["cases"]],
                right=(f"{metric}, median (min to max)",),
            )
        )
        parts.append(study["finding"])
    return "\n\n".join(parts) if parts else "No recipe has been measured yet."


def _run_row(run: Mapping[str, Any]) -> tuple[object, ...]:
    metric, bar = run["metric"], run.get("bar")
    measured = spread(run, metric)
    goal = ""
    if bar is not None:
        smaller_is_better = "error" in metric or "loss" in metric
        goal = f"{'<' if smaller_is_better else '≥'} {figure(bar, metric)}"
        reached = run["median"] < bar if smaller_is_better else run["median"] >= bar
        measured = f"**{measured}**" if reached else f"{measured}, missed"
    return (
        f"[{run['title']}](kapps/recipes/{run['recipe']}.py)",
        run["data"],
        metric,
        goal,
        measured,
        len(run["seeds"]),
        run.get("reference", ""),
        duration(run["seconds"]) if run.get("seconds") else "",
    )


def spread(case: Mapping[str, Any], metric: str) -> str:
    """`99.31 % (99.26 to 99.36)`; of a single run its figure alone."""
    if len(case.get("values") or ()) == 1:
        return figure(case["median"], metric)
    low, high = (figure(case[end], metric).removesuffix(" %") for end in ("min", "max"))
    return f"{figure(case['median'], metric)} ({low} to {high})"


def figure(value: float, metric: str) -> str:
    """An accuracy, error or IoU as a percentage, anything else with four significant digits."""
    return f"{100 * value:.2f} %" if re.search(r"accuracy|error|IoU", metric) else f"{value:.4g}"


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s` or `1 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def seeds(numbers: Sequence[int]) -> str:
    """`1 seed` or `5 seeds`."""
    return f"{len(numbers)} seed" + ("s" if len(numbers) != 1 else "")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> str:
    """A table in GitHub's Markdown; a `|` in a cell is escaped."""
    lines = [columns, ["---:" if column in right else "---" for column in columns], *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in line) + " |" for line in lines
    )

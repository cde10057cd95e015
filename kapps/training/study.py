"""Several seeds of one recipe, and studies: cases side by side. What they measure is written as JSON, never by hand."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import keras

from kapps.errors import KappsError, TrainingError
from kapps.training import fit
from kapps.training.callbacks import read_log
from kapps.training.plots import plot_curves, plot_study
from kapps.training.recipe import (
    DetectionRecipe,
    Expected,
    ExpectedBoxes,
    LearnerRecipe,
    Recipe,
    Study,
    change,
    describes,
    from_dict,
    load_recipe,
    recipe_module_file,
    to_dict,
)
from kapps.training.run_folder import write_json


def run_seeds(
    name: str,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    resume: bool = True,
    jobs: int = 1,
    record: bool = False,
    report: Callable[[str], None] = lambda line: None,
    train: Callable[..., Any] = fit.train,
) -> dict[str, Any]:
    """Run a recipe or a study once for every seed and sum it up: median and range.

    Every run has its own folder and goes on where it was, so an interrupted series costs at most one epoch a job.

    Args:
        name: a recipe or study that comes with kapps.
        out: the folder of the series, default `runs/<name>`; `results.json` and `results.png` are written into it.
        jobs: runs at the same time, each with its share of the processor's cores. Small networks do not fill two cores:
            two jobs of one thread each get through more than one job of two threads.
        record: also write `<name>.results.json` and `<name>.png` beside the recipe (for those who keep kapps).
        report: called with a line whenever a run ends.
        train: what trains one recipe: `kapps.tasks.train.train` for those of detectors.

    Returns:
        what `results.json` holds: `recipe`, `title`, `command`, `seeds`, and `values`, `median`, `min`, `max` (test
        accuracy, mean IoU where pixels are labelled, AP50 of boxes), for a study the same for each of its `cases`.

    Raises:
        TrainingError: a run failed; the line is that of the run.
    """
    recipe = load_recipe(name)
    folder = Path(out) if out is not None else Path("runs") / name
    cases: dict[str, Any] = (
        {label: recipe.recipe(label) for label in recipe.cases} if isinstance(recipe, Study) else {"": recipe}
    )
    trained_as = recipe.trained_as if isinstance(recipe, Study) else {}
    plan = [
        _Planned(
            change(case, {**(changes or {}), "seed": seed}),
            folder / slug(label) / f"seed{seed}",
            folder / slug(trained_as[label]) / f"seed{seed}" if label in trained_as else None,
        )
        for label, case in cases.items()
        for seed in seeds
    ]
    for some in ([run for run in plan if not run.trained], [run for run in plan if run.trained]):
        _run_all(some, train, data_dir=data_dir, resume=resume, jobs=jobs, report=report)
    by_case = {label: [_read_run(folder / slug(label) / f"seed{seed}") for seed in seeds] for label in cases}
    results = _sum_up(name, recipe, seeds, by_case, jobs=jobs, changed=bool(changes))
    beside = recipe_module_file(name) if record else None
    write_results(results, folder, beside, plot=lambda path: _plot(recipe, by_case, path))
    return results


def write_results(
    results: Mapping[str, Any], folder: Path, beside: Path | None = None, *, plot: Callable[[Path], None]
) -> None:
    """`results.json` and `results.png` into the folder of a series.

    Args:
        beside: a module; `<its name>.results.json` and `<its name>.png` are then written beside it, too.
        plot: draws the picture into a PNG.
    """
    places = [(folder / "results.json", folder / "results.png")]
    if beside is not None:
        places.append((beside.with_suffix(".results.json"), beside.with_suffix(".png")))
    for numbers, picture in places:
        write_json(numbers, results)
        plot(picture)


@dataclass(frozen=True)
class _Planned:
    """A run of a series.

    Attributes:
        trained: the folder of the run whose weights it takes; None = it trains its own.
    """

    recipe: Recipe | DetectionRecipe | LearnerRecipe
    folder: Path
    trained: Path | None


def _run_all(
    plan: Sequence[_Planned],
    train: Callable[..., Any],
    *,
    data_dir: str | Path | None,
    resume: bool,
    jobs: int,
    report: Callable[[str], None],
) -> None:
    """Run every planned run, `jobs` of them at a time, each worker with its share of the cores."""
    waiting = []
    for run in plan:
        if resume and (run.folder / "metrics.json").exists() and _same_recipe(run.folder, run.recipe):
            report(_line(run.folder))
        else:
            waiting.append((train, to_dict(run.recipe), run.folder, run.trained, data_dir, resume))
    for done in in_processes(_run, waiting, jobs=jobs):
        report(_line(done))


def in_processes(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, jobs: int) -> Iterator[Any]:
    """What `function(*call)` returns for every call, as they end; `jobs` at a time, each with its share of the cores.

    Args:
        function: of a module's top level; it runs in another process, which many calls share.

    Raises:
        TrainingError: a process was killed.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    # A fresh interpreter each: TensorFlow fixes its threads when it starts, and a fork of a running TensorFlow hangs.
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker, initargs=(threads,)) as pool:
        runs = [pool.submit(function, *call) for call in calls]
        try:
            for run in as_completed(runs):
                yield run.result()
        except BrokenProcessPool as error:
            raise TrainingError(
                "a run of the series was killed from outside (out of memory?); run the same command again to go on, "
                "with fewer --jobs if memory was short"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(threads: int) -> None:
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _run(
    train: Callable[..., Any],
    recipe: dict[str, Any],
    folder: Path,
    trained: Path | None,
    data_dir: str | Path | None,
    resume: bool,
) -> Path:
    """One run in a worker."""
    keras.backend.clear_session()  # the graphs of the worker's run before
    try:
        if trained is not None:
            fit.answer(from_dict(recipe), trained, out=folder, data_dir=data_dir, resume=resume)
            return folder
        train(from_dict(recipe), out=folder, data_dir=data_dir, resume=resume, progress=False)
    except KappsError as error:
        raise TrainingError(f"the run in {folder} failed: {error}") from None
    return folder


def headline(test: Mapping[str, float]) -> tuple[str, float]:
    """What a run is judged by, and its value: mean IoU where pixels were labelled, AP50 of boxes, else accuracy.

    Args:
        test: `test` of `metrics.json`.
    """
    if "AP50" in test:
        return "test AP50", test["AP50"]
    return ("test mean IoU", test["mean_iou"]) if "mean_iou" in test else ("test accuracy", test["accuracy"])


def bar_of(expected: Expected | ExpectedBoxes) -> float:
    """What `headline` should reach."""
    return expected.AP50 if isinstance(expected, ExpectedBoxes) else expected.test_accuracy


def _line(folder: Path) -> str:
    name, value = headline(_read_run(folder)["test"])
    return f"{folder}: {name} {100 * value:.2f} %"


def _same_recipe(folder: Path, recipe: Recipe | DetectionRecipe | LearnerRecipe) -> bool:
    return describes(json.loads((folder / "recipe.json").read_text(encoding="utf-8")), recipe)


def _read_run(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {**metrics, "log": read_log(folder / "log.csv")}


def _sum_up(
    name: str,
    recipe: Recipe | DetectionRecipe | LearnerRecipe | Study,
    seeds: Sequence[int],
    by_case: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    jobs: int,
    changed: bool,
) -> dict[str, Any]:
    runs = [run for case in by_case.values() for run in case]
    base = recipe.base if isinstance(recipe, Study) else recipe
    common: dict[str, Any] = {
        "recipe": name,
        "kind": "study" if isinstance(recipe, Study) else "recipe",
        "title": recipe.title,
        "command": command_of(name, seeds, jobs),
        "data": base.data.name,
        "metric": headline(runs[0]["test"])[0],
        "seeds": list(seeds),
        "seconds": statistics.median(run["seconds"] for run in runs),
        "jobs": jobs,
        "machine": runs[0]["machine"],
        "versions": runs[0]["versions"],
        "changed": changed,
    }
    if isinstance(recipe, Study):
        cases = [{"label": label, **_spread(case)} for label, case in by_case.items()]
        return {**common, "question": recipe.question, "claim": recipe.claim, "finding": recipe.finding, "cases": cases}
    expected = recipe.expected
    return {
        **common,
        "bar": expected and bar_of(expected),
        "reference": expected.reference if expected else "",
        "params": runs[0]["params"],
        "epochs": max(run["epochs"] for run in runs),
        **_spread(runs),
    }


def _spread(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [headline(run["test"])[1] for run in runs]
    return spread(values, [run["seconds"] for run in runs])


def spread(values: Sequence[float], seconds: Sequence[float]) -> dict[str, Any]:
    """One case of a table: the values of all seeds, their median and range, and how long a run took."""
    return {
        "values": list(values),
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "seconds": statistics.median(seconds),
    }


def _plot(
    recipe: Recipe | DetectionRecipe | LearnerRecipe | Study,
    by_case: Mapping[str, Sequence[Mapping[str, Any]]],
    path: Path,
) -> None:
    if not isinstance(recipe, Study):
        plot_curves(by_case[""][0]["log"], path, title=recipe.title)
        return
    column = "val_accuracy" if recipe.base.data.validation else "accuracy"
    curves = {label: [[row[column] for row in run["log"]] for run in case] for label, case in by_case.items()}
    finals = {label: [headline(run["test"])[1] for run in case] for label, case in by_case.items()}
    metric = next(headline(run["test"])[0] for case in by_case.values() for run in case)
    plot_study(curves, finals, path, title=recipe.title, metric=metric)


def command_of(name: str, seeds: Sequence[int], jobs: int) -> str:
    """What runs the series again."""
    return f"kapps train {name} --data-dir DIR --seeds {len(seeds)}" + (f" --jobs {jobs}" if jobs > 1 else "")


def slug(label: str) -> str:
    """A case's label as the name of its folder."""
    return "_".join("".join(letter if letter.isalnum() else " " for letter in label.lower()).split())

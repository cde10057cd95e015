"""Experiments: questions that several seeds answer, but that are not one supervised recipe in several cases.

    kapps train few_shot --data-dir DIR --seeds 5

An experiment is a module of a task that holds `EXPERIMENT`, and is named in `EXPERIMENTS` below. It brings one function
that trains and measures one case with one seed; what is around it (processes, going on after an interruption, medians,
table and picture) is here. What was measured has the form of a study's results (`kapps.training.study`), so that tables
and gallery show both alike.

Importing this module loads neither Keras nor any experiment.
"""

from __future__ import annotations

import importlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kapps import paths
from kapps.errors import KappsError, OutputError, TrainingError, UnknownNameError

# name -> module with `EXPERIMENT`; the name is the module's own
EXPERIMENTS: dict[str, str] = {
    "few_shot": "kapps.tasks.transfer.few_shot",
    "feature_streaming": "kapps.tasks.transfer.feature_streaming",
    "distil_cifar10": "kapps.tasks.distillation.distil_cifar10",
    "mnist_to_digits": "kapps.tasks.adaptation.mnist_to_digits",
    "mnist_to_textured": "kapps.tasks.adaptation.mnist_to_textured",
    "multitask_scenes": "kapps.tasks.multitask.multitask_scenes",
    "detector_family": "kapps.tasks.detection.detector_family",
    "bimodal_digits": "kapps.tasks.unsupervised.bimodal_digits",
    "conv_dbn_digits": "kapps.tasks.unsupervised.conv_dbn_digits",
    "dbn_mnist": "kapps.tasks.unsupervised.dbn_mnist",
    "deep_autoencoder_mnist": "kapps.tasks.unsupervised.deep_autoencoder_mnist",
    "deep_sigmoid": "kapps.tasks.unsupervised.deep_sigmoid",
    "dictionary_learning_speed": "kapps.tasks.unsupervised.dictionary_learning_speed",
    "few_labels": "kapps.tasks.unsupervised.few_labels",
    "helmholtz_digits": "kapps.tasks.unsupervised.helmholtz_digits",
    "lista_steps": "kapps.tasks.unsupervised.lista_steps",
    "rbm_likelihood": "kapps.tasks.unsupervised.rbm_likelihood",
    "rbm_memory": "kapps.tasks.unsupervised.rbm_memory",
    "rbm_mnist": "kapps.tasks.unsupervised.rbm_mnist",
    "rbm_speed": "kapps.tasks.unsupervised.rbm_speed",
    "semantic_hashing": "kapps.tasks.unsupervised.semantic_hashing",
    "space_time": "kapps.tasks.unsupervised.space_time",
    "sparse_coding_speed": "kapps.tasks.unsupervised.sparse_coding_speed",
    "stacked_denoising": "kapps.tasks.unsupervised.stacked_denoising",
}


@dataclass(frozen=True)
class Experiment:
    """A question with its cases.

    Attributes:
        title: one line, over the picture and the table.
        question: what is asked.
        claim: what the lectures (or the paper) say, to be held against the measurement.
        finding: what the measurement says of the claim, once it was made.
        metric: the name of `value`; with "accuracy", "error" or "IoU" in it, it is shown in percent.
        cases: labels, in the order of the table.
        run: `run(case, seed, *, data_dir, folder, report)`, and with `sizes` also `size`: trains and measures once, in
            a process whose random numbers were seeded. `folder` exists and is the run's own; `report(line)` adds a line
            to its `log.txt`. Returns what JSON can hold: `value`, and if it likes `seconds` (else the whole run's),
            `parts` (further figures by name) and anything else that is worth keeping.
        data: what is measured on, in words.
        sizes: the points of an x-axis, rising; each case is then run with each of them.
        size_name: what they count, e.g. `"images a class"`.
        plot: `plot(results, path)` draws the picture of a series, a PNG, from what `run` returned for every case, a
            list over the seeds; None = the values and their range.
    """

    title: str
    question: str
    claim: str
    finding: str
    metric: str
    cases: tuple[str, ...]
    run: Callable[..., Mapping[str, Any]]
    data: str
    sizes: tuple[int, ...] = ()
    size_name: str = ""
    plot: Callable[[Mapping[str, Sequence[Mapping[str, Any]]], Path], None] | None = None


def load_experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        UnknownNameError: no experiment has this name.
    """
    if name not in EXPERIMENTS:
        raise UnknownNameError("experiment", name, EXPERIMENTS, hint="see `kapps train --list`")
    return importlib.import_module(EXPERIMENTS[name]).EXPERIMENT


def experiment_file(name: str) -> Path:
    """The file of an experiment, found without importing it."""
    return paths.PACKAGE.parent.joinpath(*EXPERIMENTS[name].split(".")).with_suffix(".py")


def run_experiment(
    name: str,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    resume: bool = True,
    jobs: int = 1,
    record: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run every case (at every size) once for every seed and sum it up: median and range.

    What a run measured is kept in its folder, so an interrupted series goes on with the runs that are missing.

    Args:
        name: a key of `EXPERIMENTS`.
        out: the folder of the series, default `runs/<name>`; `results.json` and `results.png` are written into it.
        resume: take what was measured before in `out`; False measures all anew.
        jobs: runs at the same time, each with its share of the processor's cores.
        record: also write `<name>.results.json` and `<name>.png` beside the experiment (for those who keep kapps).
        report: called with a line whenever a run ends.

    Returns:
        what `results.json` holds, in the form of a study's; with sizes, each of `cases` has `case` and `size`, too.

    Raises:
        UnknownNameError: no experiment has this name.
        TrainingError: a run failed; the line is that of the run.
        OutputError: the folder cannot be written.
    """
    from kapps.training.study import in_processes, write_results

    experiment = load_experiment(name)
    folder = Path(out) if out is not None else Path("runs") / name
    plan = {(case, size): [_folder(folder, case, size, seed) for seed in seeds] for case, size in _cells(experiment)}
    calls = []
    for index, seed in enumerate(seeds):  # seed by seed: what is done when a series is interrupted can be compared
        for (case, size), places in plan.items():
            place = places[index]
            if resume and (place / "result.json").exists():
                report(_line(place, experiment.metric))
            else:
                calls.append((EXPERIMENTS[name], case, size, seed, place, data_dir))
    for place in in_processes(_run, calls, jobs=jobs):
        report(_line(place, experiment.metric))
    measured = {cell: [_read(place) for place in places] for cell, places in plan.items()}
    results = _sum_up(name, experiment, seeds, measured, jobs=jobs)
    beside = experiment_file(name) if record else None
    write_results(results, folder, beside, plot=lambda path: _plot(experiment, measured, path))
    return results


def in_new_process(code: str) -> Any:
    """Run Python code in a process of its own; what its last line of output holds, read as JSON.

    For what a process can be told only once (threads), or what is measured of a whole process (memory).

    Raises:
        TrainingError: the process failed; its last line.
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise TrainingError(f"the process that measures ended with {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def count_runs(experiment: Experiment) -> int:
    """Runs that one seed takes."""
    return len(_cells(experiment))


def _cells(experiment: Experiment) -> list[tuple[str, int | None]]:
    return [(case, size) for case in experiment.cases for size in experiment.sizes or (None,)]


def _folder(series: Path, case: str, size: int | None, seed: int) -> Path:
    from kapps.training.study import slug

    return series / slug(case) / ("" if size is None else str(size)) / f"seed{seed}"


def _run(module: str, case: str, size: int | None, seed: int, folder: Path, data_dir: str | Path | None) -> Path:
    """One run in a worker."""
    import keras

    from kapps.training.run_folder import machine, versions, write_json

    experiment: Experiment = importlib.import_module(module).EXPERIMENT
    keras.backend.clear_session()  # the graphs of the worker's run before
    keras.utils.set_random_seed(seed)
    begun = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        log.unlink(missing_ok=True)

        def report(line: str) -> None:
            with log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

        sized = {} if size is None else {"size": size}
        result = dict(experiment.run(case, seed, **sized, data_dir=data_dir, folder=folder, report=report))
        if not math.isfinite(result.get("value", math.nan)):
            raise TrainingError(f"expected a finite number as its value, got {result.get('value')!r}")
        kept = {
            **{"case": case, **sized, "seed": seed, "seconds": round(time.monotonic() - begun, 1), **result},
            "machine": machine(),
            "versions": versions(),
        }
        write_json(folder / "result.json", kept)
    except KappsError as error:
        raise TrainingError(f"the run in {folder} failed: {error}") from None
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror or error}): give another folder") from None
    return folder


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def _line(folder: Path, metric: str) -> str:
    return f"{folder}: {metric} {_read(folder)['value']:.4g}"


def _sum_up(
    name: str,
    experiment: Experiment,
    seeds: Sequence[int],
    measured: Mapping[tuple[str, int | None], Sequence[Mapping[str, Any]]],
    *,
    jobs: int,
) -> dict[str, Any]:
    from kapps.training.study import command_of, spread

    runs = [run for some in measured.values() for run in some]
    cases = []
    for (case, size), some in measured.items():
        row: dict[str, Any] = {"label": case}
        if size is not None:
            row = {"label": f"{case}, {size:,} {experiment.size_name}", "case": case, "size": size}
        row |= spread([run["value"] for run in some], [run["seconds"] for run in some])
        if parts := some[0].get("parts"):
            row["parts"] = {part: statistics.median(run["parts"][part] for run in some) for part in parts}
        cases.append(row)
    return {
        "recipe": name,
        "kind": "study",
        "title": experiment.title,
        "command": command_of(name, seeds, jobs),
        "data": experiment.data,
        "metric": experiment.metric,
        "seeds": list(seeds),
        "seconds": statistics.median(run["seconds"] for run in runs),
        "jobs": jobs,
        "machine": runs[0]["machine"],
        "versions": runs[0]["versions"],
        "changed": False,
        **({"size_name": experiment.size_name} if experiment.sizes else {}),
        "question": experiment.question,
        "claim": experiment.claim,
        "finding": experiment.finding,
        "cases": cases,
    }


def _plot(
    experiment: Experiment, measured: Mapping[tuple[str, int | None], Sequence[Mapping[str, Any]]], path: Path
) -> None:
    from kapps.training.plots import plot_by_size, plot_ranges

    if experiment.plot is not None:
        experiment.plot({case: some for (case, _), some in measured.items()}, path)
        return
    values = {cell: [run["value"] for run in some] for cell, some in measured.items()}
    if not experiment.sizes:
        finals = {case: some for (case, _), some in values.items()}
        plot_ranges(finals, path, title=experiment.title, metric=experiment.metric)
        return
    plot_by_size(
        {case: {size: values[case, size] for size in experiment.sizes} for case in experiment.cases},
        path,
        title=experiment.title,
        metric=experiment.metric,
        size_name=experiment.size_name,
    )

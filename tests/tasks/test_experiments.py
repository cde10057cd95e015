"""Experiments: what is run, kept and written, and that an interrupted series goes on."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import pytest

from kapps import paths
from kapps.cli import tables
from kapps.cli.main import main
from kapps.errors import TrainingError, UnknownNameError
from kapps.tasks import experiments
from kapps.tasks.experiments import EXPERIMENTS, Experiment, experiment_file, load_experiment, run_experiment

MODULE = '''
"""Guessing by number of tries.

Nothing is learned.
"""
import numpy as np
from kapps.errors import DataError
from kapps.tasks.experiments import Experiment

def run(case, seed, *, size, data_dir, folder, report):
    if case == "broken":
        raise DataError("expected data, got none: bring some")
    report(f"{case} {size} {seed}")
    drawn = float(np.random.rand())  # of the generator that the series seeded
    return {"value": size / 100 + seed / 1000, "parts": {"drawn": drawn, "twice": 2.0 * seed}, "case_of_mine": case}

EXPERIMENT = Experiment(
    title="Guessing", question="How many?", claim="More is better.", finding="It is.", metric="test accuracy",
    cases=("by hand", "with luck"), run=run, data="none", sizes=(1, 10), size_name="tries",
)
'''


@pytest.fixture(scope="module")
def guessing(tmp_path_factory):
    """The module of an experiment as (name, file), known under that name."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "guessing.py").write_text(MODULE)
    (folder / "broken_guessing.py").write_text(MODULE.replace('("by hand", "with luck")', '("broken",)'))
    sys.path.insert(0, str(folder))
    EXPERIMENTS.update(guessing="guessing", broken_guessing="broken_guessing")
    yield folder
    sys.path.remove(str(folder))
    for name in ("guessing", "broken_guessing"):
        EXPERIMENTS.pop(name)


@pytest.fixture(scope="module")
def series(guessing, tmp_path_factory):
    """(folder, results, the reported lines) of two seeds."""
    out, lines = tmp_path_factory.mktemp("runs") / "guessing", []
    return out, run_experiment("guessing", seeds=(3, 4, 6), out=out, report=lines.append), lines


def test_every_case_and_size_has_a_row_with_its_median_and_range(series):
    _, results, lines = series
    assert [case["label"] for case in results["cases"]] == [
        "by hand, 1 tries",
        "by hand, 10 tries",
        "with luck, 1 tries",
        "with luck, 10 tries",
    ]
    row = results["cases"][1]
    assert (row["case"], row["size"]) == ("by hand", 10)
    assert row["values"] == pytest.approx([0.103, 0.104, 0.106])
    assert (row["min"], row["median"], row["max"]) == pytest.approx((0.103, 0.104, 0.106))
    assert row["parts"]["twice"] == 8
    assert len(lines) == 12
    assert all("test accuracy 0." in line for line in lines)


def test_a_run_is_seeded_and_keeps_what_it_returned_and_said(series):
    out, _, _ = series
    one, other = (
        json.loads((out / case / "1" / "seed3" / "result.json").read_text()) for case in ("by_hand", "with_luck")
    )
    assert one["parts"]["drawn"] == other["parts"]["drawn"]
    assert (one["case_of_mine"], one["size"], one["seed"]) == ("by hand", 1, 3)
    assert one["seconds"] >= 0
    assert (out / "by_hand" / "10" / "seed4" / "log.txt").read_text() == "by hand 10 4\n"


def test_results_have_a_studys_form(series):
    out, results, _ = series
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")
    assert results["kind"] == "study"
    assert results["command"] == "kapps train guessing --data-dir DIR --seeds 3"
    text = tables.results_table([results])
    assert "| by hand, 10 tries | 10.40 % (10.30 to 10.60) |" in text
    assert text.endswith("It is.")


def test_a_series_goes_on_and_records_beside_the_module(series, guessing, monkeypatch):
    out, _, _ = series
    kept = out / "by_hand" / "1" / "seed3" / "result.json"
    changed = {**json.loads(kept.read_text()), "value": 0.5}
    kept.write_text(json.dumps(changed))
    monkeypatch.setattr(paths, "PACKAGE", guessing / "kapps")
    results = run_experiment("guessing", seeds=(3,), out=out, record=True)
    assert results["cases"][0]["values"] == [0.5], "what is there is not measured again"
    assert json.loads((guessing / "guessing.results.json").read_text()) == results
    assert (guessing / "guessing.png").exists()
    assert tables.read_results(guessing) == [results]


def test_a_failing_run_is_named_in_one_line(guessing, tmp_path):
    with pytest.raises(TrainingError, match=r"broken.1.seed0 failed: expected data") as caught:
        experiments._run("broken_guessing", "broken", 1, 0, tmp_path / "broken" / "1" / "seed0", None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_value_must_be_a_number(tmp_path, monkeypatch, value):
    settings = dict.fromkeys(("title", "question", "claim", "finding", "metric", "data"), "")
    module = type(sys)("valueless")
    module.EXPERIMENT = Experiment(cases=("a",), run=lambda *_, **__: {"value": value} if value else {}, **settings)
    monkeypatch.setitem(sys.modules, "valueless", module)
    with pytest.raises(TrainingError, match="expected a finite number"):
        experiments._run("valueless", "a", None, 0, tmp_path, None)
    assert not (tmp_path / "result.json").exists()


def test_the_command_line_runs_and_lists_them(series, monkeypatch, capsys):
    out, _, _ = series
    assert main(["train", "guessing", "--seeds", "1", "--out", str(out), "--set", "epochs=3"]) == 2
    assert "leave out --set" in capsys.readouterr().err
    assert main(["train", "guesing"]) == 2
    assert "did you mean 'guessing'" in capsys.readouterr().err
    for name in ("guessing", "broken_guessing"):
        monkeypatch.delitem(EXPERIMENTS, name)
    assert main(["train", "--list", "--json"]) == 0
    listed = {entry["name"]: entry["title"] for entry in json.loads(capsys.readouterr().out)}
    assert set(EXPERIMENTS) < set(listed)
    assert all(listed[name] for name in EXPERIMENTS)


def test_an_unknown_name(guessing):
    with pytest.raises(UnknownNameError, match="'guessing'"):
        load_experiment("gessing")


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_is_whole(name):
    """Name, words and sizes of those that come with kapps."""
    experiment = load_experiment(name)
    assert EXPERIMENTS[name].rpartition(".")[2] == name
    assert experiment_file(name).is_file()
    assert all((experiment.title, experiment.question, experiment.claim, experiment.data))
    assert len(set(experiment.cases)) == len(experiment.cases) >= 1
    assert list(experiment.sizes) == sorted(set(experiment.sizes))
    assert bool(experiment.sizes) == bool(experiment.size_name)


# Measured with one seed so far, as their tables say; none may stay here that has more.
ONE_SEED = {"detector_family"}


def test_the_recorded_results_belong_to_experiments_that_exist():
    for file in Path(paths.PACKAGE, "tasks").rglob("*.results.json"):
        results = json.loads(file.read_text())
        experiment = load_experiment(results["recipe"])
        assert file == experiment_file(results["recipe"]).with_suffix(".results.json")
        assert len(results["seeds"]) >= 3 or results["recipe"] in ONE_SEED
        assert len(results["seeds"]) == 1 or results["recipe"] not in ONE_SEED
        assert results["finding"] == experiment.finding
        assert experiment.finding, "what was measured is held against the claim"
        assert results.get("size_name", "") == experiment.size_name
        assert len(results["cases"]) == experiments.count_runs(experiment)
        assert {case.get("case", case["label"]) for case in results["cases"]} == set(experiment.cases)
        for case in results["cases"]:
            assert len(case["values"]) == len(results["seeds"])
            assert case["median"] == statistics.median(case["values"])

"""The experiments of sparse coding on few patches: what they return, and that they compare like with like."""

from __future__ import annotations

import math

import pytest

from kapps.errors import TrainingError, UnknownNameError
from kapps.tasks.unsupervised import dictionary_learning_speed, lista_steps, sparse_coding_speed


@pytest.fixture
def settings(tmp_path):
    lines: list[str] = []
    return {"data_dir": None, "folder": tmp_path, "report": lines.append}, lines


def test_speed_of_codes_is_told_with_their_objectives(settings):
    options, lines = settings
    result = sparse_coding_speed.run("lambda 1", 0, size=20, patches=60, taught=300, **options)
    parts = result["parts"]
    assert result["value"] == pytest.approx(
        parts["ours, codes a second"] / parts["scikit-learn, codes a second"], rel=1e-6
    )
    assert parts["ours, objective"] == pytest.approx(parts["scikit-learn, objective"], rel=2e-4)
    assert 0 < parts["coefficients that are not zero"] < 20
    assert len(lines) == 1


def test_codes_that_are_worse_are_no_result(settings, monkeypatch):
    monkeypatch.setattr(sparse_coding_speed, "MOST_ABOVE", -0.1)
    with pytest.raises(TrainingError, match="smaller tolerance"):
        sparse_coding_speed.run("lambda 1", 0, size=10, patches=20, taught=100, **settings[0])


def test_a_dictionary_learns_until_it_is_as_good(settings):
    options, lines = settings
    result = dictionary_learning_speed.run("online", 0, size=12, taught=600, epochs=1, **options)
    parts = result["parts"]
    assert parts["ours, objective"] <= parts["scikit-learn, objective"]
    assert result["value"] == pytest.approx(parts["scikit-learn, seconds"] / parts["ours, seconds"])
    assert parts["ours, patches seen"] >= 600
    assert lines[0].startswith("scikit-learn: ")


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    options = {"data_dir": None, "folder": tmp_path_factory.mktemp("lista"), "report": lambda line: None}
    small = {"atoms": 70, "taught": 600, "epochs": 4}
    return {case: lista_steps.run(case, 0, size=2, **small, **options) for case in lista_steps.CASES}


def test_learned_steps_come_nearest(errors):
    values = {case: result["value"] for case, result in errors.items()}
    assert values["LISTA"] < values["FISTA"] <= values["ISTA"] < 1
    assert all(result["parts"]["objective over its minimum"] >= 1 for result in errors.values())


def test_other_cases_do_not_exist(settings):
    with pytest.raises(UnknownNameError):
        sparse_coding_speed.run("lambda 9", 0, size=10, **settings[0])
    with pytest.raises(UnknownNameError):
        lista_steps.run("LARS", 0, size=1, atoms=70, taught=600, **settings[0])


@pytest.mark.parametrize("module", [sparse_coding_speed, dictionary_learning_speed, lista_steps])
def test_experiments_are_complete(module):
    experiment = module.EXPERIMENT
    assert experiment.run is module.run
    assert experiment.sizes == module.SIZES == tuple(sorted(module.SIZES))
    assert experiment.question.endswith("?")
    assert experiment.claim.endswith(".")
    assert all(map(math.isfinite, experiment.sizes))

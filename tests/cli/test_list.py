from __future__ import annotations

import json
import sys

import pytest

import kapps
from kapps.cli.list import shape
from kapps.cli.main import main


def test_table_holds_every_architecture(capsys):
    assert main(["list"]) == 0
    architectures, detectors, learners = capsys.readouterr().out.split("\n\n")
    assert [row.split()[0] for row in architectures.splitlines()[2:]] == kapps.list_models()
    assert [row.split()[0] for row in detectors.splitlines()[2:]] == kapps.list_detectors()
    assert [row.split()[0] for row in learners.splitlines()[2:]] == kapps.list_learners()


def test_in_a_pipe_no_line_is_wrapped_and_nothing_is_coloured(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    tables = (kapps.list_models(), kapps.list_detectors(), kapps.list_learners())
    assert len(out.splitlines()) == sum(2 + len(names) for names in tables) + 2  # an empty line between two
    assert "\x1b" not in out
    assert "…" not in out


def test_names_stay_whole_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    assert [name for name in kapps.list_models() if name not in words] == []


@pytest.mark.parametrize("no_color", ["1", None])
def test_no_color_is_respected(capsys, monkeypatch, no_color):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert main(["list"]) == 0
    assert "\x1b[3" not in capsys.readouterr().out  # headings are bold, never coloured


def test_pattern_and_task(capsys):
    assert main(["list", "lenet*", "--task", "classification", "--json"]) == 0
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out)]
    assert names == kapps.list_models("lenet*")
    assert names


def test_detectors_alone(capsys):
    assert main(["list", "--task", "detection", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == kapps.list_detectors()
    assert main(["list", "faster_rcnn*"]) == 0
    assert capsys.readouterr().out.split()[0] == "detector"


def test_learners_alone(capsys):
    assert main(["list", "--task", "features", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == kapps.list_learners()
    assert main(["list", "*rbm"]) == 0
    assert capsys.readouterr().out.split()[0] == "learner"


def test_json_has_every_field_of_an_entry(capsys):
    assert main(["list", "lenet5", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["input_shape"] == list(kapps.info("lenet5").input_shape)
    assert entry["year"] == 1998


def test_nothing_matches(capsys):
    assert main(["list", "no-such-*", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_unknown_task(capsys):
    assert main(["list", "--task", "clasification"]) == 2
    assert "did you mean 'classification'?" in capsys.readouterr().err


def test_shape():
    assert shape((28, 28, 1)) == "28x28x1"
    assert shape((None, None, 3)) == "?x?x3"

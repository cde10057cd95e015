from __future__ import annotations

import json

import pytest

import kapps
from kapps.cli import tables
from kapps.cli.main import main
from kapps.errors import DataError

RUN = {
    "recipe": "lenet5_mnist",
    "title": "LeNet-5 | MNIST",
    "command": "kapps train lenet5_mnist --seeds 5",
    "data": "MNIST test",
    "metric": "test accuracy",
    "bar": 0.9925,
    "reference": "LeCun 1998: 99.05 %",
    "seeds": [0, 1, 2],
    "values": [0.9926, 0.9931, 0.9936],
    "median": 0.9931,
    "min": 0.9926,
    "max": 0.9936,
    "seconds": 200.4,
    "machine": "a machine",
}
STUDY = {
    "recipe": "race",
    "kind": "study",
    "title": "The race",
    "command": "kapps train race",
    "seeds": [0],
    "cases": [{"label": "Adam", "median": 0.98, "min": 0.97, "max": 0.99, "values": [0.97, 0.98, 0.99]}],
    "finding": "The claim does not hold.",
}
PAGE = """# Title
<!-- catalogue:begin -->
old
<!-- catalogue:end -->
between
<!-- results:begin -->
<!-- results:end -->
last line
"""


@pytest.fixture
def page(tmp_path):
    """A page with markers, a folder with results, and the options that name them."""
    readme = tmp_path / "README.md"
    readme.write_text(PAGE, encoding="utf-8")
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "lenet5_mnist.results.json").write_text(json.dumps(RUN), encoding="utf-8")
    (folder / "race.results.json").write_text(json.dumps(STUDY), encoding="utf-8")
    return readme, ["tables", "--readme", str(readme), "--recipes", str(folder)]


def test_writes_then_finds_them_current(page, capsys):
    readme, words = page
    assert main([*words, "--check"]) == 1
    assert capsys.readouterr().err == "README.md is stale: run `kapps tables` and commit what it writes\n"
    assert readme.read_text(encoding="utf-8") == PAGE  # --check wrote nothing
    assert main(words) == 0
    assert main([*words, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# Title\n<!-- catalogue:begin -->\n| name |")
    assert "<!-- catalogue:end -->\nbetween\n<!-- results:begin -->\n" in text
    assert text.endswith("<!-- results:end -->\nlast line\n")
    assert "\nold\n" not in text


def test_new_result_makes_the_page_stale(page):
    readme, words = page
    assert main(words) == 0
    results = readme.parent / "recipes" / "lenet5_mnist.results.json"
    results.write_text(json.dumps({**RUN, "median": 0.9932}), encoding="utf-8")
    assert main([*words, "--check"]) == 1


def test_result_row():
    assert tables.results_table([RUN]).splitlines()[2] == (
        "| [LeNet-5 \\| MNIST](kapps/recipes/lenet5_mnist.py) | MNIST test | test accuracy | ≥ 99.25 % "
        "| **99.31 % (99.26 to 99.36)** | 3 | LeCun 1998: 99.05 % | 3 min 20 s |"
    )


@pytest.mark.parametrize(
    ("metric", "bar", "median", "cells"),
    [
        ("test accuracy", 0.9940, 0.9931, "| ≥ 99.40 % | 99.31 % (99.26 to 99.36), missed |"),
        ("test error", 0.12, 0.09, "| < 12.00 % | **9.00 % (99.26 to 99.36)** |"),
        ("test error", 0.08, 0.09, "| < 8.00 % | 9.00 % (99.26 to 99.36), missed |"),
        ("test accuracy", None, 0.9931, "|  | 99.31 % (99.26 to 99.36) |"),
    ],
)
def test_a_missed_bar_is_said(metric, bar, median, cells):
    row = tables.results_table([{**RUN, "metric": metric, "bar": bar, "median": median}]).splitlines()[2]
    assert cells in row


def test_study_has_its_own_table_and_its_finding():
    text = tables.results_table([STUDY])
    assert "**The race** (`kapps train race`, 1 seed)" in text
    assert "| Adam | 98.00 % (97.00 to 99.00) |" in text
    assert text.endswith("The claim does not hold.")


def test_no_results_yet():
    assert tables.results_table([]) == "No recipe has been measured yet."


def test_catalogue_table_has_a_row_for_every_architecture():
    rows = tables.catalogue_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == kapps.list_models()


@pytest.mark.parametrize(
    "text",
    [
        "no markers",
        "<!-- catalogue:end --> <!-- catalogue:begin -->",
        "<!-- catalogue:begin --> <!-- catalogue:begin --> <!-- catalogue:end -->",
    ],
)
def test_page_without_its_markers_is_left_alone(page, text, capsys):
    readme, words = page
    readme.write_text(text, encoding="utf-8")
    assert main(words) == 2
    assert "expected one line <!-- catalogue:begin -->" in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("content", "complaint"), [("{", "expected JSON in x.results"), ("{}", "expected the key")])
def test_malformed_results(tmp_path, content, complaint):
    (tmp_path / "x.results.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        tables.read_results(tmp_path)


def test_missing_page(tmp_path, capsys):
    assert main(["tables", "--readme", str(tmp_path / "none.md")]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")]
)
def test_duration(seconds, text):
    assert tables.duration(seconds) == text

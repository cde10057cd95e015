from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kapps.cli.main import main


@pytest.fixture
def pets(tmp_path):
    """A folder of images by class: 3 cats and 2 dogs of different sizes."""
    rng = np.random.default_rng(0)
    for name, count in (("cat", 3), ("dog", 2)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for place in range(count):
            pixels = rng.integers(0, 256, (40 + 10 * place, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{place}.png")
    return tmp_path / "pets"


def test_without_a_name_the_sources_are_listed(run_json, capsys):
    _, sources, _ = run_json("data")
    assert {"digits", "scenes", "mnist"} <= {source["name"] for source in sources}
    assert main(["data"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(sources)


def test_built_in_digits(run_json):
    code, summary, _ = run_json("data", "digits", "--split", "test")
    assert code == 0
    assert summary["num_examples"] == sum(summary["classes"].values()) == 360
    assert list(summary["classes"]) == [str(digit) for digit in range(10)]
    assert summary["input_shape"] == [8, 8, 1]
    assert summary["licence"]


def test_split_counts_only_its_part(run_json):
    _, summary, _ = run_json("data", "digits", "--split", "train[:25]")
    assert summary["num_examples"] == 25


def test_folder_of_images(pets, run_json, capsys):
    code, summary, _ = run_json("data", pets, "--split", "train[:100%]")
    assert code == 0
    assert list(summary["classes"]) == ["cat", "dog"]
    assert main(["data", str(pets)]) == 0
    assert "cat" in capsys.readouterr().out


def test_sheet(pets, tmp_path, run_json):
    sheet = tmp_path / "sheet.png"
    code, _, errors = run_json("data", "digits", "--sheet", sheet, "--count", 20)
    assert code == 0, errors
    image = np.asarray(Image.open(sheet).convert("L"))
    assert image.shape[0] > image.shape[1] > 300  # 4 columns, 5 rows
    assert image.min() < 50  # digits and captions are on it
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["sheet.png"]
    assert run_json("data", pets, "--sheet", sheet, "--count", 4)[0] == 0


def test_written_scenes(tmp_path, run_json):
    code, written, errors = run_json("data", "scenes", "--out", tmp_path / "scenes", "--count", 3, "--seed", 5)
    assert code == 0, errors
    assert written["num_scenes"] == 3
    assert len(list((tmp_path / "scenes").rglob("*.png"))) >= 3


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["digitz"], "digits"),
        (["digits", "--split", "validation"], "validation"),
        (["digits", "--sheet", "none/sheet.png"], "not a folder"),
        (["digits", "--sheet", "sheet.gif"], "ending in .png"),
        (["digits", "--sheet", "sheet.png", "--count", "5000"], "at most 1,000"),
        (["digits", "--out", "x"], "only generated scenes are written"),
    ],
)
def test_refusals(words, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words]) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []

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


@pytest.fixture
def cells(tmp_path):
    """A VOC folder: three images, one empty; boxes of 10x10, 40x50 and 99x100 pixels, and one outside its image."""
    boxes = {"a": [("dot", 0, 0, 10, 10), ("cell", 10, 10, 50, 60)], "b": [("cell", 0, 0, 99, 100)], "c": []}
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "cells" / folder).mkdir(parents=True)
    boxes["b"].append(("dot", 130, 30, 140, 40))  # outside: nothing is left of it
    (tmp_path / "cells" / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "cells" / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nc\n")
    for name, some in boxes.items():
        Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(tmp_path / "cells" / "JPEGImages" / f"{name}.jpg")
        things = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax>"
            f"<ymax>{bottom}</ymax></bndbox></object>"
            for kind, left, top, right, bottom in some
        )
        (tmp_path / "cells" / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>100</width><height>100</height><depth>3</depth>"
            f"</size>{things}</annotation>"
        )
    return tmp_path / "cells"


def test_boxes_are_counted_by_class_and_size(cells, run_json, capsys):
    code, summary, errors = run_json("data", cells)
    assert code == 0, errors
    assert (summary["num_examples"], summary["images_without_boxes"], summary["num_boxes"]) == (3, 1, 3)
    assert summary["classes"] == {"cell": 2, "dot": 1}
    assert summary["sizes"] == {"small": 1, "medium": 1, "large": 1}
    assert len(summary["notes"]) == 1
    assert "left out 1 boxes without area" in summary["notes"][0]
    assert main(["data", str(cells)]) == 0
    shown = capsys.readouterr().out
    assert "3, 1 without a box" in shown
    assert "left out 1 boxes" in shown
    assert main(["data", str(cells), "--sheet", str(cells.parent / "sheet.png")]) == 2
    assert "holds boxes: leave --sheet out" in capsys.readouterr().err


def test_scenes_with_boxes(run_json):
    code, summary, errors = run_json("data", "scene_boxes", "--split", "test[:5]")
    assert code == 0, errors
    assert summary["num_examples"] == 5
    assert summary["num_boxes"] == sum(summary["classes"].values()) == sum(summary["sizes"].values()) > 5


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

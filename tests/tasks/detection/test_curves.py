from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kapps.errors import OutputError
from kapps.tasks.detection.curves import precision_recall, save_curves
from kapps.training.plots import COLOURS

RECALL = [step / 100 for step in range(101)]


def measured(classes):
    """Figures of so many classes; the first has the fewest boxes, and reaches a recall of 0.1, the last one of 1."""
    names = [f"class {number}" for number in range(classes)]
    reached = {name: (number + 1) / classes for number, name in enumerate(names)}
    precision = {name: np.where(np.array(RECALL) <= reached[name], 0.9, 0.0) for name in names}
    of_class = {name: float(precision[name].mean()) for name in names}
    keys = ("AP", "AP50", "VOC_AP", "VOC2007_AP")
    return {
        "num_examples": 1200,
        "num_boxes": 3400,
        "AP": 0.5,
        "AP50": 0.75,
        "per_class": {
            name: {"count": 10 + number, **dict.fromkeys(keys, of_class[name])} for number, name in enumerate(names)
        },
        "curves": {
            "iou": 0.5,
            "recall": RECALL,
            "per_class": {
                name: {"precision": row.tolist(), "score": (row / 2).tolist()} for name, row in precision.items()
            },
        },
    }


def texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_files(tmp_path):
    figures = measured(3)
    save_curves(figures, tmp_path / "run" / "new")
    folder = tmp_path / "run" / "new"
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "precision_recall.png"]
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == figures
    with Image.open(folder / "precision_recall.png") as image:
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_a_curve_a_class_up_to_its_highest_recall():
    figure = precision_recall(measured(5))
    (axes,) = figure.axes
    assert [line.get_xdata()[-1] for line in axes.lines] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])  # most boxes first
    assert len({line.get_color() for line in axes.lines}) == 5
    assert texts(figure) == ["0.900  class 4", "0.722  class 3", "0.544  class 2", "0.365  class 1", "0.187  class 0"]
    assert figure.get_suptitle() == "3,400 boxes in 1,200 images: AP 0.500, AP50 0.750"


def test_more_than_ten_classes():
    figure = precision_recall(measured(13))
    (axes,) = figure.axes
    colours = [line.get_color() for line in axes.lines]
    assert len(colours) == 13
    assert len(set(colours[:3])) == 1
    assert colours[3:] == list(COLOURS)
    assert [text.split("  ")[-1] for text in texts(figure)] == [f"class {n}" for n in range(12, 2, -1)] + [
        "3 more classes"
    ]


def test_classes_without_boxes_or_hits_and_odd_names():
    figures = measured(3)
    for part in (figures["per_class"], figures["curves"]["per_class"]):
        part["$x_$"], part["_a" * 30], part["unseen"] = (part.pop(f"class {number}") for number in range(3))
    figures["per_class"]["unseen"] = {**dict.fromkeys(figures["per_class"]["unseen"]), "count": 0}
    figures["curves"]["per_class"]["unseen"] = {"precision": None, "score": None}
    figures["curves"]["per_class"]["$x_$"]["precision"] = [0.0] * 101  # never found
    figures["curves"]["per_class"]["_a" * 30]["precision"] = [0.5] + [0.0] * 100  # one of more than a hundred
    figure = precision_recall(figures)
    figure.canvas.draw()
    (axes,) = figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [1, 0]
    assert axes.lines[0].get_marker() == "o"  # a line of one point would not be seen
    assert [text.split("  ")[1] for text in texts(figure)] == ["_a" * 13 + "_…", r"\$x_\$"]


def test_nothing_to_find(tmp_path):
    figures = {**measured(1), "AP": None, "AP50": None}
    figures["per_class"]["class 0"] = {"count": 0, "AP": None, "AP50": None}
    figures["curves"]["per_class"]["class 0"] = {"precision": None, "score": None}
    save_curves(figures, tmp_path)
    (axes,) = precision_recall(figures).axes
    assert [text.get_text() for text in axes.texts] == ["no boxes to find"]
    assert json.loads((tmp_path / "evaluation.json").read_text())["AP"] is None


def test_older_files_stay_where_the_new_ones_cannot_be_written(tmp_path, monkeypatch):
    save_curves(measured(2), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OutputError, match="No space left on device; make room"):
        save_curves(measured(3), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="give another folder"):
        save_curves(measured(2), tmp_path / "file")

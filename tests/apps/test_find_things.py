"""The page that finds things, on a small detector that was exported for it."""

from __future__ import annotations

import importlib.resources
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from streamlit.testing.v1 import AppTest

import kapps
from kapps.data.scenes import CLASS_NAMES
from kapps.exporting import detection
from kapps.tasks.detection import detector_family

VIEW = "views/find_things.py"
Page = Callable[..., AppTest]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained detector of the scenes' things; a short one, and plain decoding, for speed."""
    keras.utils.set_random_seed(0)
    config = {
        "features": ("stage1", "stage2"),
        "frozen": "",
        "channels": 8,
        "units": 8,
        "anchor_sizes": ((16,), (32,), (64,)),
        "proposals_before": 30,
        "proposals_after": 12,
        "shorter_side": 64,
        "longer_side": 96,
    }
    made = kapps.create_detector("faster_rcnn_resnet18_fpn", classes=CLASS_NAMES, config=config)
    scores = made.network.get_layer("box_scores")  # as if it had learned: scores differ, the background is rare
    scores.kernel.assign(np.random.default_rng(0).normal(scale=0.1, size=scores.kernel.shape))
    scores.bias.assign([0.0] * len(CLASS_NAMES) + [-9.0])
    folder = tmp_path_factory.mktemp("saved_models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))
        made.export(folder / "scenes_faster_rcnn", card={"title": "Scenes"})
    return folder


@pytest.fixture
def find_page(page: Page, networks: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(networks))
    return lambda **state: page(VIEW, **state)


def html(app: AppTest) -> str:
    return "\n".join(element.value for element in app.get("html"))


def test_without_a_detector_it_says_what_makes_one(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path))
    app = page(VIEW)
    assert not app.exception
    (info,) = app.info
    assert "`kapps train scenes_faster_rcnn`" in info.value


def test_a_scene_its_boxes_and_what_happened_inside(find_page: Page) -> None:
    app = find_page(find_score=0.05)
    assert not app.exception
    assert not app.error
    shown = html(app)
    for part in ("Found", "The truth", "Every 4 pixels", "Every 8 pixels", "Every 16 pixels", "Proposals"):
        assert f">{part}<" in shown, part
    rows = app.dataframe[0].value
    assert set(rows["Object"]) <= set(CLASS_NAMES)
    assert (rows["Right"] > rows["Left"]).all()


def test_the_sliders_leave_fewer(find_page: Page) -> None:
    many = len(find_page(find_score=0.05, find_iou=0.9).dataframe[0].value)
    fewer = len(find_page(find_score=0.05, find_iou=0.1).dataframe[0].value)
    assert 0 < fewer < many
    none = find_page(find_score=0.95)
    assert "Nothing has so high a score" in none.info[0].value


def test_a_picture_of_the_visitor(find_page: Page) -> None:
    app = find_page()
    app.segmented_control[0].set_value("Upload").run()
    assert "It knows circle" in app.info[0].value
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60), dtype="uint8")).save(file, format="PNG")
    app.file_uploader[0].upload("mine.png", file.getvalue(), "image/png").run()
    assert not app.exception
    assert not app.error
    assert ">The truth<" not in html(app)


# --- the family


def recorded() -> dict[str, Any]:
    """Results as the experiment records them: R-CNN's, and those of a detector that is a hundred times as fast."""
    rcnn = {"proposals": 0.5, "features": 5.0, "classification": 0.25}
    faster = {"proposals": 0.005, "features": 0.03, "classification": 0.02}
    sides = {"selective search": 0.5, "R-CNN's features": 5.0}
    rows = [
        {
            "label": case,
            "median": value,
            "parts": {
                **seconds,
                **detector_family.ratios(case, {**seconds, **sides}),
                "AP": 0.5,
                "training seconds": 90.0,
                "disk, MB": 12.25,
            },
        }
        for case, value, seconds in (("R-CNN", 0.75, rcnn), ("Faster R-CNN", 0.875, faster))
    ]
    rows[0]["parts"]["features if stored, MB"] = 1234.5
    return {
        "cases": rows,
        "command": "kapps train detector_family --seeds 1",
        "machine": "two cores",
        "finding": "It * is * faster.",
    }


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the tasks, and no detector."""
    real = importlib.resources.files
    monkeypatch.setattr(
        importlib.resources, "files", lambda package=None: tmp_path if package == "kapps.tasks" else real(package)
    )
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path))
    (tmp_path / "detection").mkdir()
    return tmp_path / "detection"


def test_without_a_record_it_says_what_makes_one(page: Page, tasks: Path) -> None:
    app = page(VIEW)
    assert not app.exception
    assert any("`kapps train detector_family --record`" in text.value for text in app.markdown)
    assert not app.dataframe


def test_the_family_is_shown_as_it_was_measured(page: Page, tasks: Path) -> None:
    (tasks / "detector_family.results.json").write_text(json.dumps(recorded()))
    app = page(VIEW)
    assert not app.exception
    rows = app.dataframe[0].value.set_index("Detector")
    assert list(rows.index) == ["R-CNN", "Faster R-CNN"]
    assert rows.loc["R-CNN", ["AP50", "Features an image", "Features if stored, MB"]].tolist() == [
        "0.750",
        "5.0 s",
        "1,234",
    ]
    assert rows.loc["R-CNN", "× R-CNN's speed"] == "–"
    faster = rows.loc["Faster R-CNN"]
    assert faster["Proposals an image"] == "5.0 ms"
    assert faster["× R-CNN's speed without proposals"] == "100.0"
    assert faster["× R-CNN's speed"] == "100.0"
    assert faster["× selective search's speed"] == "100.0"
    assert faster["Features if stored, MB"] == "–"
    assert [code.value for code in app.code] == ["kapps train detector_family --seeds 1"]
    assert any("It \\* is \\* faster" in text.value for text in app.markdown)


def test_bars_are_as_long_as_the_logarithm_and_divided_as_the_time(page: Page, tasks: Path) -> None:
    (tasks / "detector_family.results.json").write_text(json.dumps(recorded()))
    shown = html(page(VIEW))
    widths = [float(text) for text in re.findall(r'"k-fill" style="width: ([0-9.]+)%', shown)]
    assert sum(widths[:3]) == pytest.approx(100, abs=0.1)  # the slowest fills the track
    assert widths[1] == pytest.approx(100 * 5.0 / 5.75, abs=0.1)
    length = 100 * np.log(0.055 / 0.001) / np.log(5.75 / 0.001)
    assert sum(widths[3:]) == pytest.approx(length, abs=0.1)
    assert widths[4] == pytest.approx(length * 0.03 / 0.055, abs=0.1)
    assert ">55 ms<" in shown

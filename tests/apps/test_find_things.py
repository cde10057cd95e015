"""The page that finds things, on a small detector that was exported for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from streamlit.testing.v1 import AppTest

import kapps
from kapps.data.scenes import CLASS_NAMES
from kapps.exporting import detection

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

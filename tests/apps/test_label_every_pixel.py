"""The page that labels every pixel, on a small network that was exported for it."""

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
from kapps.data.preprocessing import Preprocessing
from kapps.data.scenes import MASK_CLASS_NAMES
from kapps.exporting import saved_model
from kapps.exporting.saved_model import export

VIEW = "views/label_every_pixel.py"
Page = Callable[..., AppTest]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained `scenes_fcn` that has a CRF behind it; a short one, and plain decoding, for speed."""
    keras.utils.set_random_seed(0)
    size = (32, 32)
    config = {"filters": (4, 4, 4), "units": 4, "crf": "behind", "crf_iterations": 1, "crf_contrast": 0.5}
    model = kapps.create_model("fcn_scenes", input_shape=(*size, 3), config=config)
    for layer in model.layers:
        if layer.name.startswith("score") and layer.weights:
            layer.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in layer.get_weights()])
    folder = tmp_path_factory.mktemp("saved_models")
    options = {"preprocessing": Preprocessing(size), "labels": MASK_CLASS_NAMES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))
        export(model, folder / "scenes_fcn", features=["scores"], **options)
    return folder


@pytest.fixture
def pixels_page(page: Page, networks: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(networks))
    return lambda **state: page(VIEW, **state)


def html(app: AppTest) -> str:
    return "\n".join(element.value for element in app.get("html"))


def test_without_the_network_it_says_what_makes_it(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path))
    app = page(VIEW)
    assert not app.exception
    (info,) = app.info
    assert "`kapps train fcn_scenes`" in info.value
    assert "saved_models/scenes_fcn" in info.value
    assert "\n" not in info.value


def test_a_scene_has_its_truth_beside_the_answers(pixels_page: Page) -> None:
    app = pixels_page()
    assert not app.exception
    assert not app.error
    shown = html(app)
    for name in ("Picture", "The truth", "The network", "With a CRF behind", "Confidence"):
        assert f"<b>{name}</b>" in shown
    assert "in the model: pixels that look alike agree" in shown
    table = app.dataframe[0].value
    assert "background" in table["Class"].tolist()
    assert {"The truth: share", "The network: share", "The network: IoU", "With a CRF behind: IoU"} <= set(table)
    assert [metric.label for metric in app.metric] == ["The network: mean IoU", "With a CRF behind: mean IoU"]
    app.number_input(key="pixels_scene").set_value(3).run()
    assert not app.exception
    assert html(app) != shown


def test_an_uploaded_picture_keeps_its_shape_and_has_no_truth(pixels_page: Page) -> None:
    app = pixels_page(pixels_how="Upload")
    assert "a photo is something else to it" in app.info[0].value
    file = io.BytesIO()
    Image.new("L", (60, 40), 90).save(file, "PNG")
    app.file_uploader[0].upload("grey.png", file.getvalue(), "image/png").run()
    assert not app.exception
    assert "40 × 60 pixels" in html(app)
    assert "The truth" not in html(app)
    assert not app.metric


def test_what_is_no_picture_gets_one_clear_line(pixels_page: Page) -> None:
    app = pixels_page(pixels_how="Upload")
    app.file_uploader[0].upload("bad.png", b"text", "image/png").run()
    assert not app.exception
    (error,) = app.error
    assert "bad" in error.value
    assert "\n" not in error.value

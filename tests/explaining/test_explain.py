"""One call for all methods and kinds of input, and what is written."""

from __future__ import annotations

import functools
import json
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.linear_model import LogisticRegression

import kapps
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, OutputError, RecipeError, SavedModelError, UnknownNameError
from kapps.explaining import BUILT_IN, attribute
from kapps.explaining.explain import Explanation
from kapps.explaining.pictures import page, plain_image, save, sheet

LABELS = ["a", "<b>", "c & d", "e"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small convolutional network, and its export."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax")(x))
    path = tmp_path_factory.mktemp("exported") / "x"
    with pytest.MonkeyPatch.context() as patch:  # tracing the safe decoder takes seconds
        decode = functools.partial(tf.io.decode_png, channels=1)
        patch.setattr("kapps.exporting.saved_model.decode_image", decode)
        kapps.export(model, path, preprocessing=Preprocessing((8, 8), channels=1), labels=LABELS)
    return model, path


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def by_default(exported, picture):
    return kapps.explain(exported[1], picture)


@pytest.fixture(scope="module")
def of_text():
    pytest.importorskip("lime")
    return kapps.explain(
        lambda texts: np.array([[0.0, text.count("good"), text.count("<i>")] for text in texts]),
        "so <i> good & <i> so",
        "lime",
        class_names=["nothing", "good", "<i>"],
        target="<i>",
        split=r"\s+",
        samples=50,
    )


def test_a_path_a_predictor_and_the_keras_model_say_the_same(exported, picture, by_default):
    model, path = exported
    predictor = kapps.load(path, engine="tensorflow")
    image = predictor.preprocess(picture)[0]
    label = predictor(picture)["label"]
    for one in (
        by_default,
        kapps.explain(predictor, picture, target=label),
        kapps.explain(predictor, Image.fromarray(picture), "grad_cam", LABELS.index(label)),
        kapps.explain(path / "1" / "model.keras", image, class_names=LABELS),
        kapps.explain(model, image, class_names=LABELS, target=label),
    ):
        np.testing.assert_allclose(one.values, by_default.values, rtol=1e-4, atol=1e-6)
        assert (one.method, one.kind, one.label, one.target) == ("grad_cam", "image", label, LABELS.index(label))
        assert one.score == pytest.approx(predictor(picture)["score"], rel=1e-5)
        np.testing.assert_array_equal(one.input, image)
    assert kapps.explain(model, image).label == f"class {LABELS.index(label)}"


@pytest.mark.parametrize("method", [method for method in BUILT_IN if method != "grad_cam"])
def test_every_method_of_images(exported, picture, method):
    model, path = exported
    image = kapps.load(path, engine="tensorflow").preprocess(picture)[0]
    options = {"steps": 5} if method == "integrated_gradients" else {}
    found = kapps.explain(model, image, method, 2, **options)
    expected = attribute(model, image, method=method, target=2, **options)
    np.testing.assert_array_equal(found.values, expected.map)
    assert (found.signed, found.details.keys()) == (expected.signed, expected.details.keys())
    json.dumps(found.facts)


def test_texts_sounds_and_rows(of_text):
    assert (of_text.kind, of_text.target, of_text.label, of_text.score) == ("text", 2, "<i>", 2)
    assert of_text.names == ("so", "<i>", "good", "&")
    assert of_text.values[1] > 1.2 > 0.2 > np.abs(of_text.values[[0, 2, 3]]).max()
    json.dumps(of_text.facts)

    pytest.importorskip("shap")
    dense = keras.Sequential([keras.Input((20,)), keras.layers.Dense(2, use_bias=False)])
    weights = np.zeros((20, 2))
    weights[5:10, 1] = 1.0
    dense.set_weights([weights])
    sound = np.linspace(1, 2, 20)
    heard = kapps.explain(dense, sound, "shap", 1, kind="audio", segments=4, rate=10)
    np.testing.assert_allclose(heard.values, [0, sound[5:10].sum(), 0, 0], atol=1e-4)
    assert (heard.names[1], heard.spans[1], heard.kind) == ("0.500 to 1.000 s", ((5, 10),), "audio")
    row = kapps.explain(dense, sound, "shap", 1, background=np.zeros((1, 20)), samples=200)
    np.testing.assert_allclose(row.values, sound * weights[:, 1], atol=1e-4)  # of numbers a Keras model takes rows
    channel = keras.Sequential([keras.Input((20, 1)), keras.layers.Flatten(), dense.layers[-1]])
    again = kapps.explain(channel, sound, "shap", 1, kind="audio", segments=4)
    np.testing.assert_allclose(again.values, heard.values, atol=1e-4)
    for one in (heard, row, of_text):
        assert one.picture.dtype == np.uint8
        assert one.picture.std() > 5


def test_an_estimator_of_scikit_learn_is_asked_for_probabilities():
    pytest.importorskip("shap")
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 2))
    estimator = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
    found = kapps.explain(estimator, [2.0, 0.0], "shap", kind="table", background=rows[:50], names=["x", "y"])
    assert found.label == "yes"
    assert found.values[0] > 5 * abs(found.values[1])
    assert found.values.sum() == pytest.approx(found.score - found.details["base"], abs=1e-4)
    labels = np.where(rows[:, 0] > 0, "yes", "no")
    weight = kapps.explain(estimator, rows, "permutation_importance", labels=labels, names=["x", "y"], repeats=3)
    assert (weight.target, weight.kind, weight.names) == (None, "table", ("x", "y"))
    assert weight.values[0] > 0.3 > abs(weight.values[1])
    assert weight.picture.shape[2] == 3
    assert len(weight.facts["std"]) == 2


class Page(HTMLParser):
    """Fails on a page whose tags do not match; keeps its words and pictures."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.tags = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_a_page_needs_nothing_else_and_escapes_everything(by_default, of_text):
    text = page([("<script>alert(1)</script>.png", by_default), ("", of_text)])
    parsed = Page(text)
    assert "<script>" not in text
    assert "so <i> good & <i> so" in "".join(parsed.words)
    assert not any(tag in ("script", "link", "i", "b") for tag, _ in parsed.tags)
    pictures = [facts["src"] for tag, facts in parsed.tags if tag == "img"]
    assert len(pictures) == 2
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    assert "http" not in text
    coloured = [facts["style"] for tag, facts in parsed.tags if tag == "span"]
    assert len(coloured) == 6  # every word, the repeated ones too
    assert coloured[1] == coloured[4] != coloured[2]


def test_written_files(by_default, of_text, tmp_path):
    assert by_default.save(tmp_path / "why.png") == tmp_path / "why.png"
    with Image.open(tmp_path / "why.png") as file:
        np.testing.assert_array_equal(np.asarray(file), by_default.picture)
    of_text.save(tmp_path / "why.html")
    Page((tmp_path / "why.html").read_text(encoding="utf-8"))
    save([("a $x_1$.png", by_default), ("b", by_default), ("b", by_default)], tmp_path / "all.png")
    with Image.open(tmp_path / "all.png") as file:
        assert file.size[0] > file.size[1] > 300  # two rows; the image and two pictures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.png", "why.html", "why.png"]
    with pytest.raises(OutputError, match=r"ending in .png or .html, got .*why.jpg: rename it"):
        by_default.save(tmp_path / "why.jpg")
    with pytest.raises(OutputError, match="cannot write"):
        by_default.save(tmp_path / "none" / "why.png")


def test_pictures_of_what_is_blank_or_many():
    flat = Explanation("lime", "table", np.zeros(60, np.float32), 0, "x" * 300, 0.5, True, np.zeros(60), ("$n_",) * 60)
    assert flat.picture.shape[0] < 1000  # the strongest only
    silent = Explanation("shap", "audio", np.zeros(2, np.float32), 0, "a", 0.0, True, np.zeros(4), ("b", "c"),
                         (((0, 2),), ((2, 4),)))  # fmt: skip
    assert silent.picture.size
    assert plain_image(np.full((2, 2, 1), 7.0)).tolist() == np.zeros((2, 2, 3)).tolist()
    assert sheet([("x", flat)]).ndim == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "gradcam"}, UnknownNameError, "no method is named 'gradcam': did you mean 'grad_cam"),
        ({"target": "f"}, UnknownNameError, "no class is named 'f'"),
        ({"target": 9}, DataError, "expected a class from 0 to 3, got 9"),
        ({"kind": "sound"}, UnknownNameError, "no kind of input is named 'sound'"),
        ({"kind": "text"}, DataError, "x takes images, got kind='text'"),
        ({"method": "saliency", "steps": 3}, RecipeError, "saliency has no such option: .*'steps'"),
        ({"input": [np.zeros((8, 8), np.uint8)] * 2}, DataError, "expected one image, got 2"),
        ({"input": "none.png"}, DataError, "none.png does not exist"),
    ],
)
def test_wrong_arguments_are_refused(exported, picture, arguments, error, message):
    given = {"model": exported[1], "input": picture} | arguments
    with pytest.raises(error, match=message):
        kapps.explain(given.pop("model"), given.pop("input"), **given)


@pytest.mark.parametrize(
    ("model", "input", "options", "error", "message"),
    [
        (3, None, {}, DataError, "expected the folder of an exported model, .* got int"),
        ("no-such-folder", None, {}, SavedModelError, "does not exist"),
        (np.sum, np.zeros(3), {}, DataError, "a function does not tell what it takes"),
        (np.sum, np.zeros(3), {"kind": "table"}, DataError, "grad_cam explains images, got kind='table': take lime"),
        (np.sum, np.zeros((2, 3)), {"kind": "table", "method": "shap"}, DataError, r"one row \[F\] .*got \[2, 3\]"),
        (np.sum, [np.nan], {"kind": "audio", "method": "shap"}, DataError, r"one waveform \[T\] of finite numbers"),
        (np.sum, 3, {"kind": "text", "method": "shap"}, DataError, "expected a text, got int"),
        (len, "a", {"method": "lime", "target": "b"}, DataError, "give class_names to call them by name"),
        (len, "a", {"method": "lime", "of": "evidence"}, RecipeError, 'of should be "score" for a function'),
        (np.sum, np.zeros(3), {"method": "permutation_importance", "target": 1}, DataError, "for all classes"),
    ],
)
def test_functions_and_their_inputs_are_checked(model, input, options, error, message):
    with pytest.raises(error, match=message):
        kapps.explain(model, input, **options)

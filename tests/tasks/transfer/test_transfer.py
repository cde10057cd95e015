from __future__ import annotations

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps.create import load_keras
from kapps.errors import DataError, OutputError, RecipeError, UnknownNameError
from kapps.explaining.inner import feature_gradient
from kapps.tasks.transfer import transfer as module
from kapps.tasks.transfer import tuning
from kapps.tasks.transfer.transfer import transfer

from .conftest import picture


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(tuning, "_MOST_EPOCHS", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_from_a_folder_to_a_model_that_answers_as_the_report_says(folder, weights, tmp_path):
    seen = set()
    result = transfer(
        folder,
        backbone="resnet20",
        weights=weights,
        out=tmp_path / "out",
        validation=0.25,
        minutes=5,
        progress=lambda step, done, of: seen.add(step),
    )
    assert {"reading the photos", "computing features", "fine-tuning"} <= seen
    predictor = kapps.load(result.model)
    assert predictor.labels == ("bars", "点 dots")
    answers = predictor([photo.path for photo in result.photos.validation])
    found = np.array([[answer["probabilities"][name] for name in predictor.labels] for answer in answers])
    np.testing.assert_allclose(found, result.probabilities, atol=1e-4)  # calibrated, in the graph
    truth = np.array([photo.label for photo in result.photos.validation])
    figures = result.metrics["validation"]
    assert figures["accuracy"] == (found.argmax(axis=1) == truth).mean()
    assert figures["num_examples"] == len(truth) == 6
    assert figures["low"] < figures["accuracy"] <= figures["high"]
    assert predictor.card.metrics["accuracy"]["value"] == figures["accuracy"]
    assert predictor.card.metrics["accuracy"]["command"].startswith("kapps transfer ")
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert stored["metrics"] == result.metrics
    assert any("is not known; of the usual preprocessings" in note for note in stored["notes"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "点 dots" in page
    assert "<script" not in page
    assert set(predictor.features(result.photos.train[0].path)) >= {"stage1", "stage3"}


def test_names_are_escaped_and_a_second_run_is_a_second_version(folder, weights, tmp_path):
    (folder / "bars").rename(folder / "<img src=x onerror=alert(1)>")
    options = {"backbone": "resnet20", "weights": weights, "out": tmp_path / "out", "tune": False, "validation": 0.5}
    for version in (1, 2):
        assert transfer(folder, **options).model == tmp_path / "out" / "model" / str(version)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


@pytest.mark.slow
def test_a_thousand_classes_of_one_photo(weights, tmp_path):
    for index in range(1000):
        (tmp_path / "photos" / f"class {index:03}").mkdir(parents=True)
        picture(index, side=40).save(tmp_path / "photos" / f"class {index:03}" / "猫 1.png")
    begun = time.monotonic()
    result = transfer(tmp_path / "photos", backbone="resnet20", weights=weights, out=tmp_path / "out")
    assert time.monotonic() - begun < 180
    assert result.metrics == {"frozen": {"num_examples": 0}}
    assert any("no validation photos" in note for note in result.notes)
    predictor = kapps.load(result.model)
    assert len(predictor.labels) == 1000
    taught = result.photos.train[::50]
    answers = predictor([photo.path for photo in taught])
    right = [answer["label"] == predictor.labels[photo.label] for answer, photo in zip(answers, taught, strict=True)]
    assert sum(right) >= 8  # 64 features of random weights: a thousandth is chance
    assert (tmp_path / "out" / "result.json").stat().st_size < 1_000_000  # no table of a million zeros


def test_every_layer_sees_the_image_and_then_its_mirror_image():
    """The mean of both scores, with the weights once; a named feature is that of the image."""
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3))
    feature = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="stage1")(image)
    trunk = keras.Model(image, keras.layers.Flatten()(feature), name="small")
    model = module._classifier(trunk, keras.layers.Dense(3, name="scores"))
    both = module._mirrored(model)
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    scores = keras.Model(model.input, model.get_layer("scores").output)
    mean = (scores(images) + scores(images[:, :, ::-1])) / 2
    np.testing.assert_allclose(both(images), keras.ops.softmax(mean), atol=1e-6)
    assert both.count_params() == model.count_params()
    own = keras.Model(image, feature)(images[:1])
    activation, *_ = feature_gradient(both, tf.constant(images[:1]), 0, "stage1", None)
    np.testing.assert_allclose(activation, own, atol=1e-6)


@pytest.mark.slow
def test_the_exported_model_averages_a_photo_and_its_mirror_image(folder, weights, tmp_path):
    for index in range(6, 12):  # half as many of one class
        (folder / "bars" / f"photo {index}.png").unlink()
    told = []
    result = transfer(
        folder,
        backbone="resnet20",
        weights=weights,
        out=tmp_path / "out",
        tune=False,
        validation=0.5,
        mirror=True,
        class_weights="none",
        progress=lambda step, done, of: told.append(step),
    )
    predictor = kapps.load(result.model, engine="tensorflow")
    photos = [photo.path for photo in result.photos.validation]
    seen = predictor.preprocess(photos)
    answers, others = predictor.predict_tensors(seen), predictor.predict_tensors(seen[:, :, ::-1].copy())
    np.testing.assert_allclose(answers, others, atol=1e-6)
    np.testing.assert_allclose(answers, result.probabilities, atol=1e-4)  # with the temperature of the mean
    truth = np.array([photo.label for photo in result.photos.validation])
    figures = result.metrics["validation"]
    assert figures["accuracy"] == figures["accuracy_with_mirroring"] == (answers.argmax(axis=1) == truth).mean()
    assert predictor.card.metrics["accuracy"]["value"] == figures["accuracy"]
    assert any("mean of an image and its mirror image" in limit for limit in predictor.card.limits)
    assert predictor.card.metrics["accuracy"]["command"].endswith(
        "--no-fine-tune --tta --class-weights none --validation 0.5 --seed 0"
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "averaged with each photo, in the model" in page
    assert "none: every photo counts the same" in page
    assert list(dict.fromkeys(told))[-3:] == ["learning the head", "calibrating", "writing the model"]

    # A named feature, and what Grad-CAM looks at, are those of the image itself.
    network = load_keras(result.model / "model.keras")
    for feature in ("stage1", "stage3"):
        own = keras.Model(network.input, network.get_layer(feature).output)(seen[:1])
        activation, *_ = feature_gradient(network, tf.constant(seen[:1]), 0, feature, None)
        np.testing.assert_allclose(activation, own, atol=1e-5)
        np.testing.assert_allclose(predictor.features(photos[0])[feature], own, atol=1e-4)

    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert np.sum(stored["confusion"]) == len(truth)
    assert np.trace(stored["confusion"]) == (answers.argmax(axis=1) == truth).sum()
    assert len(stored["mistakes"]) == (answers.argmax(axis=1) != truth).sum()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["softmax", "svm", "nearest"])
def test_every_head_is_exported(folder, weights, tmp_path, head):
    result = transfer(folder, backbone="resnet20", weights=weights, head=head, out=tmp_path / "out", tune=False)
    answers = kapps.load(result.model)([photo.path for photo in result.photos.validation])
    found = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(found, result.probabilities, atol=1e-4)


@pytest.mark.slow
def test_one_photo_a_class_is_learned_and_nothing_is_claimed(weights, tmp_path):
    for index in range(40):
        (tmp_path / "many" / f"class {index}").mkdir(parents=True)
        picture(index).save(tmp_path / "many" / f"class {index}" / "one.jpg")
    result = transfer(tmp_path / "many", backbone="resnet20", weights=weights, out=tmp_path / "out")
    assert "validation" not in result.metrics
    assert "nothing is known of its quality" in (tmp_path / "out" / "report.html").read_text()
    assert kapps.load(result.model).card.metrics == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backbone": "resnet21"}, UnknownNameError, "did you mean 'resnet"),
        ({"head": "forest"}, UnknownNameError, "no head is named 'forest'"),
        ({"class_weights": "balance"}, UnknownNameError, "did you mean 'balanced'"),
        ({"patience": 0}, RecipeError, "expected a patience of at least 1 epoch, or None to wait for the end, got 0"),
        ({"backbone": "lenet5"}, RecipeError, r"expected a backbone for colour images, lenet5 takes \[28, 28, 1\]"),
    ],
)
def test_wrong_choices_are_refused_before_any_work(folder, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        transfer(folder, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_other_things_is_not_written_into(folder, weights, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match=r"but .*mine holds other things"):
        transfer(folder, backbone="resnet20", weights=weights, out=tmp_path / "mine")
    assert [child.name for child in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_one_class_alone_is_refused(tmp_path):
    (tmp_path / "photos" / "only").mkdir(parents=True)
    picture(0).save(tmp_path / "photos" / "only" / "x.png")
    with pytest.raises(DataError, match="expected at least two class folders"):
        transfer(tmp_path / "photos", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""The exported graph answers as the model does, and a failed export leaves nothing behind."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kapps
from kapps.create import load_keras
from kapps.data.images import read_image
from kapps.data.preprocessing import Preprocessing
from kapps.errors import OutputError, RecipeError, SavedModelError, UnknownNameError
from kapps.exporting import saved_model, warmup
from kapps.exporting.card import Card
from kapps.exporting.integrity import sha256_of_files
from kapps.exporting.saved_model import export

REPO = Path(__file__).resolve().parents[2]
COLOURS = ("red", "green", "blue")


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def pictures() -> list[bytes]:
    """Encoded images of many kinds and sizes."""
    random = np.random.default_rng(0)

    def noise(*shape):
        return random.integers(0, 256, shape, dtype=np.uint8)

    return [
        encode(noise(6, 5, 3)),
        encode(noise(40, 31, 3), "JPEG"),
        encode(noise(9, 9)),
        encode(noise(7, 12, 4)),
        encode(noise(10, 10, 3), "BMP"),
        encode(noise(12, 5), "GIF"),
    ]


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    yield loaded.signatures
    del loaded


def test_the_folder_is_what_tensorflow_serving_and_people_expect(exported):
    files = {file.relative_to(exported).as_posix() for file in exported.rglob("*") if file.is_file()}
    assert files == {
        "card.json",
        "card.md",
        "1/card.json",
        "1/saved_model.pb",
        "1/fingerprint.pb",
        "1/variables/variables.index",
        "1/variables/variables.data-00000-of-00001",
        "1/assets.extra/tf_serving_warmup_requests",
        "1/model.keras",
    }
    assert (exported / "card.json").read_bytes() == (exported / "1" / "card.json").read_bytes()


@pytest.mark.parametrize("count", [1, 2, 6])
def test_bytes_of_any_kind_and_size_give_what_the_model_gives(signatures, colour_model, preprocessing, count):
    encoded = pictures()[:count]
    images = np.stack([preprocessing(tf.constant(read_image(data))) for data in encoded])
    expected = colour_model(images, training=False).numpy()
    result = signatures["serving_default"](image_bytes=tf.constant(encoded))
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-2)  # JPEG decoders differ a little
    np.testing.assert_allclose(signatures["preprocess"](image_bytes=tf.constant(encoded))["image"], images, atol=1e-2)
    order = np.argsort(-result["probabilities"].numpy(), axis=1)
    assert result["classes"].numpy().tolist() == [[COLOURS[n].encode() for n in row] for row in order]
    np.testing.assert_array_equal(result["top_k"], np.take_along_axis(result["probabilities"].numpy(), order, axis=1))


def test_no_image_gives_no_answer(signatures):
    result = signatures["serving_default"](image_bytes=tf.constant([], tf.string))
    assert {name: tuple(value.shape) for name, value in result.items()} == {
        "probabilities": (0, 3),
        "classes": (0, 3),
        "top_k": (0, 3),
    }


def test_one_broken_image_fails_the_request(signatures):
    for encoded in ([b"text"], [pictures()[0], b"text"]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signatures["serving_default"](image_bytes=tf.constant(encoded))


def test_tensors_and_features_are_the_models_own(signatures, colour_model):
    images = np.random.default_rng(1).uniform(size=(4, 6, 5, 3)).astype(np.float32)
    result = signatures["serving_tensors"](image=tf.constant(images))
    np.testing.assert_allclose(result["probabilities"], colour_model(images), rtol=1e-5)
    features = signatures["features"](image=tf.constant(images))
    np.testing.assert_allclose(features["mean_colour"], images.mean(axis=(1, 2)), rtol=1e-5)
    assert set(features) == {"mean_colour"}


def test_logits_are_found_wherever_the_softmax_stands(signatures, colour_model_with):
    images = np.random.default_rng(1).uniform(size=(4, 6, 5, 3)).astype(np.float32)
    logits = signatures["logits"](image=tf.constant(images))["logits"]
    np.testing.assert_allclose(logits, colour_model_with(None)(images), rtol=1e-5)


def test_it_is_differentiable_after_loading(signatures, colour_model):
    images = tf.constant(np.random.default_rng(2).uniform(size=(2, 6, 5, 3)), tf.float32)
    gradients = []
    for function in (lambda x: signatures["serving_tensors"](image=x)["probabilities"], colour_model):
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = function(images)[:, 1]
        gradients.append(tape.gradient(score, images))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)
    assert np.abs(gradients[0]).max() > 0


def test_the_card_says_what_is_there(exported):
    card = Card.read(exported / "card.json")
    assert (card.name, card.version, card.architecture, card.task) == ("colours", 1, "colours", "classification")
    assert (card.labels, card.top_k, card.scores, card.features) == (COLOURS, 3, "softmax", ("mean_colour",))
    assert (card.params, card.licence) == (9, "Apache-2.0")
    # 2 for each multiply-add of the 3x3 weights; the mean and the softmax come on top
    assert card.flops >= 18
    assert card.sha256 == sha256_of_files(exported / "1")
    assert card.input["shape"] == [6, 5, 3]
    assert Preprocessing.from_dict(card.input["preprocessing"]) == Preprocessing((6, 5))
    assert card.signatures["serving_default"] == {
        "inputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
        "outputs": {
            "probabilities": {"dtype": "float32", "shape": [None, 3]},
            "classes": {"dtype": "string", "shape": [None, 3]},
            "top_k": {"dtype": "float32", "shape": [None, 3]},
        },
    }
    assert set(card.signatures) == {"serving_default", "serving_tensors", "preprocess", "features", "logits"}
    assert set(card.created_by) == {"kapps", "tensorflow", "keras", "python"}


@pytest.mark.usefixtures("light_decoding")
def test_what_the_catalogue_knows_stands_on_the_card(tmp_path):
    entry = kapps.info("lenet5_softmax")
    model = kapps.create_model(entry.name)
    size = Preprocessing(entry.input_shape[:2], channels=entry.input_shape[2])
    folder = export(model, tmp_path / "digits", preprocessing=size, labels=list("0123456789"))
    card = Card.read(folder / "card.json")
    assert (card.architecture, card.paper, card.params) == (entry.name, entry.paper, entry.params)
    assert entry.title in card.title


@pytest.mark.usefixtures("light_decoding")
def test_the_keras_file_can_be_trained_on(colour_model, preprocessing, tmp_path):
    colour_model.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(3).uniform(size=(6, 6, 5, 3)).astype(np.float32)
    colour_model.fit(images, np.zeros(6), verbose=0)
    folder = export(colour_model, tmp_path / "x", preprocessing=preprocessing, labels=COLOURS)
    loaded = load_keras(folder / "model.keras")
    np.testing.assert_allclose(loaded(images), colour_model(images), rtol=1e-6)
    assert not loaded.compiled  # the optimiser's state would triple the file
    assert colour_model.compiled
    loaded.compile("sgd", "sparse_categorical_crossentropy")
    loaded.fit(images, np.zeros(6), verbose=0)
    assert not np.allclose(loaded(images), colour_model(images), rtol=1e-6)


@keras.saving.register_keras_serializable("kapps-tests")
class OwnStep(keras.Model):
    """A functional model with a training step of its own, as some architectures have."""


@pytest.mark.usefixtures("light_decoding")
def test_a_model_of_its_own_class_stays_one(colour_model, preprocessing, tmp_path):
    model = OwnStep(inputs=colour_model.input, outputs=colour_model.output, name="own")
    folder = export(model, tmp_path / "x", preprocessing=preprocessing, labels=COLOURS)
    assert type(load_keras(folder / "model.keras")) is OwnStep


@pytest.mark.usefixtures("light_decoding")
def test_what_the_scores_are_is_found_out_and_never_changed_silently(colour_model_with, preprocessing, tmp_path):
    def exported_card(name, model, **options):
        return Card.read(
            export(model, tmp_path / name, preprocessing=preprocessing, labels=COLOURS, **options) / "card.json"
        )

    def scores(name):
        image = np.linspace(-1, 1, 90).reshape(1, 6, 5, 3).astype(np.float32)
        return image, kapps.load(tmp_path / name).predict_tensors(image)

    logits = colour_model_with(None)
    with pytest.raises(RecipeError, match=r"outputs are not probabilities \(from .*\): give activation=\"softmax\""):
        exported_card("refused", logits)
    assert not (tmp_path / "refused").exists()

    assert exported_card("softmax", logits, activation="softmax").scores == "softmax"
    image, got = scores("softmax")

    def exported_logits(name):
        return kapps.load(tmp_path / name).logits_function(image=tf.constant(image))["logits"]

    np.testing.assert_allclose(exported_logits("softmax"), logits(image), rtol=1e-5)
    np.testing.assert_allclose(got, tf.nn.softmax(logits(image)), rtol=1e-5)
    assert exported_card("linear", logits, activation="linear").scores == "unnormalised"
    np.testing.assert_allclose(scores("linear")[1], logits(image), rtol=1e-5)

    sigmoid = colour_model_with("sigmoid")
    assert kapps.load(tmp_path / "linear").logits_function is None
    assert exported_card("sigmoid", sigmoid).scores == "sigmoid"
    np.testing.assert_allclose(exported_logits("sigmoid"), logits(image), rtol=1e-5)
    np.testing.assert_allclose(scores("sigmoid")[1], sigmoid(image), rtol=1e-5)
    with pytest.raises(RecipeError, match=r"probabilities already \(sigmoid\): leave activation='softmax' out"):
        exported_card("twice", sigmoid, activation="softmax")


def with_nan(model):
    model.layers[-1].set_weights([np.full((3, 3), np.nan)])
    return model


def two_inputs():
    one, two = keras.Input((6, 5, 3)), keras.Input((6, 5, 3))
    return keras.Model([one, two], keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(one + two)))


def a_row():
    image = keras.Input((6, 5, 3))
    return keras.Model(image, keras.layers.Softmax()(keras.layers.Reshape((30, 3))(image)))


class Subclassed(keras.Model):
    def call(self, image):
        return tf.nn.softmax(tf.reduce_mean(image, axis=(1, 2)))


@pytest.mark.usefixtures("light_decoding")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": COLOURS[:2]}, RecipeError, "expected 3 labels, one for each output of the model, got 2"),
        ({"labels": ["a", "b", "a"]}, RecipeError, "each label should be there once, got 'a' 2 times"),
        ({"labels": "rgb"}, RecipeError, "labels should be a list of class names, got 'rgb'"),
        ({"labels": [0, 1, 2]}, RecipeError, "labels should be a list of class names"),
        ({"version": 0}, RecipeError, "version should be a positive integer or None, got 0"),
        ({"version": "2"}, RecipeError, "version should be a positive integer or None, got '2'"),
        ({"top_k": 0}, RecipeError, "top_k should be an integer of at least 1, got 0"),
        ({"activation": "relu"}, RecipeError, "activation should be None or one of softmax, sigmoid, linear"),
        ({"features": ["mean_color"]}, UnknownNameError, "is named 'mean_color': did you mean 'mean_colour'"),
        ({"card": {"license": "MIT"}}, RecipeError, "a card has no field 'license': expected licence"),
        ({"samples": ["a.png"]}, RecipeError, r"samples should be encoded images or uint8 arrays .*, got str"),
        ({"samples": [b"text"]}, RecipeError, "the samples cannot be decoded"),
        (
            {"preprocessing": Preprocessing((6, 6))},
            RecipeError,
            r"the preprocessing gives images \[6, 6, 3\] but 'colours' takes \[6, 5, 3\]: make them equal",
        ),
        ({"model": with_nan}, SavedModelError, "answers with NaN or infinity"),
        ({"model": lambda _: two_inputs()}, SavedModelError, "expected a functional model from one image"),
        ({"model": lambda _: a_row()}, SavedModelError, r"one a class and pixel .*, which gives \[None, 30, 3\]"),
        ({"model": lambda _: Subclassed()}, SavedModelError, "expected a functional model from one image"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(colour_model, preprocessing, tmp_path, change, error, message):
    options = {"preprocessing": preprocessing, "labels": COLOURS, **change}
    model = options.pop("model", lambda model: model)(colour_model)
    with pytest.raises(error, match=message) as caught:
        export(model, tmp_path / "deep" / "x", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "deep").exists()


@pytest.mark.usefixtures("light_decoding")
def test_an_existing_version_is_kept_unless_overwriting_is_asked(colour_model, preprocessing, tmp_path):
    options = {"preprocessing": preprocessing, "labels": COLOURS}
    assert export(colour_model, tmp_path, **options) == tmp_path / "1"
    with pytest.raises(OutputError, match="1 exists already"):
        export(colour_model, tmp_path, version=1, **options)
    colour_model.layers[-1].set_weights([-np.eye(3)])
    export(colour_model, tmp_path, version=1, overwrite=True, **options)
    red = np.zeros((6, 5, 3), np.uint8)
    red[..., 0] = 255
    assert kapps.load(tmp_path)(red)["label"] != "red"
    assert export(colour_model, tmp_path, **options) == tmp_path / "2"
    assert Card.read(tmp_path / "card.json").version == 2


# Failures while writing --------------------------------------------------------------------------------------------


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tensorflow_full_disk(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "variables.data; No space left on device")


@pytest.mark.usefixtures("light_decoding")
@pytest.mark.parametrize(
    ("place", "name", "failure"),
    [
        # Looked up when the test runs: TensorFlow makes this module anew while an ONNX file is written.
        (lambda: saved_model.tf.saved_model, "save", tensorflow_full_disk),
        (lambda: keras.Model, "save", full_disk),
        (lambda: warmup.tf.io, "TFRecordWriter", tensorflow_full_disk),
        (lambda: Path, "write_bytes", full_disk),
    ],
    ids=["graph", "keras file", "warm-up", "card"],
)
def test_a_full_disk_keeps_the_old_version_whole(
    exported, colour_model, preprocessing, tmp_path, monkeypatch, place, name, failure
):
    options = {"preprocessing": preprocessing, "labels": COLOURS}
    shutil.copytree(exported, tmp_path / "x")
    before = {file: file.read_bytes() for file in (tmp_path / "x").rglob("*") if file.is_file()}
    monkeypatch.setattr(place(), name, failure)
    with pytest.raises(OutputError, match=r"cannot write to .*/x: .*No space left on device.*; give a folder"):
        export(colour_model, tmp_path / "x", **options)
    with pytest.raises(OutputError, match="No space left"):
        export(colour_model, tmp_path / "new" / "y", **options)
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in (tmp_path / "x").rglob("*") if file.is_file()} == before
    assert [child.name for child in tmp_path.iterdir()] == ["x"]


@pytest.mark.usefixtures("light_decoding")
def test_writes_that_really_fail_in_the_middle_leave_nothing(colour_model, preprocessing, tmp_path):
    """The system refuses files over 4 KB, so TensorFlow's own writer of the graph meets the failure."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # Python's default: an error instead of the signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write to .*File too large"):
            export(colour_model, tmp_path / "x", preprocessing=preprocessing, labels=COLOURS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("light_decoding")
def test_a_place_that_cannot_be_written_is_refused(colour_model, preprocessing, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write to .*file/x: Not a directory"):
        export(colour_model, tmp_path / "file" / "x", preprocessing=preprocessing, labels=COLOURS)


@pytest.mark.usefixtures("light_decoding")
def test_a_graph_that_answers_otherwise_than_the_model_is_not_put_in_place(
    colour_model, preprocessing, tmp_path, monkeypatch
):
    real = tf.saved_model.load

    def damaged(folder):
        loaded = real(folder)
        for variable in loaded.weights:
            variable.assign_add(tf.random.normal(variable.shape))
        return loaded

    monkeypatch.setattr(saved_model.tf.saved_model, "load", damaged)
    with pytest.raises(SavedModelError, match="what was written answers otherwise than the model"):
        export(colour_model, tmp_path / "x", preprocessing=preprocessing, labels=COLOURS)
    assert not (tmp_path / "x").exists()


EXPORTING = """
import sys
sys.path.insert(0, sys.argv[2])
from conftest import COLOURS, make_colour_model
from kapps.data.preprocessing import Preprocessing
from kapps.exporting.saved_model import export
while True:
    export(make_colour_model(), sys.argv[1], preprocessing=Preprocessing((6, 5)), labels=COLOURS)
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.35, 0.8])
def test_a_killed_export_leaves_a_model_that_loads(colour_model, preprocessing, tmp_path, delay):
    """The real thing, at a moment left to chance; test_atomic.py goes through all moments."""
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORTING, str(tmp_path / "x"), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / "x" / "card.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(delay)
    finally:
        process.kill()
        process.wait()
    red = np.zeros((6, 5, 3), np.uint8)
    red[..., 0] = 255
    assert kapps.load(tmp_path / "x")(red)["label"] == "red"
    export(colour_model, tmp_path / "x", preprocessing=preprocessing, labels=COLOURS)
    assert not list((tmp_path / "x").glob(".*"))
    assert kapps.load(tmp_path / "x")(red)["label"] == "red"

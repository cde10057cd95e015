"""A loaded model answers in plain Python for every kind of input, and refuses what it cannot read by name."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kapps
from kapps.data.preprocessing import Preprocessing
from kapps.errors import ImageError, SavedModelError

REPO = Path(__file__).resolve().parents[1]
COLOURS = ("red", "green", "blue")
SIZE = (6, 5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An exported model that tells which colour is strongest: the softmax of eight times each channel's mean."""
    image = keras.Input((*SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    dense = keras.layers.Dense(3, use_bias=False, activation="softmax")
    model = keras.Model(image, dense(mean), name="colours")
    dense.set_weights([8 * np.eye(3)])
    path = tmp_path_factory.mktemp("models") / "colours"
    kapps.export(model, path, preprocessing=Preprocessing(SIZE), labels=COLOURS, features=["mean"], top_k=2)
    return path


@pytest.fixture(scope="module")
def predictor(exported):
    return kapps.load(exported)


@pytest.fixture
def copied(exported, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(exported, tmp_path / "colours")


def plain(colour: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., COLOURS.index(colour)] = 255
    return pixels


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, format=kind, **options)
    return file.getvalue()


# Answers -----------------------------------------------------------------------------------------------------------


def test_an_answer_is_plain_python_and_right(predictor):
    answer = predictor(plain("green"))
    e = np.exp(8)
    assert answer["label"] == "green"
    assert answer["score"] == pytest.approx(e / (e + 2), rel=1e-5)
    assert answer["probabilities"] == pytest.approx({"red": 1 / (e + 2), "green": e / (e + 2), "blue": 1 / (e + 2)})
    assert [place["label"] for place in answer["top_k"]] == ["green", "red"]  # k = 2; of equals the first
    assert answer["top_k"][0] == {"label": "green", "score": answer["score"]}
    assert json.loads(json.dumps(answer)) == answer
    assert type(answer["score"]) is float
    assert type(answer["label"]) is str


def test_every_kind_of_input_gives_the_same_answer(predictor, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 9, 3), dtype=np.uint8)
    file = tmp_path / "image.png"
    file.write_bytes(encode(pixels))
    answers = [
        predictor(one)
        for one in (
            str(file),
            file,
            file.read_bytes(),
            bytearray(file.read_bytes()),
            pixels,
            Image.fromarray(pixels),
            encode(pixels, "BMP"),
            np.dstack([pixels, np.full((13, 9), 255, np.uint8)]),
        )
    ]
    assert all(answer == answers[0] for answer in answers)


def test_grey_and_palette_images_are_read(predictor):
    grey = np.full((8, 8), 128, np.uint8)
    answers = [
        predictor(one)
        for one in (
            grey,
            grey[..., None],
            Image.fromarray(grey),
            Image.fromarray(grey).convert("P"),
            encode(grey, "GIF"),
        )
    ]
    for answer in answers:
        assert answer["probabilities"] == pytest.approx(dict.fromkeys(COLOURS, 1 / 3), rel=1e-5)


def test_batches_keep_their_order_whatever_they_hold(predictor, tmp_path):
    (tmp_path / "blue.jpg").write_bytes(encode(plain("blue", (40, 30)), "JPEG"))
    mixed = [
        plain("red"),
        tmp_path / "blue.jpg",
        encode(plain("green", (2, 70))),
        Image.fromarray(plain("red", (9, 9))),
    ]
    assert [answer["label"] for answer in predictor(mixed)] == ["red", "blue", "green", "red"]
    assert [answer["label"] for answer in predictor(tuple(mixed[:1]))] == ["red"]
    stack = np.stack([plain(colour) for colour in COLOURS])
    assert [answer["label"] for answer in predictor(stack)] == list(COLOURS)


def test_streams_are_answered_as_they_come(predictor):
    taken = []

    def stream():
        for number in range(100):
            taken.append(number)
            yield plain(COLOURS[number % 3])

    answers = predictor.predict_many(stream(), batch_size=7)
    assert next(answers)["label"] == "red"
    assert len(taken) == 7
    assert [answer["label"] for answer in answers] == [COLOURS[number % 3] for number in range(1, 100)]
    assert list(predictor.predict_many([])) == []


def test_what_the_network_sees_and_its_inner_layers(predictor):
    pixels = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    image = predictor.preprocess(pixels)
    assert (image.shape, image.dtype) == ((1, *SIZE, 3), np.float32)
    np.testing.assert_allclose(image[0], pixels / 255, rtol=1e-6)
    assert predictor.preprocess([pixels] * 40).shape == (40, *SIZE, 3)
    features = predictor.features([pixels, plain("red")])
    assert set(features) == {"mean"}
    np.testing.assert_allclose(features["mean"], [(pixels / 255).mean(axis=(0, 1)), [1, 0, 0]], rtol=1e-5)
    scores = predictor.predict_tensors(image)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[0], list(predictor(pixels)["probabilities"].values()), rtol=1e-6)
    with pytest.raises(ImageError, match=r"expected preprocessed images float32 \[B, 6, 5, 3\], got float64"):
        predictor.predict_tensors(np.zeros((1, 6, 5, 3)))
    with pytest.raises(ImageError, match=r"got float32 \[6, 5, 3\]: take what preprocess\(\) gives"):
        predictor.predict_tensors(image[0])


def test_it_says_what_it_is(predictor, exported):
    assert predictor.labels == COLOURS
    assert predictor.card.name == "colours"
    assert repr(predictor) == (
        f"<Predictor colours version 1: colours, 6x5x3 -> 3 classes (softmax), from {exported / '1'}>"
    )


def test_threads_do_not_disturb_each_other(predictor):
    wrong = []

    def ask(colour):
        for size in range(2, 22):
            answer = predictor(plain(colour, (size, 7)))
            if answer["label"] != colour or answer["score"] < 0.99:
                wrong.append((colour, size, answer))

    threads = [threading.Thread(target=ask, args=(COLOURS[number % 3],)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Images that are refused, or read rightly --------------------------------------------------------------------------


def one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message
    return True


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header says another size than it has."""
    data = bytearray(encode(np.zeros((4, 4), np.uint8)))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


NOISE = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"this is a text", "text"),
        (b"", "0 bytes"),
        (encode(NOISE, "JPEG")[:900], ""),
        (encode(NOISE)[:900], ""),
        (encode(NOISE)[:2000] + encode(NOISE)[2100:], ""),  # a hole in the pixels: only decoding shows it
        (png_of_size(0, 0), "0x0"),
        (png_of_size(30_000, 30_000), "30000x30000"),
        (encode(NOISE, "WEBP"), "WebP"),
        (encode(NOISE, "TIFF"), "TIFF"),
    ],
    ids=["text", "empty", "short JPEG", "short PNG", "torn PNG", "0x0", "huge", "WebP", "TIFF"],
)
def test_a_bad_file_is_refused_by_name(predictor, tmp_path, content, expected):
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        predictor(file)
    assert one_line(caught, str(file), expected)
    # in a batch, the one that is bad
    with pytest.raises(ImageError) as caught:
        predictor([plain("red"), plain("red"), file, plain("red")])
    assert one_line(caught, str(file), expected)
    with pytest.raises(ImageError) as caught:
        predictor([plain("red"), content])
    assert one_line(caught, "image 1 (counted from 0)", expected)


def test_16_bit_cmyk_transparent_and_animated_images_are_read_rightly(predictor):
    wide = Image.fromarray(np.full((9, 9), 0x8000, np.uint16))  # half grey
    assert predictor(wide)["score"] == pytest.approx(1 / 3, abs=1e-3)
    assert predictor(encode(wide))["score"] == pytest.approx(1 / 3, abs=1e-3)
    cmyk = Image.new("CMYK", (9, 9), (0, 255, 255, 0))  # all magenta and yellow: red
    assert predictor(cmyk)["label"] == "red"
    assert predictor(encode(cmyk, "JPEG"))["label"] == "red"
    clear = np.zeros((9, 9, 4), np.uint8)  # nothing but transparency shows the white behind it
    np.testing.assert_allclose(predictor.preprocess(clear), 1, rtol=1e-6)
    frames = [Image.fromarray(plain(colour)).quantize() for colour in ("blue", "red", "green")]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert predictor(animation)["label"] == "blue"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("absent.png", "absent.png does not exist"),
        (".", "is not a file"),
        (os.devnull, "is not a file"),
        ([], "expected at least one image, got an empty list"),
        (np.zeros((0, 6, 5, 3), np.uint8), "expected at least one image, got an empty list"),
        (np.zeros((6, 5, 3), np.float32), "expected uint8 pixels from 0 to 255, got float32: give (255 * x).round()"),
        (np.zeros((6, 5, 3), bool), "got bool"),
        (np.zeros((0, 5, 3), np.uint8), "0"),
        (np.zeros((6, 5, 7), np.uint8), "[6, 5, 7]"),
        (np.zeros(6, np.uint8), "[6]"),
        (7, "expected a path, encoded bytes, a PIL image or a uint8 array, got int"),
        (None, "got NoneType"),
        (["absent.png"], "absent.png does not exist"),
        ([np.zeros((6, 5), np.uint8), 7], "image 1 (counted from 0): expected a path"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(predictor, image, expected):
    with pytest.raises(ImageError) as caught:
        predictor(image)
    assert one_line(caught, expected)


# Loading -----------------------------------------------------------------------------------------------------------


def test_a_version_may_be_named(copied):
    shutil.copytree(copied / "1", copied / "5")
    assert kapps.load(copied / "5").path.name == "5"
    assert kapps.load(str(copied)).path.name == "1", "the card names the current version"
    (copied / "card.json").unlink()
    assert kapps.load(copied).path.name == "5", "without one it is the highest"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x / "1/saved_model.pb").unlink(), r"colours/1 is not as it was exported: missing saved_model.pb"),
        (lambda x: shutil.rmtree(x / "1/variables"), r"missing variables/variables\.data.*, variables/variables.index"),
        (lambda x: damage(x / "1/variables/variables.data-00000-of-00001"), r"changed \(other sha256\) variables/"),
        (lambda x: damage(x / "1/model.keras"), r"changed \(other sha256\) model.keras"),
        (lambda x: (x / "1/assets/code.py").write_text("x"), r"not in the card assets/code.py"),
        (lambda x: (x / "1/card.json").unlink(), r"colours/1 has no card.json, so its labels and its sums are unknown"),
        (lambda x: (x / "1/card.json").write_text("{"), r"1/card.json is not JSON"),
        (lambda x: (x / "card.json").write_text("{}"), r"card.json names no version"),
        (lambda x: shutil.rmtree(x / "1"), r"colours/1 is missing, which .*card.json names"),
        (lambda x: [(x / "card.json").unlink(), shutil.rmtree(x / "1")], r"colours holds no exported model"),
        (lambda x: shutil.rmtree(x), r"colours does not exist: expected the folder of an exported model"),
        (lambda x: [shutil.rmtree(x), x.write_text("")], r"colours is a file: expected the folder"),
    ],
)
def test_a_damaged_model_is_refused_by_the_name_of_the_file(copied, change, message):
    (copied / "1/assets").mkdir(exist_ok=True)
    change(copied)
    with pytest.raises(SavedModelError, match=message) as caught:
        kapps.load(copied)
    assert "\n" not in str(caught.value)


def test_damage_that_was_not_looked_for_is_still_told_in_one_line(copied):
    (copied / "1/saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(SavedModelError, match=r"colours/1 cannot be loaded \(.*\): copy or export the model again"):
        kapps.load(copied, verify=False)


def test_a_card_that_does_not_fit_its_graph_is_refused(copied):
    card = json.loads((copied / "1/card.json").read_text())
    (copied / "1/card.json").write_text(json.dumps({**card, "labels": ["red", "green"]}))
    with pytest.raises(SavedModelError, match="has 3 outputs but its card 2 labels"):
        kapps.load(copied)


def test_models_without_features_say_so(tmp_path, monkeypatch):
    # tracing the safe decoder takes seconds, and here it does not matter
    plain_decoder = functools.partial(tf.io.decode_png, channels=3)
    monkeypatch.setattr("kapps.exporting.saved_model.decode_image", plain_decoder)
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image)))
    path = tmp_path / "plain"
    kapps.export(model, path, preprocessing=Preprocessing((4, 4), channels=1), labels=["a", "b"])
    with pytest.raises(SavedModelError, match="was exported without features: export it with features="):
        kapps.load(path).features(np.zeros((4, 4), np.uint8))


# What it imports ---------------------------------------------------------------------------------------------------

WITHOUT_KERAS = """
import sys
import kapps.predict
assert "tensorflow" not in sys.modules, "importing the module loads TensorFlow"
import numpy as np
predictor = kapps.load(sys.argv[1])
image = np.zeros((6, 5, 3), np.uint8)
image[..., 2] = 255
assert predictor(image)["label"] == "blue"
assert predictor.features([image])["mean"].shape == (1, 3)
import keras
assert not hasattr(keras, "Model")
print(sorted(name for name in sys.modules if name.startswith("keras")))
"""


def test_it_works_where_keras_is_an_empty_package(exported, tmp_path):
    """TensorFlow itself loads Keras where it can, so that it is loaded proves nothing; here is nothing to load."""
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").touch()
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(exported)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPO)])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "['keras']"

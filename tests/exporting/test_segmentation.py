"""A segmentation's graph answers with maps, an embedding's with a point; all else is as for classifiers."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kapps
from kapps.create import load_keras
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError
from kapps.exporting import integrity
from kapps.exporting.card import Card
from kapps.exporting.quantize import Quantization
from kapps.exporting.saved_model import export

LABELS = ("red", "green", "background")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def noise(count: int) -> np.ndarray:
    """Images of the network's own size; of each pixel's channels one is the largest by far."""
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (count, 6, 8, 3), dtype=np.uint8)
    return images + 150 * np.eye(3, dtype=np.uint8)[random.integers(0, 3, (count, 6, 8))]


def small_fcn(crf: str = "none", classes: int = 3, size: tuple[int, int] = (32, 32)) -> keras.Model:
    keras.utils.set_random_seed(0)
    config = {"filters": (4, 4, 4), "units": 4, "crf": crf, "crf_iterations": 1, "crf_contrast": 0.5}
    model = kapps.create_model("fcn_scenes", num_classes=classes, input_shape=(*size, 3), config=config)
    for layer in model.layers:  # the scores start at zero, and all pixels would be alike
        if layer.name.startswith("score") and layer.weights:
            layer.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def signatures(colour_map):
    loaded = tf.saved_model.load(str(colour_map / "1"))
    yield loaded.signatures
    del loaded


def test_the_card_says_what_it_is_and_what_it_gives(colour_map):
    card = Card.read(colour_map / "card.json")
    assert (card.kind, card.task, card.scores, card.labels) == ("segmentation", "segmentation", "softmax", LABELS)
    maps = {
        name: {"dtype": kind, "shape": [None, 6, 8]} for name, kind in (("mask", "uint8"), ("confidence", "float32"))
    }
    ranked = {"classes": {"dtype": "string", "shape": [None, 3]}, "shares": {"dtype": "float32", "shape": [None, 3]}}
    assert card.signatures["serving_default"]["outputs"] == {**maps, **ranked}
    assert card.signatures["serving_tensors"]["outputs"] == {
        "probabilities": {"dtype": "float32", "shape": [None, 6, 8, 3]},
        "mask": maps["mask"],
    }
    assert set(card.signatures) == {"serving_default", "serving_tensors", "preprocess", "features", "logits"}
    page = (colour_map / "card.md").read_text(encoding="utf-8")
    assert "`mask` is the index of each pixel's class" in page
    assert "Labels: red, green, background" in page
    assert "--out mask.png" in page


@pytest.mark.parametrize("count", [1, 3])
def test_bytes_give_the_likeliest_class_of_every_pixel(signatures, count):
    images = noise(count)
    result = signatures["serving_default"](image_bytes=tf.constant([png(image) for image in images]))
    truth = images.argmax(axis=-1)
    np.testing.assert_array_equal(result["mask"], truth)
    powers = np.exp(8 / 255 * images / np.sqrt(1.001))
    np.testing.assert_allclose(result["confidence"], powers.max(-1) / powers.sum(-1), rtol=1e-4)
    for row in range(count):
        shares = np.bincount(truth[row].ravel(), minlength=3) / 48
        order = np.argsort(-shares, kind="stable")
        assert result["classes"][row].numpy().tolist() == [LABELS[place].encode() for place in order]
        np.testing.assert_allclose(result["shares"][row], shares[order], rtol=1e-6)


def test_tensors_give_all_scores_and_they_come_out_of_logits(signatures):
    image = tf.constant(noise(2) / np.float32(255))
    result = signatures["serving_tensors"](image=image)
    logits = signatures["logits"](image=image)["logits"]
    np.testing.assert_allclose(logits, 8 * image / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_allclose(result["probabilities"], tf.nn.softmax(logits), rtol=1e-5)
    np.testing.assert_array_equal(result["mask"], np.argmax(logits, axis=-1))
    np.testing.assert_allclose(signatures["features"](image=image)["scores"], logits, rtol=1e-5)


def test_no_image_gives_no_maps(signatures):
    result = signatures["serving_default"](image_bytes=tf.constant([], tf.string))
    assert result["mask"].shape == (0, 6, 8)
    assert result["classes"].shape == (0, 3)


def test_what_lies_around_it_is_as_for_a_classifier(colour_map):
    folder = colour_map / "1"
    card = Card.read(folder / "card.json")
    integrity.verify(folder, card.sha256)
    assert (folder / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0
    assert card.engines["onnx"]["difference"] < 1e-4
    image = noise(2) / np.float32(255)
    answers = kapps.load(colour_map, engine="tensorflow").predict_tensors(image)
    np.testing.assert_allclose(load_keras(folder / "model.keras")(image), answers, rtol=1e-5)
    np.testing.assert_allclose(kapps.load(colour_map, engine="onnx").predict_tensors(image), answers, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("light_decoding")
def test_an_fcn_with_a_crf_is_exported_folded_and_frozen(tmp_path):
    model = small_fcn("behind")
    options = {"preprocessing": Preprocessing((32, 32)), "labels": LABELS, "features": ["scores"]}
    folder = export(model, tmp_path / "fcn", optimize=True, **options)
    card = Card.read(folder / "card.json")
    assert (card.architecture, card.task) == ("fcn_scenes", "segmentation")
    assert card.title.endswith("for 3 classes")
    assert card.optimization["folded_batch_normalisations"] == 7
    assert card.optimization["difference"] < 1e-3
    predictor = kapps.load(folder)
    image = np.random.default_rng(2).random((1, 32, 32, 3), dtype=np.float32)
    np.testing.assert_allclose(predictor.predict_tensors(image), model(image), atol=1e-4)
    # The scores are those before the CRF, so they are not what the softmax took.
    logits = predictor.logits_function(image=tf.constant(image))["logits"]
    pixels = (255 * image[0]).round().astype(np.uint8)
    assert predictor.features(pixels)["scores"].shape == logits.shape
    assert not np.allclose(predictor.features(pixels)["scores"], logits, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "crf_rnn", "fcn_resnet50"])
def test_every_segmentation_of_the_catalogue_is_exported(name, tmp_path):
    narrow = {"filters": (4, 4, 4, 4, 4), "units": 4} if name != "fcn_resnet50" else {"depths": (1, 1, 1, 1)}
    model = kapps.create_model(name, num_classes=3, input_shape=(40, 48, 3), config=narrow)
    folder = export(model, tmp_path / name, preprocessing=Preprocessing((40, 48)), labels=LABELS, optimize=True)
    answer = kapps.load(folder)(np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8))
    assert answer["mask"].shape == (50, 30)
    assert sum(region["share"] for region in answer["classes"]) == pytest.approx(1)


# Embeddings -----------------------------------------------------------------------------------------------------------


def a_point(activation: str | None = None) -> keras.Model:
    """6x8x3 -> the mean colour, as a point on the sphere."""
    image = keras.Input((6, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    last = keras.layers.Softmax() if activation else keras.layers.UnitNormalization(dtype="float32")
    return keras.Model(image, last(mean), name="points")


@pytest.mark.usefixtures("light_decoding")
def test_an_embedding_has_no_labels_and_gives_its_numbers(tmp_path):
    model = a_point()
    folder = export(model, tmp_path / "points", preprocessing=Preprocessing((6, 8)), labels=(), features=["mean"])
    card = Card.read(folder / "card.json")
    assert (card.kind, card.scores, card.labels, card.top_k) == ("embedding", "embedding", (), 0)
    assert card.signatures["serving_default"]["outputs"] == {"embedding": {"dtype": "float32", "shape": [None, 3]}}
    assert "logits" not in card.signatures
    page = card.to_markdown()
    assert "`embedding` holds no scores" in page
    assert "Labels" not in page
    predictor = kapps.load(folder)
    images = noise(2)
    expected = model(images / np.float32(255)).numpy()
    answer = predictor(images[0])
    assert answer == {"embedding": pytest.approx(expected[0].tolist(), rel=1e-5)}
    assert type(answer["embedding"][0]) is float
    assert [len(answer["embedding"]) for answer in predictor(images)] == [3, 3]
    np.testing.assert_allclose(predictor.predict_tensors(images / np.float32(255)), expected, rtol=1e-5)
    assert "6x8x3 -> 3 numbers" in repr(predictor)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("light_decoding")
@pytest.mark.parametrize(
    ("model", "change", "error", "message"),
    [
        (small_fcn, {"labels": LABELS[:2]}, RecipeError, "expected 3 labels, one for each output of the model, got 2"),
        (small_fcn, {"labels": ()}, RecipeError, "expected 3 labels, one for each output of the model, got 0"),
        (
            lambda: small_fcn(classes=1),
            {"labels": ["cat"]},
            RecipeError,
            "every pixel would get the same label: a segmentation needs at least two classes",
        ),
        (small_fcn, {"preprocessing": Preprocessing((32, 32), fit="digit")}, RecipeError, 'fit="digit" moves them'),
        (
            small_fcn,
            {"quantize": Quantization(np.zeros((32, 32, 32, 3), np.float32), [])},
            RecipeError,
            "8 bits are for classifiers, leave quantize out",
        ),
        (
            a_point,
            {"labels": (), "activation": "softmax"},
            RecipeError,
            "an embedding has no scores to activate: leave activation='softmax' out",
        ),
        (
            lambda: a_point("softmax"),
            {"labels": ()},
            RecipeError,
            "probabilities that sum to 1, no embedding: give their 3 labels",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(model, change, error, message, tmp_path):
    network = model()
    options = {"preprocessing": Preprocessing(network.input_shape[1:3]), "labels": LABELS, **change}
    with pytest.raises(error, match=message) as caught:
        export(network, tmp_path / "x", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_an_explanation_needs_a_classifier(colour_map):
    from kapps.explaining import attribute

    image = np.zeros((6, 8, 3), np.float32)
    with pytest.raises(RecipeError, match=r"expected a classifier, .* is of the kind segmentation"):
        attribute(kapps.load(colour_map), image, method="saliency")

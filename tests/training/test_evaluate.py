"""Evaluation against figures computed by hand."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps.data.dataset import Dataset
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, RecipeError
from kapps.training.evaluate import images_at_once

PLAIN = Preprocessing(size=(2, 2), channels=1, scale=1.0)


@pytest.fixture
def brightest() -> keras.Model:
    """Answers 0, 1 or 2 by the value of the first pixel, with probability 0.8."""
    image = keras.Input((2, 2, 1))
    first = keras.layers.Flatten()(image)[:, :1]
    table = np.full((3, 3), 0.1, np.float32) + 0.7 * np.eye(3, dtype=np.float32)
    rows = keras.layers.Embedding(3, 3, weights=[table])(first)
    return keras.Model(image, keras.layers.Flatten()(rows))


def arrays(answers, labels):
    images = np.zeros((len(answers), 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = answers
    return images, np.array(labels)


def test_by_hand(brightest):
    # five images: 0 right twice, 1 taken for 0 once and right once, 2 taken for 1
    data = arrays([0, 0, 0, 1, 1], [0, 0, 1, 1, 2])
    result = kapps.evaluate(brightest, data, preprocessing=PLAIN, batch_size=2, split="train[:100%]")
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert result["error"] == pytest.approx(2 / 5)
    assert result["num_examples"] == 5
    assert result["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert result["loss"] == pytest.approx(-(3 * math.log(0.8) + 2 * math.log(0.1)) / 5, rel=1e-5)
    assert result["per_class"]["0"] == {"precision": pytest.approx(2 / 3), "recall": 1.0, "count": 2}
    assert result["per_class"]["1"] == {"precision": 0.5, "recall": 0.5, "count": 2}
    assert result["per_class"]["2"] == {"precision": None, "recall": 0.0, "count": 1}


def test_the_batch_size_changes_nothing(brightest):
    data = arrays([0, 1, 2, 1, 0, 2, 2], [0, 1, 2, 2, 1, 0, 2])
    results = [
        kapps.evaluate(brightest, data, preprocessing=PLAIN, batch_size=size, split="train[:100%]")
        for size in (1, 3, 7)
    ]
    assert results[0]["confusion"] == results[1]["confusion"] == results[2]["confusion"]


def test_data_of_other_classes_is_refused():
    three_classes = kapps.create_model("mlp", num_classes=3, input_shape=(2, 2, 1), config={"hidden": ()})
    with pytest.raises(DataError, match="one output for each of the 10 classes"):
        kapps.evaluate(three_classes, "digits", preprocessing=PLAIN)


def test_a_bare_model_needs_its_preprocessing(brightest):
    with pytest.raises(RecipeError, match="preprocessing"):
        kapps.evaluate(brightest, "digits")


def test_a_keras_file_and_a_saved_model_give_what_the_model_gives(tmp_path):
    keras.utils.set_random_seed(0)
    model = kapps.create_model("mlp", num_classes=10, input_shape=(8, 8, 1), config={"hidden": (8,)})
    preprocessing = Preprocessing(size=(8, 8), channels=1)
    direct = kapps.evaluate(model, "digits", preprocessing=preprocessing)
    model.save(tmp_path / "model.keras")
    kapps.export(model, tmp_path / "exported", preprocessing=preprocessing, labels=[str(digit) for digit in range(10)])
    from_file = kapps.evaluate(tmp_path / "model.keras", "digits", preprocessing=preprocessing)
    exported = kapps.evaluate(tmp_path / "exported", "digits")
    assert from_file["confusion"] == direct["confusion"]
    assert exported["confusion"] == direct["confusion"]
    assert exported["loss"] == pytest.approx(direct["loss"], rel=1e-4)


def test_labelled_pixels_by_hand():
    """Two pictures of four pixels whose values are the answers; class 2 is nowhere."""
    image = keras.Input((2, 2, 1))
    table = np.full((3, 3), 0.1, np.float32) + 0.7 * np.eye(3, dtype=np.float32)
    model = keras.Model(image, keras.layers.Reshape((2, 2, 3))(keras.layers.Embedding(3, 3, weights=[table])(image)))
    answers = np.array([[[0, 0], [1, 1]], [[0, 1], [1, 1]]], np.uint8)[..., None]
    labels = np.array([[[0, 0], [0, 1]], [[0, 1], [1, 1]]])
    data = Dataset(
        records=tf.data.Dataset.from_tensor_slices((answers, labels)),
        decode=None,
        num_examples=2,
        input_shape=(2, 2, 1),
        class_names=("a", "b", "c"),
        name="pixels",
        split="test",
        source="",
        licence="",
    )
    result = kapps.evaluate(model, data, preprocessing=PLAIN, batch_size=1)
    assert result["confusion"] == [[3, 1, 0], [0, 4, 0], [0, 0, 0]]
    assert result["accuracy"] == pytest.approx(7 / 8)
    assert result["loss"] == pytest.approx(-(7 * math.log(0.8) + math.log(0.1)) / 8, rel=1e-5)
    assert [figures["iou"] for figures in result["per_class"].values()] == [3 / 4, 4 / 5, None]
    assert result["mean_iou"] == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert result["num_examples"] == 2


def test_fewer_images_at_once_where_pixels_are_labelled():
    small, large = (Preprocessing(size=(side, side)) for side in (64, 500))
    scenes = kapps.data.load("scene_masks", "test[:2]")
    assert [images_at_once(scenes, each, 256) for each in (small, large)] == [16, 1]
    assert images_at_once(scenes, small, 4) == 4
    assert images_at_once(kapps.data.load("digits", "test"), large, 256) == 256

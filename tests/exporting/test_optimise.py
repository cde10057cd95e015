"""Folding is checked layer kind by layer kind, with statistics that are far from those of a fresh network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kapps
from kapps.create import load_keras
from kapps.data.preprocessing import Preprocessing
from kapps.errors import SavedModelError
from kapps.exporting import optimise, saved_model
from kapps.weights.seeded import seeded_image, seeded_tensor

KINDS = {
    "convolution": lambda: layers.Conv2D(6, 3, use_bias=False, name="sum"),
    "with bias": lambda: layers.Conv2D(6, 3, strides=2, padding="same", name="sum"),
    "grouped": lambda: layers.Conv2D(6, 3, groups=2, name="sum"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="sum"),
    "separable": lambda: layers.SeparableConv2D(6, 3, use_bias=False, name="sum"),
    "transposed": lambda: layers.Conv2DTranspose(6, 3, strides=2, name="sum"),
    "dense": lambda: layers.Dense(6, name="sum"),
}


def seed(model: keras.Model) -> keras.Model:
    for variable in model.weights:
        name = variable.path
        variable.assign(seeded_tensor(name, variable.shape, channels_last=True))
    return model


def network(kind, **norm) -> keras.Model:
    image = keras.Input((8, 8, 4))
    x = layers.BatchNormalization(name="norm", **norm)(KINDS[kind]()(image))
    return seed(keras.Model(image, layers.Activation("relu", name="relu")(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_numbers(kind):
    model = network(kind)
    folded, count = optimise.fold_batch_normalisation(model)
    assert count == 1
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    assert [layer.name for layer in folded.layers[1:]] == [layer.name for layer in model.layers[1:]]
    image = seeded_image((2, 8, 8, 4))
    expected = model(image, training=False).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(folded(image), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("norm", [{"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_normalisations_without_a_part(norm):
    model = network("convolution", **norm)
    folded, _ = optimise.fold_batch_normalisation(model)
    image = seeded_image((2, 8, 8, 4))
    np.testing.assert_allclose(folded(image), model(image, training=False), atol=1e-5)


def test_the_model_itself_is_not_changed():
    model = network("convolution")
    before = [weight.copy() for weight in model.get_weights()]
    optimise.fold_batch_normalisation(model)
    for first, second in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def branches():
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, use_bias=False, name="shared")(image)
    return keras.Model(image, layers.Add()([layers.BatchNormalization()(x), x]))


def activated():
    image = keras.Input((8, 8, 4))
    return keras.Model(image, layers.BatchNormalization()(layers.Conv2D(6, 3, activation="relu")(image)))


def first():
    image = keras.Input((8, 8, 4))
    return keras.Model(image, layers.Conv2D(6, 3)(layers.BatchNormalization()(image)))


def seen_outside():
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3)(image)
    return keras.Model(image, [layers.BatchNormalization()(x), x])


@pytest.mark.parametrize("build", [branches, activated, first, seen_outside])
def test_what_cannot_be_folded_stays(build):
    model = build()
    assert optimise.fold_batch_normalisation(model) == (model, 0)


@pytest.fixture(scope="module")
def classifier():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu")(x))
    return seed(keras.Model(image, layers.Dense(3, activation="softmax", name="predictions")(x), name="tiny"))


ARGUMENTS = {"preprocessing": Preprocessing(size=(8, 8)), "labels": ["a", "b", "c"], "features": ["relu", "pool"]}


@pytest.mark.parametrize("large", [False, True])
def test_export(large, classifier, tmp_path, monkeypatch):
    """All signatures answer as the plain export's do, and the graph holds neither variables (of a network with large
    matrices nothing but those) nor normalisations.
    """
    if large:
        monkeypatch.setattr(optimise, "_LARGE", 1)
    plain = kapps.load(kapps.export(classifier, tmp_path / "plain", **ARGUMENTS))
    fast_folder = kapps.export(classifier, tmp_path / "fast", optimize=True, **ARGUMENTS)
    fast = kapps.load(fast_folder)
    image = seeded_image((3, 8, 8, 3))
    for name in ("tensor_function", "logits_function"):
        expected = getattr(plain, name)(image=tf.constant(image))
        for key, value in getattr(fast, name)(image=tf.constant(image)).items():
            if value.dtype == tf.float32:
                np.testing.assert_allclose(value, expected[key], atol=1e-5)
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for key, value in plain.features(photo).items():
        np.testing.assert_allclose(fast.features(photo)[key], value, atol=1e-5)
    assert fast(photo)["label"] == plain(photo)["label"]

    assert fast.card.optimization["folded_batch_normalisations"] == 1
    assert fast.card.optimization["difference"] < 1e-5
    assert plain.card.optimization == {}
    assert "1 batch normalisations folded" in (tmp_path / "fast" / "card.md").read_text(encoding="utf-8")
    written = tf.train.list_variables(str(fast_folder / "variables" / "variables"))
    assert [shape for name, shape in written if name.endswith("VARIABLE_VALUE")] == ([[6, 3]] if large else [])
    again = load_keras(fast_folder / "model.keras")
    assert any(isinstance(layer, layers.BatchNormalization) for layer in again.layers)


@pytest.mark.parametrize("large", [1, 2**24])
def test_explanations_go_through_frozen_weights(large, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(optimise, "_LARGE", large)
    fast = kapps.load(kapps.export(classifier, tmp_path / "fast", optimize=True, **ARGUMENTS))
    image = tf.constant(seeded_image((1, 8, 8, 3)))
    with tf.GradientTape() as tape:
        tape.watch(image)
        scores = fast.logits_function(image=image)["logits"][0, 1]
    gradient = tape.gradient(scores, image)
    assert np.abs(gradient).max() > 0


def test_a_fold_that_changes_the_answers_is_refused(classifier, tmp_path, monkeypatch):
    right = optimise._folded_weights
    monkeypatch.setattr(optimise, "_folded_weights", lambda *pair: [weight * 1.01 for weight in right(*pair)])
    with pytest.raises(SavedModelError, match="the optimised model answers otherwise"):
        kapps.export(classifier, tmp_path / "wrong", optimize=True, **ARGUMENTS)
    assert not (tmp_path / "wrong").exists()
    assert saved_model._OPTIMISED_BAR < 0.01

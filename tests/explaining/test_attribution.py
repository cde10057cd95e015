"""What all methods share: choosing one by name, refusing wrong images, and explaining an exported model."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.explaining import BUILT_IN, METHODS, attribute

ANY_NETWORK = ("saliency", "integrated_gradients", "occlusion")  # the others need positions, ReLUs or packages


def test_an_exported_model_is_explained_as_the_keras_model_is(convnet, tmp_path, monkeypatch):
    # tracing the safe decoder takes seconds, and here it does not matter
    plain_decoder = functools.partial(tf.io.decode_png, channels=1)
    monkeypatch.setattr("kapps.exporting.saved_model.decode_image", plain_decoder)
    kapps.export(convnet, tmp_path / "x", preprocessing=Preprocessing((8, 8), channels=1), labels=list("abcd"))
    predictor = kapps.load(tmp_path / "x")
    picture = np.random.default_rng(5).integers(0, 256, (8, 8), dtype=np.uint8)
    image = predictor.preprocess(picture)[0]
    for method in BUILT_IN:
        if method in ("guided_backpropagation", "deconvnet"):
            continue  # this network has no ReLU; see test_explain.py for one that has
        options = {"samples": 3} if method == "saliency" else {}
        exported = attribute(predictor, image, method=method, of="score", **options)
        original = attribute(convnet, image, method=method, of="score", **options)
        np.testing.assert_allclose(exported.map, original.map, rtol=1e-4, atol=1e-6)
        assert exported.method == original.method == method
        assert predictor.labels[exported.target] == predictor(picture)["label"]
        assert exported.score == pytest.approx(predictor(picture)["score"], rel=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_sure_answer_is_explained_by_what_came_before_the_squashing(tmp_path, monkeypatch, activation):
    """score = activation(weights . image) is 1 in float32, so only the evidence shows what mattered."""
    monkeypatch.setattr("kapps.exporting.saved_model.decode_image", functools.partial(tf.io.decode_png, channels=1))
    layers = [keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation, use_bias=False)]
    model = keras.Sequential(layers)
    weights = np.random.default_rng(7).normal(size=(9, 3)).astype(np.float32)
    weights[:, 1] = 20 + np.arange(9)
    model.layers[-1].set_weights([weights])
    path = tmp_path / "x"
    kapps.export(model, path, preprocessing=Preprocessing((3, 3), channels=1), labels=list("abc"))
    predictor = kapps.load(path)
    image = np.ones((3, 3, 1), np.float32)
    score = attribute(predictor, image, method="saliency", of="score")
    assert (score.score, score.target, score.map.max()) == (1, 1, 0)

    # by hand: the model is linear before the activation
    evidence = weights[:, 1] - (weights[:, [0, 2]].mean(axis=1) if activation == "softmax" else 0)
    for method, expected in (
        ("saliency", np.abs(evidence)),
        ("integrated_gradients", evidence),
        ("occlusion", evidence),
    ):
        options = {"patch": 1, "stride": 1} if method == "occlusion" else {}
        result = attribute(predictor, image, method=method, **options)
        np.testing.assert_allclose(result.map, expected.reshape(3, 3), rtol=1e-4)
        assert (result.score, result.details["explained"]) == (1, "evidence")


def test_the_baseline_is_black_where_the_preprocessing_is_known(convnet, tmp_path, monkeypatch):
    monkeypatch.setattr("kapps.exporting.saved_model.decode_image", functools.partial(tf.io.decode_png, channels=1))
    normalised = Preprocessing((8, 8), channels=1, mean=(0.25,), std=(0.5,))
    kapps.export(convnet, tmp_path / "x", preprocessing=normalised, labels=list("abcd"))
    predictor = kapps.load(tmp_path / "x")
    black = predictor.preprocess(np.zeros((8, 8), np.uint8))[0]
    assert black.max() == black.min() == -0.5
    image = np.random.default_rng(8).normal(size=(8, 8, 1)).astype(np.float32)
    for method in ("integrated_gradients", "occlusion"):
        expected = attribute(predictor, image, method=method, baseline=black)
        np.testing.assert_array_equal(attribute(predictor, image, method=method).map, expected.map)
        assert not np.allclose(attribute(predictor, image, method=method, baseline=0.0).map, expected.map, rtol=0.01)


def test_evidence_is_not_asked_of_what_has_none(linear):
    image = np.ones((4, 5, 2), np.float32)
    assert attribute(linear, image).details["explained"] == "score"
    for of in ("evidence", "logits"):
        with pytest.raises(RecipeError, match='of should be "score", or "evidence" for a model that ends in a softmax'):
            attribute(linear, image, of=of)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_evidence_of_a_keras_model_is_found_in_its_graph(activation):
    random = np.random.default_rng(9)
    layers = [keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    model = keras.Sequential([*layers, keras.layers.Activation(activation)])
    weights = random.normal(size=(9, 3)).astype(np.float32)
    model.layers[1].set_weights([weights])
    image = random.normal(size=(3, 3, 1)).astype(np.float32)
    evidence = weights[:, 1] - (weights[:, [0, 2]].mean(axis=1) if activation == "softmax" else 0)
    result = attribute(model, image, method="saliency", target=1)
    np.testing.assert_allclose(result.map, np.abs(evidence).reshape(3, 3), rtol=1e-5)
    assert result.details["explained"] == "evidence"
    assert result.score == pytest.approx(float(model(image[None])[0, 1]), rel=1e-6)


@pytest.mark.parametrize("method", ANY_NETWORK)
def test_the_answer_keeps_shape_type_and_target(linear, method):
    image = np.random.default_rng(6).normal(size=(4, 5, 2)).astype(np.float32)
    scores = linear(image[None]).numpy()[0]
    result = attribute(linear, image, method=method)
    assert (result.map.shape, result.map.dtype) == ((4, 5), np.float32)
    assert result.target == scores.argmax()
    assert attribute(linear, image, method=method, target=2).score == pytest.approx(float(scores[2]), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("image", "target", "message"),
    [
        (np.zeros((8, 8, 1), np.uint8), None, r"float32 \[8, 8, 1\], got uint8 \[8, 8, 1\]: take predictor.preprocess"),
        (np.zeros((8, 9, 1), np.float32), None, r"got float32 \[8, 9, 1\]"),
        (np.zeros((1, 8, 8, 1), np.float32), None, r"got float32 \[1, 8, 8, 1\]"),
        (np.full((8, 8, 1), np.nan, np.float32), None, "got NaN or infinity"),
        (np.zeros((8, 8, 1), np.float32), 4, "expected a class from 0 to 3, got 4"),
        (np.zeros((8, 8, 1), np.float32), -1, "expected a class from 0 to 3, got -1"),
    ],
)
def test_wrong_images_and_targets_are_refused(convnet, method, image, target, message):
    with pytest.raises(DataError, match=message):
        attribute(convnet, image, method=method, target=target)


def test_a_wrong_method_is_answered_with_the_nearest(convnet, digit):
    with pytest.raises(UnknownNameError, match="no method is named 'integrated_gradient': did you mean"):
        attribute(convnet, digit, method="integrated_gradient")


def test_importing_the_package_loads_no_tensorflow():
    code = "import sys, kapps.explaining; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.heads.classification import classify


def head(shape, *arguments, **options) -> keras.Model:
    features = keras.Input(shape)
    return keras.Model(features, classify(features, *arguments, **options))


def test_maps_are_averaged_first():
    model = head((4, 5, 3), 2, None)
    x = np.random.default_rng(0).random((6, 4, 5, 3), dtype="float32")
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(model(x), x.mean(axis=(1, 2)) @ kernel + bias, atol=1e-6)


def test_vector_with_softmax():
    model = head((3,), 4, "softmax")
    assert [layer.name for layer in model.layers][1:] == ["predictions"]
    np.testing.assert_allclose(np.sum(model(np.ones((2, 3), "float32")), axis=1), 1, rtol=1e-6)


def test_dropout_acts_in_training_only():
    model = head((100,), 4, None, dropout=0.5)
    x = np.ones((1, 100), "float32")
    np.testing.assert_array_equal(model(x), model(x))
    assert not np.array_equal(model(x, training=True), model(x))


def test_half_precision_features_give_float32():
    features = keras.Input((8,), dtype="float16")
    assert classify(features, 2, "softmax").dtype == "float32"


def test_unknown_activation():
    with pytest.raises(ValueError, match="nosuch"):
        head((3,), 2, "nosuch")

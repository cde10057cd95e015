from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError, RecipeError
from kapps.explaining import attribute
from kapps.explaining.guided_backpropagation import guided_backpropagation

# x [4] -> h = relu(x FIRST) [3] -> score = h SECOND [2]
FIRST = np.array([[1.0, -1.0, 2.0], [2.0, 1.0, -1.0], [-1.0, 0.5, 0.0], [0.0, 3.0, 1.0]])
SECOND = np.array([[1.0, -2.0], [-3.0, 4.0], [2.0, 0.5]])
IMAGE = np.array([[[1.0], [2.0]], [[0.5], [-1.0]]], np.float32)  # x FIRST = [4.5, -1.75, -1.0]


def network(activation, last=None):
    layers = [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation, use_bias=False)]
    model = keras.Sequential([*layers, keras.layers.Dense(2, last, use_bias=False)])
    model.set_weights([FIRST, SECOND])
    return model


@pytest.mark.parametrize(
    ("method", "target", "hidden"),
    [
        # only the first unit is on: its weight to class 0 is 1, to class 1 it is -2, which guided drops
        ("saliency", 0, [1, 0, 0]),
        ("saliency", 1, [-2, 0, 0]),
        ("guided_backpropagation", 0, [1, 0, 0]),
        ("guided_backpropagation", 1, [0, 0, 0]),
        # positive weights pass whatever the unit said
        ("deconvnet", 0, [1, 0, 2]),
        ("deconvnet", 1, [0, 4, 0.5]),
    ],
)
def test_the_rules_by_hand(method, target, hidden):
    model = network("relu")
    result = attribute(model, IMAGE, method=method, target=target)
    signal = (FIRST @ np.array(hidden, float)).reshape(2, 2, 1)
    np.testing.assert_allclose(result.map, np.abs(signal[..., 0]), rtol=1e-6)
    if method != "saliency":
        np.testing.assert_allclose(result.details["gradient"], signal, rtol=1e-6)
        assert result.details["relus"] == 1
    assert (result.signed, result.target, result.method) == (False, target, method)
    assert result.score == pytest.approx((np.maximum(IMAGE.ravel() @ FIRST, 0) @ SECOND)[target])


@pytest.mark.parametrize("activation", ["relu6", "leaky_relu", "elu", "selu"])
def test_relatives_of_the_relu_take_their_own_gradient_of_what_excites(activation):
    model, second = network(activation), np.array([[2.0, -1.0], [3.0, 0.0], [-4.0, 5.0]])
    model.set_weights([2 * FIRST, second])
    image = np.array([[[1.0], [0.5]], [[0.5], [0.25]]], np.float32)  # before the activation: 3, 1, 3.5
    image[1, 1] = -0.5  # now 3, -3.5, 2
    before = image.ravel() @ (2 * FIRST)
    np.testing.assert_allclose(before, [3, -3.5, 2])
    scale, alpha = 1.05070098, 1.67326324  # of SELU, Klambauer et al. 2017
    below = {"relu6": 0, "leaky_relu": 0.2, "elu": np.exp(-3.5), "selu": scale * alpha * np.exp(-3.5)}[activation]
    above = scale if activation == "selu" else 1
    result = guided_backpropagation(model, image, target=0)
    # the third unit's weight is negative and is dropped
    np.testing.assert_allclose(
        result.details["gradient"].ravel(), 2 * FIRST @ np.array([2 * above, 3 * below, 0]), rtol=1e-5
    )
    plain = attribute(model, image, method="deconvnet", target=0)
    np.testing.assert_allclose(plain.details["gradient"].ravel(), 2 * FIRST @ np.array([2.0, 3.0, 0.0]), rtol=1e-5)


def test_through_a_softmax_it_explains_what_that_takes():
    logits, softmax = network("relu"), network("relu", "softmax")
    expected = guided_backpropagation(logits, IMAGE, target=0)
    result = guided_backpropagation(softmax, IMAGE, target=0)
    np.testing.assert_allclose(result.map, expected.map, rtol=1e-6)
    assert (result.details["explained"], expected.details["explained"]) == ("evidence", "score")
    assert not np.allclose(guided_backpropagation(softmax, IMAGE, target=0, of="score").map, expected.map)
    with pytest.raises(RecipeError, match='of should be "score"'):
        guided_backpropagation(logits, IMAGE, of="evidence")


def test_the_rule_reaches_relus_within_models_and_max_pooling_has_switches():
    """Of a 2x2 patch only the largest pixel gets the signal, as Zeiler and Fergus' switches have it."""
    inner = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Conv2D(1, 1, activation="relu", use_bias=False)])
    image = keras.Input((2, 2, 1))
    pooled = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(inner(image)))
    model = keras.Model(image, keras.layers.Dense(2, use_bias=False)(pooled))
    model.set_weights([np.full((1, 1, 1, 1), 3.0), np.array([[5.0, -5.0]])])
    expected = np.zeros((2, 2))
    expected[0, 1] = 15
    for method in ("guided_backpropagation", "deconvnet"):
        np.testing.assert_allclose(attribute(model, IMAGE, method=method, target=0).map, expected)
        assert not attribute(model, IMAGE, method=method, target=1).map.any()
    # the model's own gradient is as before
    assert attribute(model, IMAGE, method="saliency", target=1).map[0, 1] == 15


def test_a_model_without_relu_is_refused(linear):
    with pytest.raises(DataError, match="no ReLU, without which deconvnet is the plain gradient: take saliency"):
        attribute(linear, np.ones((4, 5, 2), np.float32), method="deconvnet")

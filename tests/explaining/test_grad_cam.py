from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.explaining import attribute
from kapps.explaining.grad_cam import grad_cam


@pytest.fixture
def pooled():
    """A 1x1 convolution with three channels on images 6x6x1, their means, then score = means @ weights."""
    image = keras.Input((6, 6, 1))
    feature = keras.layers.Conv2D(3, 1, name="feature")(image)
    means = keras.layers.GlobalAveragePooling2D(name="means")(feature)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", use_bias=False, name="scores")(means))
    model.get_layer("feature").set_weights([np.array([1.0, -2.0, 0.5]).reshape(1, 1, 1, 3), np.array([0.1, 0.2, -0.3])])
    model.get_layer("scores").set_weights([np.array([[1.0, -1.0], [2.0, 0.5], [-3.0, 4.0]])])
    return model


def test_behind_a_mean_it_is_the_class_activation_map(pooled):
    """By hand: dy_c / dA_k is weights[k, c] / 36 at every place, so the map is ReLU(sum_k weights[k, c] A_k) / 36."""
    image = np.random.default_rng(0).normal(size=(6, 6, 1)).astype(np.float32)
    feature = image * np.array([1.0, -2.0, 0.5]) + np.array([0.1, 0.2, -0.3])
    for target, weights in ((0, [1.0, 2.0, -3.0]), (1, [-1.0, 0.5, 4.0])):
        result = grad_cam(pooled, image, target=target)
        np.testing.assert_allclose(result.map, np.maximum(feature @ np.array(weights), 0) / 36, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(result.details["weights"], np.array(weights) / 36, rtol=1e-5)
        assert result.details["feature"] == "feature"
        assert (result.details["shape"], result.details["explained"]) == ([6, 6, 3], "evidence")
        assert (result.signed, result.target, result.method) == (False, target, "grad_cam")
        assert result.score == pytest.approx(float(pooled(image[None])[0, target]), rel=1e-5)


def test_of_the_score_the_weights_are_those_of_the_probability(pooled):
    """d p_0 / d y = p_0 p_1 (1, -1) for two classes."""
    image = np.random.default_rng(1).normal(size=(6, 6, 1)).astype(np.float32)
    first, second = pooled(image[None])[0].numpy()
    expected = first * second * np.array([2.0, 1.5, -7.0]) / 36
    result = grad_cam(pooled, image, target=0, of="score")
    np.testing.assert_allclose(result.details["weights"], expected, rtol=1e-4)
    assert result.details["explained"] == "score"


def test_the_weights_are_the_numerical_gradient_of_an_early_layer(convnet, digit):
    """The convolution's bias moves all places of a channel: its derivative is the sum over them, 36 here."""
    step, layer = 1e-2, convnet.layers[1]
    kernel, bias = layer.get_weights()
    before = keras.Model(convnet.inputs[0], convnet.layers[1].output)
    layer.activation = keras.activations.linear
    tanh = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Activation("tanh"), *convnet.layers[2:]])
    expected = []
    for channel in range(4):
        values = []
        for sign in (1, -1):
            moved = bias.copy()
            moved[channel] += sign * step
            layer.set_weights([kernel, moved])
            values.append(np.log(tanh(before(digit[None])).numpy()[0]))
        # the logarithm of a softmax differs from its input by the same number for all classes
        expected.append((values[0] - values[1]) / (2 * step) / 36)
    layer.set_weights([kernel, bias])
    whole = keras.Sequential([keras.Input((8, 8, 1)), layer, *tanh.layers])
    weights = np.array([grad_cam(whole, digit, target=c, feature=layer.name).details["weights"] for c in range(4)]).T
    np.testing.assert_allclose(weights - weights[:, :1], np.array(expected) - np.array(expected)[:, :1], atol=2e-5)


def test_the_map_is_enlarged_by_bilinear_interpolation():
    image = keras.Input((4, 4, 1))
    feature = keras.layers.AveragePooling2D(2, name="halved")(image)
    model = keras.Model(image, keras.layers.Dense(1, use_bias=False)(keras.layers.GlobalAveragePooling2D()(feature)))
    model.layers[-1].set_weights([np.array([[4.0]])])
    picture = np.kron(np.array([[0.0, 1.0], [2.0, 3.0]]), np.ones((2, 2)))[..., None].astype(np.float32)
    # weight 4 / 4 places = 1; half-pixel centres: at 0.25 and 0.75 between two places, the border's beyond them
    along = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    expected = along @ np.array([[0.0, 1.0], [2.0, 3.0]]) @ along.T
    np.testing.assert_allclose(grad_cam(model, picture, target=0).map, expected, atol=1e-6)


def test_a_layer_of_a_model_inside_the_model_has_a_path():
    keras.utils.set_random_seed(3)
    inner_image = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(3, 3, name="conv", activation="relu")(inner_image)
    trunk = keras.Model(inner_image, keras.layers.BatchNormalization(name="norm")(x), name="trunk")
    tail = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3, name="last")], name="tail")
    image = keras.Input((8, 8, 2))
    flat = keras.layers.Flatten()(tail(trunk(image)))
    outer = keras.Model(image, keras.layers.Dense(3, activation="softmax")(flat))
    plain = keras.Sequential([keras.Input((8, 8, 2)), *trunk.layers[1:], *tail.layers, *outer.layers[-2:]])
    picture = np.random.default_rng(4).normal(size=(8, 8, 2)).astype(np.float32)
    for nested, same in (("trunk/conv", "conv"), ("trunk/norm", "norm"), ("tail/last", "last"), ("tail", None)):
        expected = grad_cam(plain, picture, target=1, feature=same)
        assert expected.map.max() > 0
        np.testing.assert_allclose(grad_cam(outer, picture, target=1, feature=nested).map, expected.map, rtol=1e-5)
    assert grad_cam(outer, picture).details["feature"] == "tail"
    with pytest.raises(UnknownNameError, match="no feature is named 'trunk/cov': did you mean 'trunk/conv'"):
        grad_cam(outer, picture, feature="trunk/cov")


def test_the_model_is_left_as_it_was(pooled):
    image = np.ones((6, 6, 1), np.float32)
    before = pooled(image[None]).numpy()
    grad_cam(pooled, image)
    assert all("call" not in vars(layer) for layer in pooled.layers)
    np.testing.assert_array_equal(pooled(image[None]).numpy(), before)
    pooled.get_layer("scores").set_weights([np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])])  # no old graph's numbers
    np.testing.assert_allclose(grad_cam(pooled, image, target=0).details["weights"], [0, 2 / 36, 0], atol=1e-7)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus"])
def test_what_has_no_positions_is_refused(method, pooled, linear):
    image = np.ones((6, 6, 1), np.float32)
    with pytest.raises(
        DataError, match=r"expected a feature with positions .*got means \[1, 3\].*with positions is fea"
    ):
        attribute(pooled, image, method=method, feature="means")
    with pytest.raises(DataError, match=r"no layer with positions .* take integrated_gradients or occlusion"):
        attribute(linear, np.ones((4, 5, 2), np.float32), method=method)
    with pytest.raises(UnknownNameError, match="no feature is named 'featur': did you mean 'feature'"):
        attribute(pooled, image, method=method, feature="featur")


def test_evidence_is_not_asked_of_what_has_none():
    layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    with pytest.raises(RecipeError, match='of should be "score" for a model that does not end in a softmax'):
        grad_cam(keras.Sequential(layers), np.ones((4, 4, 1), np.float32), of="evidence")


def test_a_step_without_a_gradient_is_named():
    class Rounded(keras.layers.Layer):
        def call(self, image):
            return tf.cast(tf.cast(image, tf.int32), tf.float32)

    layers = [keras.layers.Conv2D(2, 1, name="early"), Rounded(), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    with pytest.raises(DataError, match="do not depend on early by differentiable steps: name an earlier layer"):
        grad_cam(model, np.ones((4, 4, 1), np.float32), feature="early")

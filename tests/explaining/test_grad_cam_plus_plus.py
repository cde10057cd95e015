from __future__ import annotations

import keras
import numpy as np

from kapps.explaining.grad_cam_plus_plus import grad_cam_plus_plus


def test_it_equals_the_formula_worked_out_place_by_place():
    random = np.random.default_rng(0)
    image = keras.Input((3, 4, 1))
    feature = keras.layers.Conv2D(2, 1, use_bias=False, name="feature")(image)
    scores = keras.layers.Dense(2, use_bias=False, activation="softmax")(keras.layers.Flatten()(feature))
    model = keras.Model(image, scores)
    kernel, dense = np.array([1.0, -0.5]), random.normal(size=(3, 4, 2, 2))  # [y, x, k, class]
    model.set_weights([kernel.reshape(1, 1, 1, 2), dense.reshape(24, 2)])
    picture = random.normal(size=(3, 4, 1)).astype(np.float32)
    activation = picture * kernel
    expected = np.zeros((3, 4))
    for channel in range(2):
        weight = 0.0
        for y, x in np.ndindex(3, 4):
            gradient = dense[y, x, channel, 1]
            below = 2 * gradient**2 + activation[..., channel].sum() * gradient**3
            weight += gradient**2 / below * max(gradient, 0)
        expected += weight * activation[..., channel]
    result = grad_cam_plus_plus(model, picture, target=1)
    np.testing.assert_allclose(result.map, np.maximum(expected, 0), rtol=2e-4, atol=1e-6)
    assert (result.method, result.details["feature"], result.signed) == ("grad_cam_plus_plus", "feature", False)


def test_a_channel_without_a_gradient_counts_nothing():
    image = keras.Input((2, 2, 1))
    feature = keras.layers.Conv2D(2, 1, use_bias=False)(image)
    model = keras.Model(image, keras.layers.Dense(2, use_bias=False)(keras.layers.Flatten()(feature)))
    dense = np.zeros((2, 2, 2, 2))
    dense[..., 0, 0] = 1  # only the first channel, only the first class
    model.set_weights([np.ones((1, 1, 1, 2)), dense.reshape(8, 2)])
    picture = np.ones((2, 2, 1), np.float32)
    np.testing.assert_allclose(grad_cam_plus_plus(model, picture, target=0).map, 4 / (2 + 4), rtol=1e-6)
    assert not grad_cam_plus_plus(model, picture, target=1).map.any()

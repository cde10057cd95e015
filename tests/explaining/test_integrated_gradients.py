from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError, RecipeError
from kapps.explaining.integrated_gradients import RULES, integrated_gradients


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [1, 3])
def test_of_a_linear_model_it_is_weight_times_difference(linear, rule, steps):
    random = np.random.default_rng(3)
    image, baseline = random.normal(size=(2, 4, 5, 2)).astype(np.float32)
    weights = linear.layers[-1].get_weights()[0].reshape(4, 5, 2, 3)
    result = integrated_gradients(linear, image, target=1, baseline=baseline, steps=steps, rule=rule)
    np.testing.assert_allclose(result.map, ((image - baseline) * weights[..., 1]).sum(axis=-1), rtol=1e-4, atol=1e-5)
    assert result.details["completeness_delta"] < 1e-5
    assert result.signed


def test_a_product_is_shared_between_its_factors():
    """F = (x0 + 2 x1)^2: the path integral from 0 gives x0 (x0 + 2 x1) and 2 x1 (x0 + 2 x1), by hand."""
    image = keras.Input((1, 2, 1))
    dense = keras.layers.Dense(1, use_bias=False)
    model = keras.Model(image, keras.ops.square(dense(keras.layers.Flatten()(image))))
    dense.set_weights([np.array([[1.0], [2.0]])])
    result = integrated_gradients(model, np.array([[[3.0], [0.5]]], np.float32), target=0, steps=1, rule="midpoint")
    np.testing.assert_allclose(result.map, [[12.0, 4.0]], rtol=1e-6)  # exact: the gradient is linear on the way
    assert result.score == 16
    assert result.details["difference"] == 16
    # Gauss-Legendre with n points is exact to degree 2n - 1 and the midpoint rule is not: F = (x0 + 2 x1)^4
    quartic = keras.Model(image, keras.ops.square(model.output))
    image = np.array([[[3.0], [0.5]]], np.float32)
    exact = integrated_gradients(quartic, image, target=0, steps=2, rule="gauss-legendre")
    np.testing.assert_allclose(exact.map, [[192.0, 64.0]], rtol=1e-5)
    rough = integrated_gradients(quartic, image, target=0, steps=2, rule="midpoint")
    # the mean of 4 a^3 at a = 1/4 and 3/4 is 7/8
    np.testing.assert_allclose(rough.map, [[168.0, 56.0]], rtol=1e-5)
    assert rough.details["completeness_delta"] == pytest.approx(1 / 8)
    # Simpson's rule is exact to degree 3, so a single piece with three points is enough
    simpson = integrated_gradients(quartic, image, target=0, steps=3)
    np.testing.assert_allclose(simpson.map, [[192.0, 64.0]], rtol=1e-5)


def test_the_points_go_to_where_something_happens():
    """F = tanh(400 (a - 0.3)) rises from -1 to 1 within a hundredth of the way: 50 fixed points hardly see it."""
    image = keras.Input((1, 1, 1))
    model = keras.Model(image, keras.ops.tanh(400 * (image[:, 0, 0] - 0.3)))
    deltas = {}
    for rule in RULES:
        found = integrated_gradients(model, np.ones((1, 1, 1), np.float32), target=0, steps=50, rule=rule)
        deltas[rule] = found.details["completeness_delta"]
        assert found.details["difference"] == pytest.approx(2)
        assert found.details["steps"] == (49 if rule == "adaptive" else 50)
    assert deltas["adaptive"] < 0.005
    assert min(deltas["gauss-legendre"], deltas["midpoint"]) > 0.05


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 23])
def test_the_adaptive_rule_asks_at_most_as_often_as_said(convnet, digit, steps):
    found = integrated_gradients(convnet, digit, steps=steps)
    assert found.details["steps"] == steps - (steps % 2 == 0)
    assert found.details["completeness_delta"] < 1 / steps


@pytest.mark.parametrize("rule", RULES)
def test_attributions_add_up_to_the_difference_of_scores(convnet, digit, rule):
    result = integrated_gradients(convnet, digit, of="score", rule=rule)
    dark = float(convnet(np.zeros((1, 8, 8, 1)))[0, result.target])
    assert result.details["difference"] == pytest.approx(result.score - dark, rel=1e-5)
    assert result.map.sum() == pytest.approx(result.score - dark, rel=2e-3)
    assert result.details["completeness_delta"] < 2e-3


def test_the_size_of_the_batches_does_not_matter(convnet, digit):
    whole = integrated_gradients(convnet, digit, steps=7)
    parts = integrated_gradients(convnet, digit, steps=7, batch_size=3)
    np.testing.assert_allclose(parts.map, whole.map, rtol=1e-4, atol=1e-7)


def test_a_baseline_may_be_given_for_each_channel(linear):
    image = np.ones((4, 5, 2), np.float32)
    weights = linear.layers[-1].get_weights()[0].reshape(4, 5, 2, 3)
    result = integrated_gradients(linear, image, target=0, baseline=np.array([1.0, 0.25]))
    np.testing.assert_allclose(result.map, 0.75 * weights[..., 1, 0], rtol=1e-4)
    with pytest.raises(DataError, match=r"expected a baseline for \[4, 5, 2\], got \[3\]"):
        integrated_gradients(linear, image, baseline=np.zeros(3))


def test_an_image_equal_to_its_baseline_has_no_attributions(convnet):
    result = integrated_gradients(convnet, np.zeros((8, 8, 1), np.float32))
    assert not result.map.any()
    assert result.details["completeness_delta"] == 0


@pytest.mark.parametrize("options", [{"steps": 0}, {"rule": "simpson"}])
def test_impossible_options_are_refused(convnet, digit, options):
    with pytest.raises(
        RecipeError, match="expected at least one step and a rule of adaptive or gauss-legendre or midpoint"
    ):
        integrated_gradients(convnet, digit, **options)

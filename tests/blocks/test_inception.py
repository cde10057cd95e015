"""The steps of an Inception module: names, borders and sizes, against hand-computed cases."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.blocks.inception import ROUND_UP, Conv, Fork, Pool, chain, module

NORM = {"epsilon": 1e-3, "momentum": 0.9, "scale": False}


def run(steps, x, norm=None):
    image = keras.Input(x.shape[1:])
    return keras.Model(image, chain(image, steps, "step", norm))(x).numpy()


def test_names_and_shapes_of_a_module():
    image = keras.Input((9, 9, 3))
    branches = ((Conv(4),), (Pool("max"), Conv(5, (1, 7))), (Conv(6, 3), Fork(Conv(2, (1, 3)), Conv(3, (3, 1)))), ())
    output = module(image, branches, "mixed", NORM)
    assert output.shape == (None, 9, 9, 4 + 5 + (2 + 3) + 3)
    names = [layer.name for layer in keras.Model(image, output).layers if layer.weights]
    assert sorted(names) == sorted(
        f"mixed_{branch}_{kind}{number}"
        for kind in ("conv", "bn")
        for branch, number in [("branch1", 1), ("branch2", 1), ("branch3", 1), ("branch3", "2a"), ("branch3", "2b")]
    )
    assert keras.Model(image, output).get_layer("mixed").output is output


def test_biases_only_without_normalisation():
    image = keras.Input((9, 9, 3))
    plain = keras.Model(image, chain(image, (Conv(4, 3),), "plain", None))
    assert [weight.name for weight in plain.weights] == ["kernel", "bias"]
    normalised = keras.Model(image, chain(image, (Conv(4, 3),), "normalised", NORM))
    assert [weight.name for weight in normalised.weights] == ["kernel", "beta", "moving_mean", "moving_variance"]


@pytest.mark.parametrize(("padding", "corner"), [("same", 1.0), (1, 4 / 9)])
def test_zeros_count_in_an_average_only_where_they_are_said(padding, corner):
    averages = run((Pool("average", padding=padding),), np.ones((1, 4, 4, 1), "float32"))
    assert averages[0, 0, 0, 0] == pytest.approx(corner)
    assert averages[0, 1, 1, 0] == pytest.approx(1)


@pytest.mark.parametrize(("size", "rounded_up"), [(7, 3), (8, 4), (9, 4), (10, 5)])
def test_rounding_up(size, rounded_up):
    """Caffe's and torch's size: the ceiling of (size - 3) / 2, plus 1; and no pixel but the image's counts."""
    x = np.random.default_rng(0).random((1, size, size, 2), dtype="float32")
    pooled = run((Pool("max", 3, 2, ROUND_UP),), x)
    assert pooled.shape == (1, rounded_up, rounded_up, 2)
    for row in range(rounded_up):
        np.testing.assert_array_equal(pooled[0, row, 0], x[0, 2 * row : 2 * row + 3, :3].max(axis=(0, 1)))


def test_a_strided_convolution_with_the_border_around():
    """At an even size "same" starts at the first pixel, torch's padding one before: not the same numbers."""
    x = np.random.default_rng(1).random((1, 6, 6, 1), dtype="float32")
    image = keras.Input((6, 6, 1))
    model = keras.Model(image, chain(image, (Conv(1, 3, 2, padding=1),), "step", None))
    model.set_weights([np.ones((3, 3, 1, 1)), np.zeros(1)])
    padded = np.pad(x[0, :, :, 0], 1)
    expected = [[padded[r : r + 3, c : c + 3].sum() for c in (0, 2, 4)] for r in (0, 2, 4)]
    np.testing.assert_allclose(model(x)[0, :, :, 0], expected, rtol=1e-6)

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.resize_like import ResizeLike


def test_hand_computed_row():
    """Two pixels to four: the outer ones keep their border's value, the inner ones are 3 to 1."""
    x = np.float32([4, 8])[None, None, :, None]
    np.testing.assert_allclose(ResizeLike()(x, np.zeros((1, 1, 4, 1)))[0, 0, :, 0], [4, 5, 7, 8])


@pytest.mark.parametrize("size", [(5, 7), (2, 11), (4, 4)])
def test_against_the_formula(size):
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 2))

    def axis(count, wanted):
        place = np.clip((np.arange(wanted) + 0.5) * count / wanted - 0.5, 0, count - 1)
        return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(count)))

    expected = np.einsum("yh,xw,bhwc->byxc", axis(3, size[0]), axis(4, size[1]), x)
    reference = np.zeros((1, *size, 1), "float32")
    np.testing.assert_allclose(ResizeLike()(x.astype("float32"), reference), expected, atol=1e-5)


def test_sizes_known_only_when_it_runs():
    inputs, reference = keras.Input((None, None, 2)), keras.Input((None, None, 3))
    model = keras.Model([inputs, reference], ResizeLike()(inputs, reference))
    assert model.output_shape == (None, None, None, 2)
    assert model([np.zeros((1, 2, 3, 2)), np.zeros((1, 9, 8, 3))]).shape == (1, 9, 8, 2)

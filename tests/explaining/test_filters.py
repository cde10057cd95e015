from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError
from kapps.explaining.filters import first_layer_filters


def model_of(channels: int, filters: int) -> keras.Model:
    inner = keras.Sequential(
        [keras.Input((8, 8, channels)), keras.layers.Conv2D(filters, 3, name="conv")], name="trunk"
    )
    image = keras.Input((8, 8, channels))
    return keras.Model(image, keras.layers.Conv2D(2, 3)(inner(keras.layers.Rescaling(2.0)(image))))


def test_three_channels_are_colours_around_grey():
    model = model_of(3, 5)
    kernel = np.zeros((3, 3, 3, 5), np.float32)
    kernel[0, 1, 0, 0] = 2.0  # red, the strongest of its filter
    kernel[2, 2, 2, 1] = -0.1  # as little blue as can be
    model.get_layer("trunk").get_layer("conv").set_weights([kernel, np.zeros(5)])
    found = first_layer_filters(model, enlarge=4)
    assert found.layer == "trunk/conv"
    np.testing.assert_array_equal(found.kernels, np.moveaxis(kernel, -1, 0))
    # five tiles of 12 pixels in rows of three, two pixels apart
    assert found.picture.shape == (30, 44, 3)
    assert found.picture[2 + 1, 2 + 4 + 1].tolist() == [255, 128, 128]
    assert found.picture[2 + 8 + 1, 2 + 14 + 8 + 1].tolist() == [128, 128, 0]
    assert (found.picture[:2] == 255).all()
    turned = first_layer_filters(model, enlarge=4, bgr=True)
    assert turned.picture[2 + 1, 2 + 4 + 1].tolist() == [128, 128, 255]


def test_other_channels_are_a_grey_tile_each():
    found = first_layer_filters(model_of(2, 3), enlarge=1)
    assert found.kernels.shape == (3, 3, 3, 2)
    assert found.picture.shape == (12, 17, 3)  # six tiles of 3x3 in two rows
    assert (found.picture[..., 0] == found.picture[..., 2]).all()


def test_a_model_without_convolution_is_refused(linear):
    with pytest.raises(DataError, match="no convolution, so no filters to show: take activation_maximisation"):
        first_layer_filters(linear)

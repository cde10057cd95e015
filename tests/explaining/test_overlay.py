from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.explaining.attribution import Attribution
from kapps.explaining.overlay import to_image


def attribution(values: np.ndarray, signed: bool) -> Attribution:
    return Attribution(values.astype(np.float32), "test", 0, 1.0, signed)


def test_red_is_for_the_class_and_blue_against_it():
    values = np.zeros((28, 28))
    values[3, 4], values[20, 5] = 2, -2
    picture = to_image(attribution(values, signed=True), np.zeros((28, 28, 1), np.float32))
    assert (picture.shape, picture.dtype) == ((280, 280, 3), np.uint8)
    places = ((3, 4), (20, 5), (0, 0))
    red, blue, nothing = (picture[10 * row + 5, 10 * column + 5].astype(int) for row, column in places)
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    assert nothing[0] == nothing[1] == nothing[2]
    # each pixel of the map becomes a square without blurred edges
    assert (picture.reshape(28, 10, 28, 10, 3) == picture[::10, ::10].reshape(28, 1, 28, 1, 3)).all()


def test_what_matters_more_is_drawn_stronger_and_the_image_stays_visible():
    values = np.linspace(0, 1, 400).reshape(20, 20)
    image = np.zeros((20, 20), np.uint8)
    image[:, 10] = 200
    picture = to_image(attribution(values, signed=False), image, shortest_side=1).astype(int)
    assert picture.shape == (20, 20, 3)
    colourful = picture.max(axis=-1) - picture.min(axis=-1)
    assert colourful[0, 0] == 0
    assert colourful[19, 19] > colourful[5, 5] > 0
    blank = to_image(attribution(np.zeros((20, 20)), signed=False), image, shortest_side=1).astype(int)
    assert (blank[:, 10] > blank[:, 9] + 50).all()


def test_an_image_of_another_size_is_refused():
    with pytest.raises(DataError, match=r"expected the image that was explained, \[8, 8\], got \[8, 9\]"):
        to_image(attribution(np.zeros((8, 8)), signed=True), np.zeros((8, 9, 3)))


def test_large_images_keep_their_size_and_flat_ones_are_drawn():
    picture = to_image(attribution(np.zeros((300, 400)), signed=True), np.full((300, 400, 3), 7, np.uint8))
    assert picture.shape == (300, 400, 3)

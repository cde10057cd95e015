from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kapps import masks
from kapps.data.scenes import MASK_CLASS_NAMES
from kapps.errors import OutputError


def test_each_class_has_a_colour_of_its_own_and_the_background_a_quiet_one():
    colours = masks.palette(MASK_CLASS_NAMES).astype(int)
    apart = np.abs(colours[:, None] - colours).sum(axis=-1)[np.triu_indices(len(colours), 1)]
    assert apart.min() > 40
    assert colours[-1].max() < 60
    np.testing.assert_array_equal(masks.palette(MASK_CLASS_NAMES), colours)
    assert masks.palette(()).shape == (0, 3)


def test_colours_lie_over_the_image():
    colours = np.array([[200, 0, 0], [0, 100, 0]], np.uint8)
    mask = np.array([[0, 1, -1]])
    np.testing.assert_array_equal(masks.coloured(mask, colours), [[[200, 0, 0], [0, 100, 0], [255, 255, 255]]])
    image = np.full((1, 3, 1), 100, np.uint8)
    np.testing.assert_array_equal(masks.over(image, mask, colours, 0.5)[0, 0], [150, 50, 50])


def test_a_png_shows_colours_and_holds_indices(tmp_path):
    mask = np.array([[0, 1, -1], [2, 2, 2]])
    masks.write_png(mask, ("cat", "dog", "background"), tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), [[0, 1, 255], [2, 2, 2]])
        seen = np.asarray(picture.convert("RGBA"))
    np.testing.assert_array_equal(seen[0, 1, :3], masks.palette(("cat", "dog", "background"))[1])
    assert seen[..., 3].tolist() == [[255, 255, 0], [255, 255, 255]]


def test_more_classes_than_a_palette_holds_are_refused(tmp_path):
    with pytest.raises(OutputError, match="room for 255 classes, got 256"):
        masks.write_png(np.zeros((2, 2), int), list(map(str, range(256))), tmp_path / "mask.png")
    assert not list(tmp_path.iterdir())

from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.detection.warping import warp_regions

IMAGE = np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)


def test_without_context_at_its_own_size_a_box_is_a_crop():
    found = warp_regions(IMAGE.astype(np.uint8), [(1, 1, 4, 4), (3, 0, 6, 3)], 3, context=0)
    assert found.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(found[0], IMAGE[1:4, 1:4], atol=1e-4)
    np.testing.assert_allclose(found[1], IMAGE[0:3, 3:6], atol=1e-4)


def test_stretched_by_hand():
    # two columns of one row in four pixels: their middles are at 0.25, 0.75, 1.25 and 1.75 of columns 0.5 and 1.5
    row = np.float32([10, 30]).reshape(1, 2, 1).repeat(3, axis=2)
    found = warp_regions(row, [(0, 0, 2, 1)], 4, context=0)
    np.testing.assert_allclose(found[0, :, :, 0], [[10, 15, 25, 30]] * 4, atol=1e-4)


def test_context_and_mean_at_the_images_border():
    # the box is 2x2 pixels, and 4 of the result's 8; so a pixel of the image is 2, and 1 pixel of context is 2
    image = np.full((4, 4, 3), 100, np.uint8)
    image[:2, :2] = 50
    found = warp_regions(image, [(0, 0, 2, 2)], 8, context=2, fill=(1, 2, 3)).numpy()
    outside = np.zeros((8, 8), bool)
    outside[:2] = outside[:, :2] = True  # left of and above the image
    np.testing.assert_allclose(found[0][outside], np.broadcast_to([1, 2, 3], (28, 3)))
    # inside: 2 pixels of 50 as 4; between 1.5 and 2.5 it goes over to 100: at 1.75 and 2.25 a quarter and three
    line = [50, 50, 50, 62.5, 87.5, 100]
    np.testing.assert_allclose(found[0, 2, 2:, 0], line, atol=1e-3)
    np.testing.assert_allclose(found[0, 2:, 2, 0], line, atol=1e-3)
    np.testing.assert_allclose(found[0, -1, 2:, 0], 100, atol=1e-3)


def test_the_authors_context_is_16_pixels_of_227():
    image = np.zeros((400, 400, 3), np.uint8)
    image[100:300, 150:250] = 255  # the box itself
    found = warp_regions(image, [(150, 100, 250, 300)], 227)[0, :, :, 0].numpy()
    assert not found[:15].any()
    assert not found[:, -15:].any()
    assert (found[17:-17, 17:-17] == 255).all()


def test_no_boxes_and_boxes_without_area_or_outside():
    assert warp_regions(IMAGE, np.zeros((0, 4)), 5, context=1).shape == (0, 5, 5, 3)
    found = warp_regions(IMAGE, [(2, 2, 2, 2), (20, 20, 30, 30)], 5, context=1, fill=(7, 8, 9)).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[1], np.broadcast_to([7, 8, 9], (5, 5, 3)))


def test_wrong_context():
    with pytest.raises(DataError, match="expected a context from 0 to below half of the size, got 16 of 32"):
        warp_regions(IMAGE, [(0, 0, 1, 1)], 32)

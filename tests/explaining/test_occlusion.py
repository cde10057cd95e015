from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError, RecipeError
from kapps.explaining.occlusion import occlusion


@pytest.fixture
def corner_reader():
    """The score is the mean of the pixels in rows 4 to 7 and columns 8 to 11 of a 12x12 image."""
    image = keras.Input((12, 12, 1))
    return keras.Model(image, keras.ops.mean(image[:, 4:8, 8:12, 0], axis=(1, 2))[:, None])


def test_it_finds_the_only_block_that_matters(corner_reader):
    result = occlusion(corner_reader, np.ones((12, 12, 1), np.float32), patch=4, stride=4)
    expected = np.zeros((12, 12))
    expected[4:8, 8:12] = 1  # covering it with black takes the whole score of 1
    np.testing.assert_allclose(result.map, expected, atol=1e-6)
    assert (result.score, result.target, result.signed) == (1, 0, True)
    assert result.details == {"explained": "score", "patch": (4, 4), "stride": 4, "largest_drop": 1}


def test_overlapping_patches_are_averaged():
    """By hand: score = x1 of [x0 x1 x2]; patches of two pixels at 0 and 1 both cover x1, one covers x0, one x2."""
    image = keras.Input((1, 3, 1))
    model = keras.Model(image, image[:, 0, 1:2, 0])
    result = occlusion(model, np.array([[[5.0], [2.0], [7.0]]], np.float32), patch=(1, 2), stride=1)
    np.testing.assert_allclose(result.map, [[2.0, 2.0, 2.0]])
    ends = keras.Model(image, image[:, 0, 0:1, 0] - image[:, 0, 2:3, 0])
    result = occlusion(ends, np.array([[[5.0], [2.0], [7.0]]], np.float32), patch=(1, 2), stride=1)
    np.testing.assert_allclose(result.map, [[5.0, -1.0, -7.0]])  # the middle: mean of 5 and -7
    result = occlusion(ends, np.array([[[5.0], [2.0], [7.0]]], np.float32), patch=(1, 2), stride=1, baseline=5.0)
    np.testing.assert_allclose(result.map, [[0.0, -1.0, -2.0]])


@pytest.mark.parametrize(("patch", "stride"), [(5, 3), (12, 1), (1, 1), ((3, 7), 3), (None, None)])
def test_every_pixel_is_covered_and_batches_do_not_matter(convnet, patch, stride):
    image = np.random.default_rng(4).uniform(size=(8, 8, 1)).astype(np.float32)
    if patch == 12:
        with pytest.raises(RecipeError, match="expected a patch of 1x1 to 8x8"):
            occlusion(convnet, image, patch=patch, stride=stride)
        return
    result = occlusion(convnet, image, patch=patch, stride=stride)
    assert np.isfinite(result.map).all()
    np.testing.assert_allclose(
        occlusion(convnet, image, patch=patch, stride=stride, batch_size=5).map, result.map, atol=1e-6
    )


def test_a_stride_that_leaves_pixels_out_is_refused(convnet, digit):
    with pytest.raises(RecipeError, match="a stride from 1 to its shorter side, got 2x2 and 3"):
        occlusion(convnet, digit, patch=2, stride=3)
    with pytest.raises(DataError, match="expected a baseline"):
        occlusion(convnet, digit, baseline=np.zeros((3, 3)))

from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError, MissingExtraError
from kapps.explaining.segments import optional, pieces, spans_of, superpixels, times


def test_pieces_are_equal_and_cover_all():
    numbers = pieces(10, 4)
    assert numbers.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert spans_of(numbers) == (((0, 3),), ((3, 5),), ((5, 8),), ((8, 10),))
    assert times(spans_of(numbers), 100)[1] == "0.030 to 0.050 s"
    assert times(spans_of(numbers), None)[1] == "3 to 4"
    for parts in (1, 11):
        with pytest.raises(DataError, match=f"two segments to as many as the 10 samples, got {parts}"):
            pieces(10, parts)


def test_superpixels_follow_the_colours():
    pytest.importorskip("skimage")
    image = np.zeros((40, 60, 3), np.float32)
    image[:, 37:] = 200.0  # an edge that no regular grid has
    parts = superpixels(image, 12)
    assert set(np.unique(parts)) == set(range(parts.max() + 1))
    assert 4 <= parts.max() + 1 <= 24
    for number in range(parts.max() + 1):
        assert np.ptp(image[parts == number]) == 0


def test_every_pixel_of_a_tiny_image_and_a_grid_on_a_blank_one():
    assert superpixels(np.ones((2, 3, 1)), 6).tolist() == [[0, 1, 2], [3, 4, 5]]
    pytest.importorskip("skimage")
    assert superpixels(np.ones((30, 30, 1)), 9).max() > 3


def test_segments_of_one_s_own_are_numbered_from_0():
    assert superpixels(np.ones((1, 4, 1)), np.array([[7, 7, 3, 9]])).tolist() == [[1, 1, 0, 2]]
    with pytest.raises(DataError, match=r"at least two segments as int \[1, 4\], got 1 in \[1, 4\]"):
        superpixels(np.ones((1, 4, 1)), np.zeros((1, 4), int))
    with pytest.raises(DataError, match=r"got 3 in \[3\]"):
        superpixels(np.ones((1, 4, 1)), np.arange(3))
    with pytest.raises(DataError, match="at least two segments, got 1"):
        superpixels(np.ones((4, 4, 1)), 1)


def test_what_is_not_installed_is_named():
    with pytest.raises(MissingExtraError, match=r"lime is needed for this .* pip install 'kapps\[explain\]'"):
        optional("lime", "lime_that_is_not_there.lime_image")

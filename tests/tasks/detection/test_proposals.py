from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError, OutputError
from kapps.tasks.detection import proposals
from kapps.tasks.detection.proposals import ProposalCache, ProposalConfig, proposer, sliding_windows


@pytest.fixture
def searches(monkeypatch):
    """Counts searches; what they find depends on the first pixel."""
    asked = []

    def search(image, mode="fast", limit=2000, *, longest_side=None):
        asked.append((mode, limit, longest_side))
        return np.float32([[0, 0, 1 + image[0, 0, 0], 2]])

    monkeypatch.setattr(proposals, "selective_search", search)
    return asked


IMAGE = np.full((8, 9, 3), 7, np.uint8)


def test_windows_by_hand():
    # size 4 on 8x10: two rows half a window apart would be 2 pixels; 4 / 2 + 1 = 3 rows, 6 / 2 + 1 = 4 columns
    found = sliding_windows(8, 10, [4], stride=0.5)
    assert found.dtype == np.float32
    assert found.shape == (12, 4)
    np.testing.assert_array_equal(found[:4], [[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [6, 0, 10, 4]])
    np.testing.assert_array_equal(found[-1], [6, 4, 10, 8])
    # steps get shorter so that the last window ends at the border: 7 pixels left in 4 steps of 1.75
    np.testing.assert_allclose(sliding_windows(4, 11, [4], stride=0.5)[:, 0], [0, 1.75, 3.5, 5.25, 7])


def test_windows_of_all_shapes_stay_inside_and_none_comes_twice():
    found = sliding_windows(60, 90, [16, 32, 500], [0.5, 1, 2], 0.3)
    assert found.min() >= 0
    assert (found[:, 2:] <= [90 + 1e-4, 60 + 1e-4]).all()
    assert len(np.unique(found, axis=0)) == len(found)
    sides = found[:, 2:] - found[:, :2]
    tall = 16 * np.sqrt(2)
    assert np.isclose(sides, [tall / 2, tall], atol=1e-3).all(axis=1).any()  # ratio 2: twice as high as wide
    np.testing.assert_array_equal(found[-1], [0, 0, 90, 60])  # 500 is cut to the image


@pytest.mark.parametrize("wrong", [(0, 8, [4]), (8, 8, [0]), (8, 8, [4], [-1]), (8, 8, [4], [1], 0)])
def test_wrong_windows(wrong):
    with pytest.raises(DataError, match="sliding_windows: expected positive numbers"):
        sliding_windows(*wrong)


def test_cache_searches_once_and_knows_pixels_mode_and_limit(searches, tmp_path):
    cache = ProposalCache(tmp_path / "made" / "here")
    first = cache(IMAGE)
    np.testing.assert_array_equal(first, [[0, 0, 8, 2]])
    np.testing.assert_array_equal(ProposalCache(tmp_path / "made" / "here")(IMAGE.copy()), first)
    assert len(searches) == 1
    other = IMAGE.copy()
    other[5, 5, 1] += 1
    cache(other)
    cache(IMAGE, "quality")
    cache(IMAGE, limit=10)
    cache(IMAGE, longest_side=4)
    cache(IMAGE.reshape(9, 8, 3))
    assert len(searches) == 6
    cache(IMAGE[:, ::-1])  # one colour: the same pixels, in another order in memory
    assert len(searches) == 6
    assert not list((tmp_path / "made" / "here").glob(".part-*"))


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "bit", "shape"])
def test_a_damaged_file_is_computed_anew(searches, tmp_path, damage):
    cache = ProposalCache(tmp_path)
    expected = cache(IMAGE)
    file = cache.file(IMAGE, "fast", 2000)
    whole = file.read_bytes()
    if damage == "shape":
        np.savez(file, boxes=np.zeros((3, 5), np.float32))
    else:
        place = whole.index(b"boxes.npy") + 60  # inside of the compressed array
        turned = whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        file.write_bytes({"cut": whole[:-20], "empty": b"", "other": b"something else", "bit": turned}[damage])
    np.testing.assert_array_equal(cache(IMAGE), expected)
    assert len(searches) == 2
    np.testing.assert_array_equal(cache(IMAGE), expected)
    assert len(searches) == 2


def test_what_fails_leaves_no_file(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise DataError("expected nothing, got this")

    monkeypatch.setattr(proposals, "selective_search", broken)
    with pytest.raises(DataError):
        ProposalCache(tmp_path)(IMAGE)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(searches, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ProposalCache(tmp_path / "file")(IMAGE)


def test_as_the_configuration_says(searches, tmp_path):
    windows = proposer(ProposalConfig(proposals="windows", window_sizes=(4,), window_ratios=(1.0,)))
    np.testing.assert_array_equal(windows(IMAGE), sliding_windows(8, 9, [4]))
    config = ProposalConfig(proposals="quality", max_proposals=5, search_side=0)
    np.testing.assert_array_equal(proposer(config)(IMAGE), [[0, 0, 8, 2]])
    assert searches == [("quality", 5, None)]
    for _ in range(2):
        proposer(ProposalConfig(), tmp_path)(IMAGE)
    assert searches[1:] == [("fast", 2000, 500)]

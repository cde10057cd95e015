from __future__ import annotations

import importlib
import types

import numpy as np
import pytest

from kapps.boxes.overlap import iou
from kapps.errors import DataError, MissingExtraError, UnknownNameError
from kapps.tasks.detection.selective_search import selective_search


def picture() -> np.ndarray:
    """Two plain squares on a plain ground."""
    image = np.full((96, 128, 3), 90, np.uint8)
    image[20:50, 10:40] = (220, 30, 30)
    image[40:80, 70:110] = (20, 40, 230)
    return image


def test_finds_squares_and_the_whole_the_same_every_time():
    pytest.importorskip("cv2")
    found = selective_search(picture())
    assert found.dtype == np.float32
    assert found.shape[1] == 4
    wanted = np.float32([[10, 20, 40, 50], [70, 40, 110, 80], [0, 0, 128, 96]])
    assert (np.asarray(iou(wanted, found)).max(axis=1) > 0.85).all()
    assert found.min() >= 0
    assert (found[:, 2] <= 128).all()
    assert (found[:, 3] <= 96).all()
    assert (found[:, 2:] > found[:, :2]).all()
    assert len(np.unique(found, axis=0)) == len(found)
    for _ in range(2):
        np.testing.assert_array_equal(selective_search(picture()), found)


def test_the_best_are_a_beginning_of_all():
    pytest.importorskip("cv2")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = np.concatenate([picture()[:64, :64], noise], axis=1)
    found = selective_search(image)
    assert len(found) > 3
    np.testing.assert_array_equal(selective_search(image, limit=3), found[:3])


def test_a_large_image_is_searched_in_a_small_copy():
    pytest.importorskip("cv2")
    large = picture().repeat(4, axis=0).repeat(4, axis=1)
    found = selective_search(large, longest_side=128)
    wanted = 4 * np.float32([[10, 20, 40, 50], [70, 40, 110, 80]])
    assert (np.asarray(iou(wanted, found)).max(axis=1) > 0.8).all()
    assert found.max() == 512


def test_colours_are_told_apart_as_red_green_blue():
    pytest.importorskip("cv2")
    image = picture()
    other = selective_search(np.ascontiguousarray(image[..., ::-1]))
    assert (np.asarray(iou(np.float32([[10, 20, 40, 50]]), other)).max(axis=1) > 0.85).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3)])
def test_tiny_images(size):
    pytest.importorskip("cv2")
    found = selective_search(np.zeros((*size, 3), np.uint8))
    assert found.shape[1] == 4
    assert (found[:, 2:] <= [size[1], size[0]]).all()


def test_wrong_arguments():
    with pytest.raises(UnknownNameError, match=r"no mode of selective search is named 'quick'"):
        selective_search(picture(), "quick")
    with pytest.raises(DataError, match=r"expected an image uint8 \[H, W, 3\] for selective search, got float32"):
        selective_search(picture().astype(np.float32))
    with pytest.raises(DataError, match=r"got uint8 \[96, 128\]"):
        selective_search(picture()[..., 0])
    with pytest.raises(DataError, match="expected a limit and a longest_side of at least 1, got 0 and None"):
        selective_search(picture(), limit=0)


@pytest.mark.parametrize("found", [None, types.SimpleNamespace()], ids=["no OpenCV", "without contributed modules"])
def test_without_opencv_the_error_names_the_extra(monkeypatch, found):
    real = importlib.import_module

    def without(name, *arguments):
        if name != "cv2":
            return real(name, *arguments)
        if found is None:
            raise ImportError("No module named 'cv2'")
        return found

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=r"opencv-contrib-python-headless .* pip install 'kapps\[detect\]'"):
        selective_search(picture())

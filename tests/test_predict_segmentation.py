"""A loaded segmentation answers with a mask of the image's own size and the classes in it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import kapps
from kapps.answers import NOT_SEEN

LABELS = ("red", "green", "background")


@pytest.fixture(scope="module")
def predictor(colour_map):
    return kapps.load(colour_map, engine="tensorflow")


def flag(height: int, width: int) -> np.ndarray:
    """Left half red, right half green: uint8 [height, width, 3]."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 1] = 255
    return pixels


def test_the_mask_has_the_size_of_the_image(predictor):
    answer = predictor(flag(30, 80))
    np.testing.assert_array_equal(answer["mask"], flag(30, 80).argmax(axis=-1))
    assert answer["mask"].dtype == np.int16
    assert [(region["label"], region["share"]) for region in answer["classes"]] == [("red", 0.5), ("green", 0.5)]
    assert all(0.99 < region["score"] < 1 for region in answer["classes"])
    assert answer["mask"].min() > NOT_SEEN


def test_several_images_of_several_sizes_give_a_list(predictor):
    sizes = [(6, 8), (1, 2), (100, 40)]
    answers = predictor([flag(*size) for size in sizes])
    assert [answer["mask"].shape for answer in answers] == sizes
    assert [len(answer["classes"]) for answer in answers] == [2, 2, 2]


def test_a_photo_is_turned_as_its_exif_orientation_says(predictor):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter to the right
    Image.fromarray(flag(16, 32)).save(file, format="JPEG", exif=exif, quality=100, subsampling=0)
    mask = predictor(file.getvalue())["mask"]
    assert mask.shape == (32, 16)
    assert (mask[:12] == 0).all()
    assert (mask[20:] == 1).all()


def test_another_engine_gives_the_same_answer(colour_map, predictor):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    first, second = predictor(image), kapps.load(colour_map, engine="onnx")(image)
    np.testing.assert_array_equal(first["mask"], second["mask"])
    for one, other in zip(first["classes"], second["classes"], strict=True):
        assert one == {"label": other["label"], "share": other["share"], "score": pytest.approx(other["score"])}


def test_it_says_what_it_is(predictor, colour_map):
    assert repr(predictor) == (
        f"<Predictor colour_map version 1: colour_map, 6x8x3 -> 6x8 pixels of 3 classes (softmax), "
        f"from {colour_map / '1'}>"
    )
    assert predictor.labels == LABELS

"""A network's maps, brought back onto the image: hand-computed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kapps.answers import NOT_SEEN, at_own_size, kind_of
from kapps.data.preprocessing import Preprocessing

MAP = np.array([[0, 1], [2, 3]], np.int16)


@pytest.mark.parametrize(
    ("fit", "size", "expected"),
    [
        ("stretch", (2, 2), [[0, 1], [2, 3]]),
        ("stretch", (1, 4), [[2, 2, 3, 3]]),  # the middle of the only row lies on the edge: the lower one
        ("stretch", (3, 2), [[0, 1], [2, 3], [2, 3]]),
        # Of a wide image only the square in its middle was seen.
        ("crop", (2, 4), [[-1, 0, 1, -1], [-1, 2, 3, -1]]),
        # A wide image fills the upper row; below it is a margin.
        ("letterbox", (2, 2), [[0, 1], [2, 3]]),
        ("letterbox", (1, 2), [[0, 1]]),
    ],
)
def test_each_pixel_gets_the_label_that_its_middle_lies_in(fit, size, expected):
    np.testing.assert_array_equal(at_own_size(MAP, Preprocessing((2, 2), fit=fit), size), expected)


def test_a_coarser_map_than_the_network_s_input_is_placed_as_well():
    assert at_own_size(MAP, Preprocessing((4, 4)), (4, 6)).tolist() == [
        *[[0, 0, 0, 1, 1, 1]] * 2,
        *[[2, 2, 2, 3, 3, 3]] * 2,
    ]


def segmentation(fit: str):
    steps = Preprocessing((2, 2), fit=fit).to_dict()
    return kind_of(SimpleNamespace(kind="segmentation", labels=("a", "b", "c"), input={"preprocessing": steps}))


def test_shares_and_scores_count_the_image_s_pixels():
    mask = np.array([[[0, 1], [0, 2]]], np.uint8)
    confidence = np.array([[[0.5, 0.9], [0.7, 0.8]]], np.float32)
    # Of six columns the map has the first three on its left and the others on its right.
    (answer,) = segmentation("stretch").answers({"mask": mask, "confidence": confidence}, [(2, 6)])
    assert answer["mask"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 2, 2, 2]]
    assert answer["mask"].dtype == np.int16
    assert [(region["label"], region["share"]) for region in answer["classes"]] == [
        ("a", 0.5),
        ("b", 0.25),
        ("c", 0.25),
    ]
    assert [region["score"] for region in answer["classes"]] == pytest.approx([0.6, 0.9, 0.8])


def test_what_was_not_seen_has_no_share():
    mask = np.array([[[0, 1], [0, 1]]], np.uint8)
    (answer,) = segmentation("crop").answers({"mask": mask, "confidence": np.ones((1, 2, 2))}, [(2, 4)])
    assert answer["mask"].tolist() == [[NOT_SEEN, 0, 1, NOT_SEEN]] * 2
    assert {region["label"]: region["share"] for region in answer["classes"]} == {"a": 0.5, "b": 0.5}


def test_a_margin_has_no_share():
    mask = np.array([[[0, 0], [1, 1]]], np.uint8)
    (answer,) = segmentation("letterbox").answers({"mask": mask, "confidence": np.ones((1, 2, 2))}, [(1, 2)])
    assert {region["label"]: region["share"] for region in answer["classes"]} == {"a": 1.0}


def test_of_all_scores_the_first_largest_counts():
    scores = np.array([[[[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]]], np.float32)
    arrays = segmentation("stretch").reduced(scores)
    assert arrays["mask"].tolist() == [[[0, 2]]]
    np.testing.assert_allclose(arrays["confidence"], [[[0.4, 0.7]]])

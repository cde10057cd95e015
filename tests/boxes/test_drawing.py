from __future__ import annotations

import numpy as np
import pytest

from kapps.boxes.drawing import draw
from kapps.masks import palette

LABELS = ("cat", "dog")


def test_a_frame_has_the_class_colour_and_the_inside_is_the_image():
    image = np.full((100, 120, 3), 7, "uint8")
    drawn = draw(image, [{"label": "dog", "score": 0.9, "box": [20.0, 40, 80, 90]}], LABELS)
    colour = palette(LABELS)[1]
    np.testing.assert_array_equal(drawn[60, 20], colour)
    np.testing.assert_array_equal(drawn[89, 50], colour)
    np.testing.assert_array_equal(drawn[60, 79], colour)
    assert (drawn[45:85, 25:75] == 7).all()
    assert (drawn[95:, :] == 7).all()
    assert (drawn[20:40, 20:60] != 7).any()  # the tag
    assert (image == 7).all()


@pytest.mark.parametrize("box", [[-5.0, -5, 300, 300], [0.0, 0, 1, 1], [118.0, 97, 120, 100], [50.0, 50, 50, 50]])
def test_boxes_at_and_over_the_border(box):
    drawn = draw(np.zeros((100, 120, 1), "uint8"), [{"label": "cat", "box": box}], LABELS)
    assert drawn.shape == (100, 120, 3)
    assert drawn.any()


def test_the_first_is_in_front():
    image = np.zeros((60, 60, 3), "uint8")
    box = [10.0, 20, 50, 55]
    drawn = draw(image, [{"label": "cat", "box": box}, {"label": "dog", "box": box}], LABELS)
    np.testing.assert_array_equal(drawn[40, 10], palette(LABELS)[0])

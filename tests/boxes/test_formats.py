from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.boxes.formats import FORMATS, area, clip, convert
from kapps.errors import DataError, UnknownNameError

# One box in an image 100 high and 200 wide: x from 20 to 60, y from 10 to 40.
SAME = {
    "xyxy": (20, 10, 60, 40),
    "yxyx": (10, 20, 40, 60),
    "xywh": (20, 10, 40, 30),
    "center_xywh": (40, 25, 40, 30),
    "center_yxhw": (25, 40, 30, 40),
    "rel_xyxy": (0.1, 0.1, 0.3, 0.4),
    "rel_yxyx": (0.1, 0.1, 0.4, 0.3),
    "rel_xywh": (0.1, 0.1, 0.2, 0.3),
    "rel_center_xywh": (0.2, 0.25, 0.2, 0.3),
}


def test_every_format_to_every_other():
    assert set(SAME) == set(FORMATS)
    for source in FORMATS:
        for target in FORMATS:
            found = convert([[SAME[source]]], source, target, height=100, width=200)
            np.testing.assert_allclose(found, [[SAME[target]]], rtol=1e-5, err_msg=f"{source} to {target}")


def test_in_a_graph_with_a_size_that_comes_with_the_image():
    @tf.function(input_signature=[tf.TensorSpec((None, 4)), tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32)])
    def relative(boxes, height, width):
        return convert(boxes, "xyxy", "rel_yxyx", height, width)

    np.testing.assert_allclose(relative(np.float32([SAME["xyxy"]]), 100, 200), [SAME["rel_yxyx"]], rtol=1e-6)
    assert relative(np.zeros((0, 4), "float32"), 100, 200).shape == (0, 4)


def test_between_relative_formats_no_size_is_needed():
    np.testing.assert_allclose(convert(SAME["rel_xyxy"], "rel_xyxy", "rel_yxyx"), SAME["rel_yxyx"], rtol=1e-6)


def test_wrong_formats_and_boxes():
    with pytest.raises(UnknownNameError, match="no box format is named 'xxyy': did you mean"):
        convert([SAME["xyxy"]], "xyxy", "xxyy")
    with pytest.raises(DataError, match="expected height and width of the image to go from 'xyxy' to 'rel_xyxy'"):
        convert([SAME["xyxy"]], "xyxy", "rel_xyxy", height=100)
    with pytest.raises(DataError, match=r"expected 4 numbers each, shape \[..., 4\], found \(2, 3\)"):
        convert(np.zeros((2, 3)), "xyxy", "yxyx")


def test_clip():
    boxes = [(-5, 3, 30, 70), (10, 10, 20, 20), (50, 60, 90, 80), (-9, -9, -3, -4)]
    expected = [(0, 3, 30, 50), (10, 10, 20, 20), (40, 50, 40, 50), (0, 0, 0, 0)]
    np.testing.assert_array_equal(clip(np.float32(boxes), 50, 40), np.float32(expected))
    # each image of a batch at its own size
    batch = clip(np.float32([boxes[:1], boxes[:1]]), np.float32([[50], [60]]), np.float32([[40], [20]]))
    np.testing.assert_array_equal(batch, np.float32([[expected[0]], [(0, 3, 20, 60)]]))


def test_area():
    boxes = np.float32([(0, 0, 4, 3), (2, 2, 2, 9), (5, 5, 3, 3)])  # the second has no width, the third is inverted
    np.testing.assert_array_equal(area(boxes), [12, 0, 0])

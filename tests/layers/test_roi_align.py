from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.roi_align import RoIAlign


def at(image, y, x):
    """One point of [H, W, C], bilinear; 0 more than a pixel outside."""
    height, width, channels = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
    below = image[bottom, left] * (left + 1 - x) + image[bottom, right] * (x - left)
    return above * (top + 1 - y) + below * (y - top)


def oracle(image, box, stride, size, ratio, aligned):
    """Bin by bin and point by point: [size, size, C]."""
    x1, y1, x2, y2 = (value / stride - 0.5 * aligned for value in box)
    width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
    rows, columns = ratio or math.ceil(height / size), ratio or math.ceil(width / size)
    result = np.zeros((size, size, image.shape[-1]))
    for i, j in np.ndindex(size, size):
        for n, m in np.ndindex(max(rows, 0), max(columns, 0)):
            y = y1 + (i + (n + 0.5) / rows) * height / size
            x = x1 + (j + (m + 0.5) / columns) * width / size
            result[i, j] += at(image, y, x) / (rows * columns)
    return result


BOXES = np.float32(
    [
        (8, 4, 40, 36),
        (0, 0, 88, 56),
        (-12, -6, 20, 30),
        (70, 40, 130, 90),
        (16, 16, 16, 16),
        (20, 20, 22, 21),
        (300, 9, 320, 40),
    ]
)


def test_hand_computed_case():
    image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)  # value = 4 y + x
    box = np.float32([[(0, 0, 2, 2)]])
    # not aligned, one point a bin: (0.5, 0.5), (0.5, 1.5), ...; of a plane the value is that at the point
    found = RoIAlign((1,), 2, 1)([image], box)
    np.testing.assert_allclose(found[0, 0, :, :, 0], [[2.5, 3.5], [6.5, 7.5]])
    # aligned, the same box is half a pixel up and left
    found = RoIAlign((1,), 2, 1, aligned=True)([image], box)
    np.testing.assert_allclose(found[0, 0, :, :, 0], [[0, 1], [4, 5]])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [2, 3, 0])
def test_against_an_oracle(aligned, ratio):
    image = np.random.default_rng(0).standard_normal((2, 7, 11, 3), dtype="float32")
    layer = RoIAlign((8,), 3, ratio, aligned)
    found = tf.function(lambda image, boxes: layer([image], boxes))(image, np.stack([BOXES, BOXES[::-1]]))
    for number, box in enumerate(BOXES.tolist()):
        for batch, place in ((0, number), (1, -1 - number)):
            expected = oracle(image[batch].astype("float64"), box, 8, 3, ratio, aligned)
            np.testing.assert_allclose(found[batch, place], expected, atol=1e-5, err_msg=f"{box} in image {batch}")


def test_each_box_from_the_map_that_fits():
    layer = RoIAlign((4, 8, 16, 32))
    sides = np.float32([10, 111, 112, 223, 224, 447, 448, 2000, 0])
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=-1)
    np.testing.assert_array_equal(layer.levels(boxes), [0, 0, 1, 1, 2, 2, 3, 3, 0])  # 112 is a quarter of 224 squared
    maps = [np.full((2, 64 // stride, 96 // stride, 2), stride, "float32") for stride in (4, 8, 16, 32)]
    boxes = np.float32([[(0, 0, 90, 60), (0, 0, 30, 30)], [(0, 0, 150, 150), (0, 0, 40, 20)]])
    found = RoIAlign((4, 8, 16, 32), 2)(maps, boxes)
    assert found.shape == (2, 2, 2, 2, 2)
    np.testing.assert_allclose(found[:, :, 0, 0, 0], [[4, 4], [8, 4]])


def test_no_boxes_and_gradients_to_the_maps_only():
    image, boxes = tf.random.normal((1, 7, 11, 2)), tf.constant(BOXES[None, :2])
    layer = RoIAlign((8,), 3)

    @tf.function
    def gradients(image, boxes):
        with tf.GradientTape() as tape:
            tape.watch((image, boxes))
            loss = tf.reduce_sum(layer([image], boxes))
        return tape.gradient(loss, (image, boxes), unconnected_gradients="zero")

    to_image, to_boxes = gradients(image, boxes)
    # each bin is a mean: the weights of its points sum to 1
    assert float(tf.reduce_sum(to_image)) == pytest.approx(2 * 9 * 2, rel=1e-5)
    assert not to_boxes.numpy().any()
    assert layer([image], boxes[:, :0]).shape == (1, 0, 3, 3, 2)


@pytest.mark.parametrize("ratio", [2, 0])
def test_gradient_of_several_maps_against_differences(ratio):
    random = np.random.default_rng(2)
    maps = [random.normal(size=(2, side, side + 1, 2)).astype("float32") for side in (9, 5)]
    boxes = np.float32([[(1, 2, 30, 40), (-20, 10, 300, 300)], [(0, 0, 500, 400), (5, 5, 5, 9)]])
    layer, directions = RoIAlign((8, 16), 2, ratio), [random.normal(size=each.shape) for each in maps]
    weights = random.normal(size=(2, 2, 2, 2, 2)).astype("float32")

    def loss(maps):
        return tf.reduce_sum(layer(maps, boxes) * weights)

    variables = [tf.Variable(each) for each in maps]
    with tf.GradientTape() as tape:
        value = loss(variables)
    found = tape.gradient(value, variables)
    slope = sum(float(np.sum(each * direction)) for each, direction in zip(found, directions, strict=True))
    # the layer is linear in its maps: any step will do
    there = loss([np.float32(each + direction) for each, direction in zip(maps, directions, strict=True)])
    assert slope == pytest.approx(float(there - value), rel=1e-3)
    assert all(np.abs(each).sum() > 0 for each in found)


def test_in_a_model_of_any_size(tmp_path):
    maps = [keras.Input((None, None, 4)), keras.Input((None, None, 4))]
    boxes = keras.Input((None, 4))
    model = keras.Model([*maps, boxes], RoIAlign((8, 16), 2, name="align")(maps, boxes))
    assert model.output_shape == (None, None, 2, 2, 4)
    inputs = [np.random.default_rng(1).normal(size=(1, side, side, 4)).astype("float32") for side in (12, 6)]
    inputs.append(BOXES[None, :3])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(inputs), model(inputs))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="strides must be powers of 2, fine to coarse"):
        RoIAlign((8, 4))
    with pytest.raises(ValueError, match="size must be at least 1 and sampling_ratio at least 0, got 0 and 2"):
        RoIAlign((8,), 0)
    with pytest.raises(ValueError, match="expected a list of 2 maps, one a stride, got 1"):
        RoIAlign((8, 16))([np.zeros((1, 4, 4, 1), "float32")], BOXES[None])

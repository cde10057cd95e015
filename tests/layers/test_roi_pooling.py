from __future__ import annotations

import math
from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.roi_pooling import RoIPooling


def oracle(image, box, stride, size):
    """Bin by bin: [size, size, C]."""
    height, width, channels = image.shape
    x1, y1, x2, y2 = (int(math.copysign(math.floor(abs(value / stride) + 0.5), value)) for value in box)
    rows, columns = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    result = np.zeros((size, size, channels), "float32")

    def edges(number, length, start, extent):
        first, behind = math.floor(Fraction(number * length, size)), math.ceil(Fraction((number + 1) * length, size))
        return slice(*(min(max(start + edge, 0), extent) for edge in (first, behind)))

    for i, j in np.ndindex(size, size):
        window = image[edges(i, rows, y1, height), edges(j, columns, x1, width)]
        if window.size:
            result[i, j] = window.max(axis=(0, 1))
    return result


BOXES = np.float32(
    [
        (8, 4, 40, 36),
        (0, 0, 175, 111),
        (-12, -6, 20, 30),
        (70, 40, 230, 190),
        (16, 16, 16, 16),
        (60, 50, 40, 20),
        (900, 9, 950, 40),
    ]
)


def test_hand_computed_case():
    image = np.arange(12, dtype="float32").reshape(1, 3, 4, 1)
    # pixels 1 to 3 of rows 0 to 2; of three rows in two bins the middle one is in both
    found = RoIPooling(1, 2)(image, np.float32([[(1, 0, 3, 2)]]))
    np.testing.assert_array_equal(found[0, 0, :, :, 0], [[6, 7], [10, 11]])
    # halves are rounded up: 1.5 / 1 to 2
    found = RoIPooling(1, 1)(image, np.float32([[(0, 0, 1.5, 0.4)]]))
    assert float(found[0, 0, 0, 0, 0]) == 2


@pytest.mark.parametrize("size", [1, 3, 7])
def test_against_an_oracle(size):
    image = np.random.default_rng(0).standard_normal((2, 14, 22, 3), dtype="float32")
    layer = RoIPooling(8, size)
    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, 4))]
    found = tf.function(layer, input_signature=signature)(image, np.stack([BOXES, BOXES[::-1]]))
    for number, box in enumerate(BOXES.tolist()):
        for batch, place in ((0, number), (1, -1 - number)):
            np.testing.assert_array_equal(found[batch, place], oracle(image[batch], box, 8, size), err_msg=str(box))


def test_no_boxes_and_gradients():
    image = tf.reshape(tf.range(12.0), (1, 3, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(image)
        found = RoIPooling(1, 2)(image, tf.constant([[(1.0, 0.0, 3.0, 2.0)]]))
        loss = tf.reduce_sum(found[0, 0, :, :, 0] * [[1.0, 10.0], [100.0, 1000.0]])
    expected = [[0, 0, 0, 0], [0, 0, 1, 10], [0, 0, 100, 1000]]
    np.testing.assert_allclose(tape.gradient(loss, image)[0, :, :, 0], expected)
    assert RoIPooling(1, 2)(image, np.zeros((1, 0, 4), "float32")).shape == (1, 0, 2, 2, 1)


def test_in_a_model(tmp_path):
    inputs = [keras.Input((None, None, 4)), keras.Input((None, 4))]
    model = keras.Model(inputs, RoIPooling(8, 2)(*inputs))
    assert model.output_shape == (None, None, 2, 2, 4)
    values = [np.random.default_rng(1).normal(size=(1, 9, 9, 4)).astype("float32"), BOXES[None, :3]]
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(values), model(values))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="stride must be positive and size at least 1, got 0 and 7"):
        RoIPooling(0)

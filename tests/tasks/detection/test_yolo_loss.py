from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.tasks.detection.yolo_loss import LOSSES, yolo_losses

# A grid of 2x2, 2 boxes, 2 classes: 12 numbers a cell. One object of class 1 in the cell at the top right.
PLACES = np.zeros((1, 2, 2, 4), "float32")
PLACES[0, 0, 1] = (0.5, 0.5, 0.5, 0.5)  # a quarter of the image's width and height, in the middle of the cell
CLASSES = np.int32([[[-1, 1], [-1, -1]]])


def answers(first, second, first_sure=0.0, second_sure=0.0, classes=(0, 0)):
    values = np.zeros((1, 2, 2, 12), "float32")
    values[0, 0, 1] = (*first, first_sure, *second, second_sure, *classes)
    return values


def losses(values, **options):
    found = yolo_losses(values, PLACES, CLASSES, boxes=2, **options)
    assert tuple(found) == LOSSES
    return [float(loss) for loss in found.values()]


def test_every_line_by_hand():
    # The first box lies half a cell too far left, a quarter of the image: beside the object. The second is as high as
    # the object and twice as wide: it overlaps by a half and is responsible.
    values = answers((0, 0.5, 0.5, 0.5), (0.6, 0.5, np.sqrt(0.5), 0.5), 0.2, 0.9, classes=(0.1, 0.7))
    values[0, 1, 0, 4] = 0.4  # a confidence in an empty cell
    values[0, 1, 0, 10:] = 5  # and classes, for which nobody asks
    values[0, 1, 0, :4] = 5
    wide = np.sqrt(0.5) - 0.5
    expected = [
        5 * 0.1**2,
        5 * wide**2,
        (0.9 - 0.5) ** 2,
        0.5 * (0.2**2 + 0.4**2),
        0.1**2 + 0.3**2,
    ]
    np.testing.assert_allclose(losses(values), expected, rtol=1e-4)
    np.testing.assert_allclose(
        losses(values, coord_weight=1, no_object_weight=2)[:2], np.divide(expected[:2], 5), rtol=1e-4
    )
    np.testing.assert_allclose(losses(values, no_object_weight=2)[3], 4 * expected[3], rtol=1e-4)


def test_right_answers_cost_nothing():
    values = answers((0.5, 0.5, 0.5, 0.5), (0, 0, 0, 0), 1.0, 0.0, classes=(0, 1))
    np.testing.assert_allclose(losses(values), 0, atol=1e-12)


def test_where_nothing_overlaps_the_nearest_is_responsible():
    # both without area; the second is nearer
    found = losses(answers((0, 0, 0, 0), (0.5, 0.4, 0, 0), 0.3, 0.6))
    np.testing.assert_allclose(found, [5 * 0.01, 5 * 0.5, 0.36, 0.5 * 0.09, 1], rtol=1e-5)
    # but an overlap, however small, comes before nearness
    found = losses(answers((0.5, 0.5, 0.01, 0.01), (0.5, 1.5, 0.5, 0.5)))
    assert found[1] == pytest.approx(5 * 2 * 0.49**2, rel=1e-4)


def test_numerical_gradient():
    random = np.random.default_rng(0)
    start = random.uniform(0.2, 0.7, (2, 2, 2, 12))  # float64
    places, classes = np.repeat(PLACES, 2, axis=0).astype("float64"), np.concatenate([CLASSES, 0 * CLASSES])
    places[1] = random.uniform(0.2, 0.7, (2, 2, 4))

    def total(values):
        return tf.add_n(list(yolo_losses(values, places, classes, boxes=2).values()))

    values = tf.Variable(start)
    with tf.GradientTape() as tape:
        loss = total(values)
    gradient = tape.gradient(loss, values).numpy()
    # Confidences and classes, not places: the overlap moves with them, and is meant to count as if it stood still.
    for number in (4, 9, 10, 11):
        direction = np.zeros_like(start)
        direction[..., number] = random.normal(size=(2, 2, 2))
        slope = float(total(start + 1e-6 * direction) - total(start - 1e-6 * direction)) / 2e-6
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-4)
        assert np.abs(gradient[..., number]).max() > 0.1


def test_gradient_of_places_by_hand():
    values = tf.Variable(answers((0.4, 0.5, 0.5, 0.6), (0, 0, 0, 0), 1.0))
    with tf.GradientTape() as tape:
        found = yolo_losses(values, PLACES, CLASSES, boxes=2)
        total = found["centre_loss"] + found["size_loss"] + found["object_loss"]
    gradient = tape.gradient(total, values).numpy()[0, 0, 1]
    # 2 * 5 * difference; nothing comes through the overlap: IoU = 0.15 * 0.25 / (0.25 * 0.25 + 0.25 * 0.36 - 0.0375)...
    np.testing.assert_allclose(gradient[:4], (-1, 0, 0, 1), atol=1e-6)
    left, right = 0.5 * 1.4 - 0.125, 0.5 * 1.4 + 0.125  # of the box; the object's are 0.625 and 0.875
    shared = (right - 0.625) * 0.25
    overlap = shared / (0.25 * 0.25 + (right - left) * 0.36 - shared)
    assert gradient[4] == pytest.approx(2 * (1 - overlap), rel=1e-5)
    assert not gradient[5:10].any()


def test_images_without_objects():
    values = tf.Variable(answers((0.5, 0.5, 0.5, 0.5), (0, 0, 0, 0), 0.6, classes=(3, 3)))
    with tf.GradientTape() as tape:
        found = yolo_losses(values, 0 * PLACES, -np.ones((1, 2, 2), "int32"), boxes=2)
        total = tf.add_n(list(found.values()))
    assert [float(found[name]) for name in LOSSES] == pytest.approx([0, 0, 0, 0.18, 0])
    gradient = tape.gradient(total, values).numpy()
    assert gradient[0, 0, 1, 4] == pytest.approx(0.6)
    assert np.count_nonzero(gradient) == 1


def test_the_mean_over_images():
    values = answers((0.4, 0.5, 0.5, 0.5), (0, 0, 0, 0))
    both = yolo_losses(
        np.repeat(values, 2, axis=0), np.repeat(PLACES, 2, axis=0), np.repeat(CLASSES, 2, axis=0), boxes=2
    )
    assert [float(loss) for loss in both.values()] == pytest.approx(losses(values))

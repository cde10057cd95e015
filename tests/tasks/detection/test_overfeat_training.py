from __future__ import annotations

import math

import numpy as np
import pytest

from kapps.tasks.detection.overfeat_training import box_loss, class_loss, cut, draw_windows

SCALES, CONTEXT = (1.25, 2.5), (1.0, 2.0)  # windows of 80 down to 40 pixels in 100
SIZES = np.float32([(100, 150), (120, 100), (100, 100)])
BOXES = np.float32(
    [[(10, 20, 40, 35), (90, 60, 150, 100)], [(60, 80, 100, 120), (0, 0, 0, 0)], [(0, 0, 0, 0), (0, 0, 0, 0)]]
)
CLASSES = np.int32([(1, 2), (0, 0), (0, 0)])
VALID = np.array([(True, True), (True, False), (False, False)])


def draw(seed=(0, 0), **options):
    options = {"num_classes": 3, "objects": 40, "backgrounds": 40, "scales": SCALES, "context": CONTEXT, **options}
    values = draw_windows(BOXES, CLASSES, VALID, SIZES, seed=seed, **options)
    return [value.numpy() for value in values]


def held(window, box):
    """Which part of the box is in the window."""
    sides = np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2])
    return np.prod(np.maximum(sides, 0)) / np.prod(box[2:] - box[:2])


def test_windows_of_objects():
    windows, labels, targets = draw()
    sides = windows[..., 2:] - windows[..., :2]
    np.testing.assert_allclose(sides[..., 0], sides[..., 1], atol=1e-3)
    objects = set()
    for image, place in zip(*np.nonzero(labels[:, :40] >= 0), strict=True):
        window, label, target = windows[image, place], labels[image, place], targets[image, place]
        number = CLASSES[image].tolist().index(label)
        box, side = BOXES[image, number], window[2] - window[0]
        objects.add((image, number))
        assert held(window, box) >= 0.5
        longer = (box[2:] - box[:2]).max()
        assert max(40, longer) - 1e-3 <= side <= min(80, max(40, 2 * longer)) + 1e-3
        np.testing.assert_allclose(target * side + np.tile(window[:2], 2), box, atol=1e-3)
    assert objects == {(0, 0), (0, 1), (1, 0)}
    assert (labels[:2, :40] >= 0).all()  # each of these has a window that shows it
    assert (labels[2, :40] == -1).all()
    assert len(np.unique(windows[0, :40], axis=0)) > 30  # some are moved into the same corner


def test_windows_of_background():
    windows, labels, targets = draw()
    windows, labels = windows[:, 40:], labels[:, 40:]
    assert (labels[2] == 3).all()
    assert (labels == 3).sum(axis=1).min() > 5
    assert set(np.unique(labels)) <= {-1, 3}
    assert not targets[:, 40:].any()
    for image, place in zip(*np.nonzero(labels == 3), strict=True):
        window = windows[image, place]
        side = window[2] - window[0]
        assert 40 - 1e-3 <= side <= 80 + 1e-3
        for box in BOXES[image][VALID[image]]:
            longer = (box[2:] - box[:2]).max()
            assert held(window, box) < 0.3 or side >= 1.5 * max(2 * longer, 40)


def test_windows_are_in_the_image():
    windows, _, _ = draw()
    for sizes, some in zip(SIZES, windows[:2], strict=False):
        assert some.min() >= -1e-3
        assert (some.max(axis=0) <= np.tile(sizes[::-1], 2) + 1e-3).all()


def test_the_seed_decides():
    first, again, other = draw(), draw(), draw((0, 1))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.allclose(first[0], other[0])
    # without background
    windows, labels, targets = draw(backgrounds=0)
    assert (windows.shape, labels.shape, targets.shape) == ((3, 40, 4), (3, 40), (3, 40, 4))
    np.testing.assert_array_equal(windows, first[0][:, :40])


def test_a_batch_without_boxes():
    nothing = np.zeros((2, 0, 4)), np.zeros((2, 0)), np.zeros((2, 0), bool)
    options = {"num_classes": 2, "objects": 3, "backgrounds": 4, "scales": SCALES, "context": CONTEXT, "seed": (1, 2)}
    windows, labels, targets = draw_windows(*nothing, SIZES[:2], **options)
    assert windows.shape == (2, 7, 4)
    np.testing.assert_array_equal(labels, [[-1] * 3 + [2] * 4] * 2)
    assert not targets.numpy().any()


def test_an_object_that_no_window_holds_is_not_learned():
    boxes, sizes = np.float32([[(0, 0, 1000, 100)]]), np.float32([(100, 1000)])
    _, labels, _ = draw_windows(
        boxes,
        [[0]],
        [[True]],
        sizes,
        num_classes=1,
        objects=5,
        backgrounds=5,
        scales=SCALES,
        context=CONTEXT,
        seed=(0, 0),
    )
    assert (labels.numpy()[:, :5] == -1).all()


def test_cutting():
    image = np.random.default_rng(0).random((2, 12, 17, 3), dtype="float32")
    # as large as the answer: the pixels themselves
    crops = cut(image, np.float32([[(3, 2, 9, 8)], [(11, 6, 17, 12)]]), 6)
    np.testing.assert_allclose(crops[0], image[0, 2:8, 3:9], atol=1e-5)
    np.testing.assert_allclose(crops[1], image[1, 6:12, 11:17], atol=1e-5)
    # twice as large: between two pixels each; two windows of an image
    crops = cut(image[:1], np.float32([[(0, 0, 12, 12), (5, 0, 17, 12)]]), 6)
    means = image[0].reshape(6, 2, 17, 3).mean(axis=1)
    np.testing.assert_allclose(crops[0], means[:, :12].reshape(6, 6, 2, 3).mean(axis=2), atol=1e-5)
    np.testing.assert_allclose(crops[1], means[:, 5:].reshape(6, 6, 2, 3).mean(axis=2), atol=1e-5)
    # with a margin: what is around the window, in the same steps
    wide = cut(image[:1], np.float32([[(4, 4, 8, 8)]]), 2, margin=1)
    assert wide.shape == (1, 4, 4, 3)
    np.testing.assert_allclose(wide, cut(image[:1], np.float32([[(2, 2, 10, 10)]]), 4), atol=1e-5)
    # outside of the image there is nothing
    crops = cut(image[:1], np.float32([[(14, 9, 20, 15)]]), 6)
    np.testing.assert_allclose(crops[0, :3, :3], image[0, 9:, 14:], atol=1e-5)
    assert not crops[0, 3:].numpy().any()
    assert not crops[0, :, 3:].numpy().any()


def test_losses_by_hand():
    scores = np.float32([(0, 0, 0), (2, 0, 0), (9, 9, 0)])
    expected = (math.log(3) + math.log(math.exp(2) + 2)) / 2
    assert float(class_loss(scores, np.int32([1, 2, -1]))) == pytest.approx(expected, rel=1e-5)
    boxes = np.float32([(9, 9, 9, 9, 0, 0, 1, 1), (0, 0, 1, 1, 9, 9, 9, 9), (7,) * 8, (7,) * 8])
    targets = np.float32([(0, 0.5, 1, 1), (0, 0, 0, 1), (0,) * 4, (0,) * 4])
    assert float(box_loss(boxes, np.int32([1, 0, 2, -1]), targets)) == pytest.approx((0.25 + 1) / 2)
    assert float(class_loss(scores, np.int32([-1] * 3))) == 0
    assert float(box_loss(boxes, np.int32([-1] * 4), targets)) == 0

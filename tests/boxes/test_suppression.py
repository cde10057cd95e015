from __future__ import annotations

import numpy as np
import tensorflow as tf

from kapps.boxes.overlap import iou
from kapps.boxes.suppression import suppress


def oracle(boxes, scores, classes, threshold):
    """Greedy suppression, box by box."""
    overlap, kept = np.asarray(iou(boxes, boxes)), []
    for number in np.argsort(-scores, kind="stable"):
        if all(classes[number] != classes[other] or overlap[number, other] <= threshold for other in kept):
            kept.append(int(number))
    return kept


def kept(*arguments, max_outputs=50, **options):
    numbers, count = suppress(*arguments, max_outputs=max_outputs, **options)
    assert numbers.shape == (max_outputs,)
    assert not numbers[int(count) :].numpy().any()
    return numbers[: int(count)].numpy().tolist()


BOXES = np.float32([(0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 5), (20, 20, 30, 30), (0, 0, 10, 10)])
SCORES = np.float32([0.8, 0.9, 0.7, 0.1, 0.8])


def test_hand_computed_case():
    # box 1 is best; it overlaps 0 and 4 by 0.9 and 2 by 5/9
    assert kept(BOXES, SCORES, iou_threshold=0.6) == [1, 2, 3]
    assert kept(BOXES, SCORES, iou_threshold=0.5) == [1, 3]
    # an overlap of just the threshold is no reason to go
    assert kept(BOXES[[0, 2]], SCORES[[0, 2]], iou_threshold=0.5) == [0, 1]
    # of equal scores the first stays
    assert kept(BOXES, SCORES, iou_threshold=0.95) == [1, 0, 2, 3]


def test_classes_leave_each_other_alone():
    assert kept(BOXES, SCORES, np.int32([0, 1, 0, 0, 2]), iou_threshold=0.4) == [1, 0, 4, 3]
    # also where boxes reach to the left of the image
    boxes = np.float32([(-100, -100, -1, -1), (-50, -50, 50, 50)])
    assert kept(boxes, SCORES[:2], np.int32([0, 1]), iou_threshold=0.0) == [1, 0]


def test_limits():
    assert kept(BOXES, SCORES, iou_threshold=0.6, score_threshold=0.1) == [1, 2]
    assert kept(BOXES, SCORES, iou_threshold=0.6, max_outputs=2) == [1, 2]
    hidden = np.where(np.arange(5) == 1, -np.inf, SCORES).astype("float32")
    assert kept(BOXES, hidden, iou_threshold=0.6) == [0, 2, 3]


def test_against_an_oracle_in_a_graph():
    function = tf.function(
        lambda *arguments: suppress(*arguments, iou_threshold=0.5, max_outputs=200),
        input_signature=[tf.TensorSpec((None, 4)), tf.TensorSpec((None,)), tf.TensorSpec((None,), tf.int32)],
    )
    for seed, count in ((0, 200), (1, 57), (2, 1), (3, 0)):
        random = np.random.default_rng(seed)
        corner, size = random.uniform(0, 80, (count, 2)), random.uniform(0, 40, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).astype("float32")
        scores, classes = random.uniform(size=count).astype("float32"), random.integers(0, 3, count).astype("int32")
        numbers, found = function(boxes, scores, classes)
        assert numbers[: int(found)].numpy().tolist() == oracle(boxes, scores, classes, 0.5)


def test_boxes_without_area_overlap_nothing():
    points = np.float32([(5, 5, 5, 5)] * 3)
    assert kept(points, SCORES[:3], iou_threshold=0.5) == [1, 0, 2]

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.metrics.mean_iou import MeanIoU, intersection_over_union

TRUTH = np.array([[[0, 0, 1], [1, 255, 0]]])
ANSWER = np.array([[[0, 1, 1], [1, 1, 0]]])
# Without the ignored pixel: class 0 has 2 right, 1 missed; class 1 has 2 right, 1 too many; class 2 is nowhere.
IOU = [2 / 3, 2 / 3]


def scores(labels, classes=3):
    return np.eye(classes, dtype="float32")[labels]


def test_hand_computed_matrix():
    table = [[4, 1, 0, 0], [2, 3, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    # 4 / (5 + 7 - 4), 3 / (5 + 4 - 3), nowhere, never found
    np.testing.assert_allclose(intersection_over_union(table), [1 / 2, 1 / 2, np.nan, 0])


def test_hand_computed_pictures():
    metric = MeanIoU(3)
    metric.update_state(TRUTH, scores(ANSWER))
    assert float(metric.result()) == pytest.approx(np.mean(IOU))
    np.testing.assert_array_equal(np.reshape(metric.confusion, (3, 3)), [[2, 1, 0], [0, 2, 0], [0, 0, 0]])


def test_counts_over_batches_equal_keras():
    rng = np.random.default_rng(0)
    ours, theirs = MeanIoU(4, ignored_label=None), keras.metrics.MeanIoU(4)
    for _ in range(3):
        truth, answer = rng.integers(4, size=(2, 2, 5, 6))
        ours.update_state(truth, scores(answer, 4))
        theirs.update_state(truth, answer)
    assert float(ours.result()) == pytest.approx(float(theirs.result()))
    table = np.reshape(ours.confusion, (4, 4))
    assert float(ours.result()) == pytest.approx(intersection_over_union(table).mean())
    ours.reset_state()
    assert float(ours.result()) == 0


def test_in_training():
    model = keras.Sequential([keras.Input((2, 3, 3)), keras.layers.Activation("softmax")])
    model.compile(loss="sparse_categorical_crossentropy", metrics=[MeanIoU(3)])
    truth = np.where(TRUTH == 255, 1, TRUTH)
    assert model.evaluate(scores(ANSWER), truth, verbose=0)[1] == pytest.approx((2 / 3 + 3 / 4) / 2)


def test_config_and_wrong_arguments():
    metric = MeanIoU(5, ignored_label=None, name="iou")
    assert MeanIoU.from_config(metric.get_config()).get_config() == metric.get_config()
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        MeanIoU(1)
    with pytest.raises(ValueError, match="expected no sample_weight"):
        MeanIoU(3).update_state(TRUTH, scores(ANSWER), sample_weight=TRUTH)

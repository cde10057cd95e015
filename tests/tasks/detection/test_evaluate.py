from __future__ import annotations

import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import DataError, MissingExtraError, RecipeError
from kapps.metrics.average_precision import FIGURES, RECALLS, coco_average_precision, voc_average_precision
from kapps.tasks.detection import evaluate
from kapps.tasks.detection.evaluate import EvaluateDetector, evaluate_detector
from kapps.training.callbacks import Log, read_log

pytest.importorskip("faster_coco_eval")

CLASSES = ("cell", "platelet")
# Of each image the boxes, classes and crowds; the third has none.
TRUTHS = [
    ([(2, 3, 12, 13), (20, 20, 30, 30)], [0, 1], [False, False]),
    ([(5, 5, 25, 25), (0, 0, 30, 30)], [0, 0], [False, True]),
    ([], [], []),
]


def targets(boxes, classes, crowd):
    boxes = np.reshape(np.float32(boxes), (-1, 4))
    sides = boxes[:, 2:] - boxes[:, :2]
    return {
        "boxes": boxes,
        "classes": np.int32(classes),
        "crowd": np.array(crowd, bool),
        "difficult": np.zeros(len(boxes), bool),
        "areas": sides.prod(axis=1),
    }


def dataset(truths=TRUTHS, damaged=()):
    """Images of different sizes, whose pixels say their number."""

    def examples():
        for number, truth in enumerate(truths):
            yield np.full((30 + number, 40, 3), number, "uint8"), targets(*truth)

    kinds = {"boxes": tf.float32, "classes": tf.int32, "crowd": tf.bool, "difficult": tf.bool, "areas": tf.float32}
    shapes = {name: (None, 4) if name == "boxes" else (None,) for name in kinds}
    stream = tf.data.Dataset.from_generator(
        examples,
        output_signature=(
            tf.TensorSpec((None, None, 3), tf.uint8),
            {name: tf.TensorSpec(shapes[name], kind) for name, kind in kinds.items()},
        ),
    )

    def decode(image, truth):
        number = tf.cast(image[0, 0, 0], tf.int32)
        with tf.control_dependencies([tf.debugging.assert_none_equal(number, each) for each in damaged]):
            return tf.identity(image), truth

    stream = stream.map(decode) if damaged else stream
    return SimpleNamespace(examples=stream, class_names=CLASSES, num_examples=len(truths), name="blood")


def answer(image):
    """The first cell and the platelet are found, and in each image a cell where there is none."""
    number = int(image[0, 0, 0])
    boxes, classes, crowd = TRUTHS[number]
    kept = [row for row, of_crowd in enumerate(crowd) if not of_crowd]
    return {
        "boxes": np.float32([*(boxes[row] for row in kept), (30, 0, 38, 8)]),
        "scores": np.float32([*(0.9 - 0.1 * row for row in kept), 0.3 + 0.2 * number]),
        "classes": np.int32([*(classes[row] for row in kept), 0]),
    }


def test_figures():
    seen = []
    figures = evaluate_detector(answer, dataset(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (figures["num_examples"], figures["num_boxes"], figures["num_detections"]) == (3, 3, 6)
    truths, detections = [targets(*truth) for truth in TRUTHS], [answer(np.full((1, 1, 3), n)) for n in range(3)]
    coco = coco_average_precision(truths, detections, CLASSES)
    assert {name: figures[name] for name in FIGURES} == {name: coco[name] for name in FIGURES}
    assert figures["AP50"] == 1  # the wrong ones are less sure than all right ones
    assert figures["VOC_AP"] == voc_average_precision(truths, detections, CLASSES)["AP"] == 1
    assert figures["VOC2007_AP"] == 1
    ones = {"AP": 1, "AP50": 1, "VOC_AP": 1, "VOC2007_AP": 1}
    assert figures["per_class"] == {"cell": {"count": 2, **ones}, "platelet": {"count": 1, **ones}}
    assert figures["curves"]["recall"] == list(RECALLS)
    assert figures["curves"]["per_class"]["cell"]["precision"] == [1.0] * 101
    assert figures["curves"]["per_class"]["cell"]["score"] == pytest.approx([0.9] * 101)


def test_a_detector_that_is_surer_of_what_is_wrong():
    figures = evaluate_detector(lambda image: {**answer(image), "scores": 1 - answer(image)["scores"]}, dataset())
    # cells: wrong at 0.7, 0.5 and 0.3, then right twice at 0.1: two of five when all are found
    assert figures["per_class"]["cell"]["VOC_AP"] == pytest.approx(2 / 5)
    assert figures["per_class"]["cell"]["AP50"] == pytest.approx(2 / 5)
    assert figures["VOC_AP"] == pytest.approx((2 / 5 + 1) / 2)


def test_time_and_limit(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(evaluate, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def slow(image):
        clock[0] += 5.0 if image[0, 0, 0] == 0 else 0.25  # the first call prepares something
        return answer(image)

    seen = []
    assert evaluate.evaluate_detector(slow, dataset())["seconds_an_image"] == 0.25
    figures = evaluate_detector(answer, dataset(), limit=2, progress=lambda *counts: seen.append(counts))
    assert figures["num_examples"] == 2
    assert seen == [(1, 2), (2, 2)]
    assert evaluate_detector(answer, dataset(), limit=9)["num_examples"] == 3


def test_nothing_there():
    nothing = {"boxes": np.zeros((0, 4), "float32"), "scores": np.zeros(0, "float32"), "classes": np.zeros(0, "int32")}
    figures = evaluate_detector(lambda image: nothing, dataset())
    assert (figures["AP"], figures["VOC_AP"], figures["num_detections"]) == (0, 0, 0)
    assert figures["curves"]["per_class"]["platelet"]["precision"] == [0.0] * 101
    no_boxes = dataset([TRUTHS[2]] * 2)
    figures = evaluate_detector(answer, no_boxes)
    assert (figures["AP"], figures["VOC_AP"], figures["num_boxes"], figures["num_detections"]) == (None, None, 0, 5)
    assert figures["per_class"]["cell"] == {"count": 0, "AP": None, "AP50": None, "VOC_AP": None, "VOC2007_AP": None}


def test_what_cannot_be_measured(monkeypatch):
    with pytest.raises(DataError, match="expected at least one image in blood, found none"):
        evaluate_detector(answer, dataset([]))
    with pytest.raises(DataError, match=r"blood cannot be read beyond 1 images \(.*\): mend") as error:
        evaluate_detector(answer, dataset(damaged=[1]))
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="scores: expected finite numbers, got nan"):
        evaluate_detector(lambda image: {**answer(image), "scores": answer(image)["scores"] + np.nan}, dataset())
    for call in (
        lambda: evaluate_detector(answer, dataset(), limit=0),
        lambda: EvaluateDetector(answer, dataset(), every=0),
        lambda: EvaluateDetector(answer, dataset(), limit=0),
    ):
        with pytest.raises(RecipeError, match="at least 1"):
            call()
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    asked = []
    for call in (lambda: evaluate_detector(asked.append, dataset()), lambda: EvaluateDetector(answer, dataset())):
        with pytest.raises(MissingExtraError, match=r"kapps\[detect\]"):
            call()
    assert asked == []  # before any work


def trained(*callbacks, epochs):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 1)), np.ones(4), epochs=epochs, verbose=0, callbacks=[*callbacks])
    return model


def test_during_fit_the_log_and_early_stopping_see_it(tmp_path):
    """A detector that is best in the fourth of nine epochs."""
    epoch = []

    class Count(keras.callbacks.Callback):
        def on_epoch_begin(self, number, logs=None):
            epoch.append(number + 1)

    def find(image):
        found = answer(image)
        found["scores"][-1] += abs(epoch[-1] - 4)  # by so much surer of what is wrong
        return found

    watch = EvaluateDetector(find, dataset(), every=2)
    stop = keras.callbacks.EarlyStopping(monitor="val_AP", mode="max", patience=2)
    trained(Count(), watch, Log(tmp_path / "log.csv", 0), stop, epochs=9)
    rows = read_log(tmp_path / "log.csv")
    assert [row["epoch"] for row in rows if "val_AP" in row] == [1, 2, 4, 6, 8]
    assert [row["val_AP50"] for row in rows if "val_AP50" in row][2] == 1
    assert [row["val_AP"] < 1 for row in rows if "val_AP" in row] == [True, True, False, True, True]
    assert len(rows) == 8  # stopped: two measures without a better one
    assert watch.figures["AP"] == rows[-1]["val_AP"]


def test_the_first_and_the_last_epoch_are_measured():
    measured = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if "val_AP" in logs:
                measured.append(epoch + 1)

    trained(EvaluateDetector(answer, dataset(), every=3, limit=1), Look(), epochs=5)
    assert measured == [1, 3, 5]


def test_a_validation_set_without_boxes_shows_at_once():
    with pytest.raises(DataError, match=r"expected true boxes in the 2 images of blood .* found none"):
        trained(EvaluateDetector(answer, dataset([TRUTHS[2]] * 2)), epochs=3)

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.boxes.overlap import iou
from kapps.errors import DataError, MissingExtraError, RecipeError
from kapps.metrics.average_precision import (
    FIGURES,
    RECALLS,
    AveragePrecision,
    coco_average_precision,
    voc_average_precision,
)

coco = pytest.importorskip("faster_coco_eval")

NAMES = ("cat", "dog", "cow")
HIT = (10.0, 10, 20, 20)
FAR = (50.0, 50, 60, 60)


def truth(*boxes, classes=None, **marks):
    boxes = np.reshape(np.float32(boxes), (-1, 4))
    classes = np.zeros(len(boxes), "int32") if classes is None else np.int32(classes)
    return {"boxes": boxes, "classes": classes, **{name: np.array(values) for name, values in marks.items()}}


def found(*boxes, scores=None, classes=None):
    answer = truth(*boxes, classes=classes)
    scores = np.linspace(0.9, 0.1, len(boxes)) if scores is None else scores
    return {**answer, "scores": np.float32(scores)}


def some_boxes(rng, count):
    centres, sides = rng.uniform(0, 300, (count, 2)), np.exp(rng.uniform(np.log(8), np.log(200), (count, 2)))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype("float32")


def some_images(seed, images=40):
    """True boxes with crowds and with areas below those of their boxes; of these most are found, with doubles."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for image in range(images):
        count = int(rng.integers(6)) if image % 5 else 0
        boxes, classes = some_boxes(rng, count), rng.integers(2, size=count)
        sides = boxes[:, 2:] - boxes[:, :2]
        marks = {"crowd": rng.random(count) < 0.15, "difficult": rng.random(count) < 0.2}
        truths.append(truth(*boxes, classes=classes, areas=sides.prod(1) * rng.uniform(0.5, 1, count), **marks))
        chosen = rng.integers(max(count, 1), size=2 * count)
        moved = boxes[chosen] + rng.normal(0, 0.06, (2 * count, 4)) * np.tile(sides[chosen], 2)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        false = some_boxes(rng, 40)
        kinds = np.concatenate([classes[chosen], rng.integers(3, size=40)])
        scores = np.concatenate([rng.random(2 * count), 0.8 * rng.random(40)])
        detections.append(found(*moved, *false, scores=scores, classes=kinds))
    return truths, detections


@pytest.fixture(scope="module")
def images():
    return some_images(0)


def test_coco_equals_the_library_on_files(images, tmp_path):
    truths, detections = images
    annotations, results = [], []
    for image, (true, answer) in enumerate(zip(truths, detections, strict=True)):
        for row, (left, top, right, bottom) in enumerate(true["boxes"].astype(float).tolist()):
            annotation = {"id": len(annotations) + 1, "image_id": image + 1, "iscrowd": int(true["crowd"][row])}
            annotation["bbox"] = [left, top, right - left, bottom - top]
            annotation["category_id"] = int(true["classes"][row]) + 1
            annotation["area"] = float(true["areas"][row])
            annotations.append(annotation)
        for row, (left, top, right, bottom) in enumerate(answer["boxes"].astype(float).tolist()):
            result = {"image_id": image + 1, "category_id": int(answer["classes"][row]) + 1}
            result["bbox"], result["score"] = [left, top, right - left, bottom - top], float(answer["scores"][row])
            results.append(result)
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)]
    listed = [{"id": image + 1, "width": 400, "height": 400} for image in range(len(truths))]
    (tmp_path / "truth.json").write_text(
        json.dumps({"images": listed, "annotations": annotations, "categories": categories})
    )
    (tmp_path / "results.json").write_text(json.dumps(results))
    right = coco.COCO(str(tmp_path / "truth.json"))
    evaluation = coco.COCOeval_faster(right, right.loadRes(str(tmp_path / "results.json")), "bbox")
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()

    figures = coco_average_precision(truths, detections, NAMES, curves=True)
    assert [figures[name] for name in FIGURES] == list(evaluation.stats)
    assert all(0 < figures[name] < 1 for name in FIGURES)  # each of them says something
    assert figures["AR_1"] < figures["AR_10"] < figures["AR_100"]
    assert figures["AP"] == pytest.approx(np.mean([figures["per_class"][name]["AP"] for name in NAMES[:2]]))
    assert figures["per_class"]["cow"] == {"AP": None, "AP50": None, "precision": None, "score": None}
    for name in NAMES[:2]:
        of_class = figures["per_class"][name]
        assert len(of_class["precision"]) == len(of_class["score"]) == len(RECALLS)
        assert np.mean(of_class["precision"]) == pytest.approx(of_class["AP50"])
        assert of_class["precision"] == sorted(of_class["precision"], reverse=True)
        assert of_class["score"] == sorted(of_class["score"], reverse=True)
        assert of_class["precision"][-1] == of_class["score"][-1] == 0  # nobody found all


def test_coco_by_hand():
    """Two boxes: the first found exactly, then a false detection, then the second with an overlap of 0.72."""
    truths, detections = [truth(HIT, FAR)], [found(HIT, (0, 0, 5, 5), (50, 50, 59, 58), scores=[0.9, 0.8, 0.7])]
    figures = coco_average_precision(truths, detections, ["cat"], curves=True)
    half, whole = 51 / 101, (51 + 50 * 2 / 3) / 101  # recalls up to 0.5 at a precision of 1, and beyond at 2/3
    assert figures["AP50"] == pytest.approx(whole)
    assert figures["AP75"] == pytest.approx(half)
    assert figures["AP"] == pytest.approx((whole + half) / 2)  # half of the ten overlaps are up to 0.72
    assert figures["AP_small"] == figures["AP"]
    assert [figures[name] for name in ("AR_1", "AR_10", "AR_100", "AR_small")] == pytest.approx([0.5, 0.75, 0.75, 0.75])
    assert [figures[name] for name in FIGURES if name.endswith(("medium", "large"))] == [None] * 4
    assert figures["per_class"]["cat"]["precision"] == pytest.approx([1.0] * 51 + [2 / 3] * 50)
    assert figures["per_class"]["cat"]["score"] == pytest.approx([0.9] * 51 + [0.7] * 50)


def test_sizes_go_by_the_area_of_the_object_where_it_is_given():
    whole = (0, 0, 100, 100)
    figures = coco_average_precision([truth(whole, areas=[900.0])], [found(whole)], ["cat"])
    assert (figures["AP_small"], figures["AP_medium"], figures["AP_large"]) == (1, None, None)
    figures = coco_average_precision([truth(whole)], [found(whole)], ["cat"])
    assert (figures["AP_small"], figures["AP_medium"], figures["AP_large"]) == (None, None, 1)


def test_a_crowd_costs_nothing():
    crowd, inside = (100, 100, 300, 300), [(110, 110, 150, 150), (150, 150, 200, 290), (200, 200, 240, 260)]
    detections = [found(*inside, HIT)]
    figures = coco_average_precision([truth(HIT, crowd, crowd=[False, True])], detections, ["cat"])
    assert (figures["AP"], figures["AR_100"]) == (1, 1)
    figures = coco_average_precision([truth(HIT)], detections, ["cat"])
    assert figures["AP"] == pytest.approx(1 / 4)
    alone = coco_average_precision([truth(crowd, crowd=[True])], detections, ["cat"])
    assert alone == {**dict.fromkeys(FIGURES), "per_class": {"cat": {"AP": None, "AP50": None}}}
    # to VOC it is a box that is not asked for: a detection on it is not counted; those deep inside hardly overlap it
    marked = [truth(HIT, crowd, crowd=[False, True])]
    assert voc_average_precision(marked, [found(crowd, HIT)], ["cat"])["AP"] == 1
    assert voc_average_precision(marked, detections, ["cat"])["AP"] == pytest.approx(1 / 4)


def test_difficult_boxes_are_ordinary_to_coco_and_nothing_to_voc():
    truths = [truth(HIT, FAR, difficult=[False, True])]
    both, doubled = [found(FAR, HIT)], [found(FAR, FAR, HIT)]
    assert coco_average_precision(truths, [found(HIT)], ["cat"])["AR_100"] == 0.5
    assert voc_average_precision(truths, [found(HIT)], ["cat"])["AP"] == 1
    assert voc_average_precision(truths, both, ["cat"])["AP"] == 1
    assert voc_average_precision(truths, doubled, ["cat"])["AP"] == 1
    assert coco_average_precision(truths, doubled, ["cat"])["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(
    ("detections", "area", "eleven"),
    [
        # right, wrong, right of three boxes: recall 1/3 at 1, 2/3 at 2/3
        ([HIT, (0, 0, 5, 5), FAR], 1 / 3 + 1 / 3 * 2 / 3, (4 + 3 * 2 / 3) / 11),
        # a double is wrong
        ([HIT, HIT, FAR], 1 / 3 + 1 / 3 * 2 / 3, (4 + 3 * 2 / 3) / 11),
        # the precision rises again: what counts is the highest at this recall or beyond
        ([(0, 0, 5, 5), HIT, FAR], 2 / 3 * 2 / 3, 7 * 2 / 3 / 11),
        ([(0, 0, 5, 5)], 0, 0),
        ([], 0, 0),
    ],
)
def test_voc_by_hand(detections, area, eleven):
    truths = [truth(HIT, FAR, (200, 200, 220, 220))]
    answers = [found(*detections)]
    assert voc_average_precision(truths, answers, ["cat"])["AP"] == pytest.approx(area)
    assert voc_average_precision(truths, answers, ["cat"], eleven_points=True)["AP"] == pytest.approx(eleven)


def test_voc_compares_with_the_box_that_overlaps_most():
    """The second detection lies on both boxes, more on the one that is taken. COCO gives it the other one."""
    truths = [truth((0, 0, 10, 10), (0, 0, 10, 8))]
    detections = [found((0, 0, 10, 10), (0, 0, 10, 9.5))]
    assert voc_average_precision(truths, detections, ["cat"])["AP"] == 0.5
    assert coco_average_precision(truths, detections, ["cat"])["AP50"] == 1


def test_voc_borders_belong_to_the_better_side():
    half = [found((10, 10, 20, 15))]  # an overlap of 0.5 exactly
    assert voc_average_precision([truth(HIT)], half, ["cat"])["AP"] == 1
    assert voc_average_precision([truth(HIT)], half, ["cat"], iou=0.51)["AP"] == 0
    assert coco_average_precision([truth(HIT)], half, ["cat"])["AP50"] == 1
    # three of ten boxes reach the recall of 0.3, though 0.1 * 3 is more
    ten = [(20 * place, 0, 20 * place + 10, 10) for place in range(10)]
    assert voc_average_precision([truth(*ten)], [found(*ten[:3])], ["cat"], eleven_points=True)["AP"] == 4 / 11


def test_voc_ranks_over_all_images_and_within_a_class():
    truths = [truth(HIT, FAR, classes=[0, 1]), truth(HIT, classes=[1])]
    detections = [
        found(HIT, FAR, scores=[0.2, 0.6], classes=[0, 1]),
        found(HIT, HIT, scores=[0.3, 0.1], classes=[0, 1]),  # a cat where there is a dog, ahead of the right cat
    ]
    figures = voc_average_precision(truths, detections, ["cat", "dog"])
    assert figures == {"AP": 0.75, "per_class": {"cat": {"AP": 0.5}, "dog": {"AP": 1.0}}}


def walk(truths, detections, tables, number, threshold):
    """Right and wrong as the development kit tells them: one detection after the other."""
    ranked = sorted(
        (-float(score), image, row)
        for image, answer in enumerate(detections)
        for row, score in enumerate(answer["scores"])
        if answer["classes"][row] == number
    )
    taken, verdicts = set(), []
    for _, image, row in ranked:
        true = truths[image]
        best, most = None, -1.0
        for place in np.flatnonzero(true["classes"] == number):
            if tables[image][row, place] > most:
                best, most = place, tables[image][row, place]
        if most < threshold:
            verdicts.append(False)
        elif not true["difficult"][best] and not true["crowd"][best]:
            verdicts.append((image, best) not in taken)
            taken.add((image, best))
    return verdicts


def test_voc_equals_a_walk_down_the_list(images):
    truths, detections = images
    pairs = zip(detections, truths, strict=True)
    tables = [np.asarray(iou(answer["boxes"], true["boxes"])) for answer, true in pairs]
    for threshold in (0.5, 0.8):
        figures = voc_average_precision(truths, detections, NAMES, iou=threshold)
        for number, name in enumerate(NAMES[:2]):
            verdicts = walk(truths, detections, tables, number, threshold)
            asked = sum(np.sum((t["classes"] == number) & ~t["difficult"] & ~t["crowd"]) for t in truths)
            assert 0 < sum(verdicts) < asked
            precision = [sum(verdicts[:end]) / end for end in range(1, len(verdicts) + 1)]
            area = sum(max(precision[place:]) for place, right in enumerate(verdicts) if right) / asked
            assert figures["per_class"][name]["AP"] == pytest.approx(area)
        assert figures["per_class"]["cow"]["AP"] is None
        assert figures["AP"] == pytest.approx(np.mean([figures["per_class"][name]["AP"] for name in NAMES[:2]]))


def test_five_thousand_detections_in_an_image():
    """COCO looks at the best hundred of a class in an image, VOC at all."""
    rng = np.random.default_rng(1)
    others = np.tile(rng.uniform(100, 200, (5000, 2)), 2) + np.array([0, 0, 10, 10])
    for place, figure in ((99, 1 / 100), (100, 0)):
        boxes = np.insert(others[:4999], place, HIT, axis=0)
        detections = [found(*boxes, scores=np.linspace(1, 0, 5000))]
        assert coco_average_precision([truth(HIT)], detections, ["cat"])["AP50"] == pytest.approx(figure)
        assert voc_average_precision([truth(HIT)], detections, ["cat"])["AP"] == pytest.approx(1 / (place + 1))
    # a hundred of each class
    detections = [found(*boxes, scores=np.linspace(1, 0, 5000), classes=np.arange(5000) >= 100)]
    assert coco_average_precision([truth(HIT, classes=[1])], detections, ["cat", "dog"])["AP50"] == 1


def test_what_is_not_there():
    nothing = {**dict.fromkeys(FIGURES), "per_class": {"cat": {"AP": None, "AP50": None}}}
    not_a_class = {"AP": None, "per_class": {"cat": {"AP": None}}}
    for truths, detections in (([], []), ([truth()], [found()]), ([truth(), truth()], [found(HIT), found(FAR)])):
        assert coco_average_precision(truths, detections, ["cat"]) == nothing
        assert voc_average_precision(truths, detections, ["cat"]) == not_a_class
    curves = coco_average_precision([], [], ["cat"], curves=True)["per_class"]
    assert curves == {"cat": {"AP": None, "AP50": None, "precision": None, "score": None}}
    # no detection at all
    figures = coco_average_precision([truth(HIT), truth()], [found(), found()], ["cat"], curves=True)
    assert (figures["AP"], figures["AR_100"], figures["AP_large"]) == (0, 0, None)
    assert figures["per_class"]["cat"]["precision"] == figures["per_class"]["cat"]["score"] == [0.0] * 101
    assert voc_average_precision([truth(HIT), truth()], [found(), found()], ["cat"])["AP"] == 0


def test_false_detections_in_an_image_without_boxes_count():
    truths = [truth(HIT), truth()]
    for score, figure in ((0.7, 1), (0.9, 0.5)):
        detections = [found(HIT, scores=[0.8]), found(HIT, scores=[score])]
        assert coco_average_precision(truths, detections, ["cat"])["AP"] == pytest.approx(figure)
        assert voc_average_precision(truths, detections, ["cat"])["AP"] == pytest.approx(figure)


def test_a_class_without_boxes_is_left_out_of_the_mean():
    detections = [found(HIT, HIT, HIT, classes=[0, 1, 1])]
    for measure in (coco_average_precision, voc_average_precision):
        figures = measure([truth(HIT)], detections, ["cat", "dog"])
        assert figures["AP"] == 1
        assert figures["per_class"]["dog"]["AP"] is None


@pytest.mark.parametrize("measure", [coco_average_precision, voc_average_precision])
@pytest.mark.parametrize(
    ("truths", "detections", "message"),
    [
        ([truth(HIT)], [found(HIT, scores=[np.nan])], "detections of image 0: scores: expected finite .*, got nan"),
        ([truth()], [found((3, 0, 1, 5))], r"detections of image 0: .* got \[3.0, 0.0, 1.0, 5.0\] as box 0"),
        ([truth(HIT, (0, 9, 5, 2))], [found()], r"truths of image 0: .* got \[0.0, 9.0, 5.0, 2.0\] as box 1: mend"),
        ([truth((0, 0, np.nan, 2))], [found()], "truths of image 0: .* nan"),
        ([truth(HIT, classes=[2])], [found()], "truths of image 0: expected classes of 0 to 1, got 2"),
        ([truth()], [found(HIT, classes=[-1])], "detections of image 0: expected classes of 0 to 1, got -1"),
        ([truth(), truth()], [found()], "the same images, got 2 and 1"),
        ([truth()], [{**found(HIT), "scores": [0.5, 0.4]}], r"scores: expected one for each of the 1 boxes, got \[2\]"),
        ([{**truth(HIT), "boxes": np.zeros((4, 1))}], [found()], r"expected boxes \[N, 4\], got \[4, 1\]"),
        ([truth(HIT, areas=[np.inf])], [found()], "areas: expected finite numbers, got inf"),
    ],
)
def test_what_cannot_be_measured(measure, truths, detections, message):
    with pytest.raises(DataError, match=message) as error:
        measure(truths, detections, ["cat", "dog"])
    assert "\n" not in str(error.value)


def test_wrong_arguments(monkeypatch):
    with pytest.raises(DataError, match="none twice"):
        voc_average_precision([], [], ["cat", "cat"])
    for threshold in (0, 1.5):
        with pytest.raises(RecipeError, match="expected iou above 0 and at most 1"):
            voc_average_precision([], [], ["cat"], iou=threshold)
    with pytest.raises(ValueError, match="expected no sample_weight"):
        AveragePrecision(["cat"]).update_state({}, {}, sample_weight=[1])
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    for ask in (lambda: coco_average_precision([], [], ["cat"]), lambda: AveragePrecision(["cat"])):
        with pytest.raises(MissingExtraError, match=r"faster-coco-eval is needed .*kapps\[detect\]"):
            ask()
    assert voc_average_precision([truth(HIT)], [found(HIT)], ["cat"])["AP"] == 1  # needs no library


def padded(rows, count, value):
    return np.stack(
        [np.concatenate([row, np.full((count - len(row), *row.shape[1:]), value, row.dtype)]) for row in rows]
    )


def as_batch(truths, detections):
    most = max(len(true["boxes"]) for true in truths) + 1
    batch = {name: padded([true[name] for true in truths], most, 7) for name in ("boxes", "classes", "crowd", "areas")}
    batch["valid"] = np.arange(most) < np.array([[len(true["boxes"])] for true in truths])
    most = max(len(answer["boxes"]) for answer in detections) + 1
    answers = {
        f"detection_{name}": padded([answer[name] for answer in detections], most, 7)
        for name in ("boxes", "scores", "classes")
    }
    answers["num_detections"] = np.int32([len(answer["boxes"]) for answer in detections])
    return batch, answers


def update_in_batches(update, truths, detections, size=25):
    for begin in range(0, len(truths), size):
        update(*as_batch(truths[begin : begin + size], detections[begin : begin + size]))


@pytest.mark.parametrize("in_graph", [False, True])
def test_metric_over_batches_equals_the_function(images, in_graph):
    truths, detections = images
    metric = AveragePrecision(NAMES)
    update, result = (tf.function(metric.update_state, reduce_retracing=True), tf.function(metric.result))
    update, result = (update, result) if in_graph else (metric.update_state, metric.result)
    assert np.isnan([float(value) for value in result().values()]).all()
    update_in_batches(update, truths, detections)
    expected = coco_average_precision(truths, detections, NAMES)
    assert {name: float(value) for name, value in result().items()} == pytest.approx(
        {name: expected[name] for name in FIGURES}
    )
    metric.reset_state()
    update(*as_batch([truth(HIT, crowd=[False], areas=[100.0])], [found(HIT)]))
    figures = result()
    assert float(figures["AP"]) == 1
    assert np.isnan(float(figures["AP_large"]))


def test_metric_in_a_test_step():
    """In a model whose input is what it finds."""

    class Finder(keras.Model):
        def __init__(self):
            super().__init__()
            self.precision = AveragePrecision(["cat"])

        def call(self, inputs):
            return inputs["detection_boxes"]

        def test_step(self, data):
            inputs, truths = data
            self.precision.update_state(truths, inputs)
            return self.precision.result()

    truths, answers = as_batch(
        [truth(HIT, crowd=[False], areas=[100.0]), truth(crowd=[], areas=[])], [found(HIT, scores=[0.8]), found(HIT)]
    )
    data = tf.data.Dataset.from_tensor_slices((answers, truths)).batch(1)
    model = Finder()
    model.compile(jit_compile=False)
    figures = model.evaluate(data, verbose=0, return_dict=True)
    assert figures["AP50"] == 0.5  # the wrong one is surer, and both batches count
    assert set(figures) == set(FIGURES)
    assert model.evaluate(data.take(1), verbose=0, return_dict=True)["AP50"] == 1  # reset in between


def test_metric_config():
    metric = AveragePrecision(NAMES, name="precision")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert isinstance(again, AveragePrecision)
    assert (again.name, again.class_names) == ("precision", NAMES)

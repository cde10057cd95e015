"""Average precision: how well boxes were found, as COCO and as Pascal VOC measure it.

Both rank all detections of a class by score, say of each whether it found a box, and take the area under the curve of
precision over recall; the mean over the classes is the figure. They differ in the rest:

    COCO    the mean over ten overlaps, 0.50 to 0.95; a detection takes the best box that no better detection has taken;
            precision at 101 recalls; of each image the best 100 detections of a class; crowds cost nobody anything.
            T.-Y. Lin et al.: "Microsoft COCO: Common Objects in Context", ECCV 2014; cocodataset.org, "Detection
            Evaluation". The library faster-coco-eval computes it: pip install 'kapps[detect]'.
    VOC     an overlap of 0.5; a detection is compared with the box that it overlaps most, taken or not; the whole area,
            or 11 recalls until 2009; all detections; difficult boxes cost nobody anything. M. Everingham et al.: "The
            PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010, section 4.2, and `VOCevaldet.m` and `VOCap.m`
            of the development kits of 2007 and 2012. Computed here.

The true boxes of an image are a dict of arrays: `boxes` [M, 4], `"xyxy"` in pixels, `classes` int [M] from 0, and where
there is something to say `crowd` bool [M], `difficult` bool [M] and `areas` [M], by which boxes are small, medium or
large (else by the boxes' own areas). Its detections are `boxes` [N, 4], `scores` [N] and `classes` [N], in any
order. M and N may be 0.

What one measure does not know: for COCO difficult boxes are like all others, as in pycocotools, where the field
`ignore` that converters write has no effect (cocodataset/cocoapi, issue 123). For VOC a crowd is like a difficult box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, MissingExtraError, RecipeError

Boxes = Mapping[str, Any]  # of one image, see the top of this file

# COCO's twelve figures, in the library's order. Small boxes have up to 32^2 pixels, medium ones up to 96^2.
FIGURES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)
# COCO reads the precision off at these.
RECALLS = tuple(step / 100 for step in range(101))

_FOUND = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def coco_library() -> ModuleType:
    """The module `faster_coco_eval`; ask for it before long work whose result it is to measure.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faster_coco_eval
    except ImportError as error:
        raise MissingExtraError("faster-coco-eval", "detect") from error
    return faster_coco_eval


def coco_average_precision(
    truths: Sequence[Boxes], detections: Sequence[Boxes], class_names: Sequence[str], *, curves: bool = False
) -> dict[str, Any]:
    """COCO's average precisions and recalls, by faster-coco-eval; see the top of this file.

    Args:
        truths: of each image.
        detections: of each image, likewise.
        class_names: index = class.
        curves: also tell the precision at every recall.

    Returns:
        The twelve of `FIGURES`: `AP` (mean over ten overlaps), `AP50`, `AP75`, `AP` of small, medium and large boxes;
        `AR_1`, `AR_10` and `AR_100`, the recall with so many detections of a class an image (mean over ten overlaps),
        and `AR_100` of small, medium and large boxes. `per_class`: name -> {`AP`, `AP50`}. All are 0 to 1, and None
        (COCO's -1) where there is no box to find; such classes are left out of the means, whatever was detected. With
        `curves` a class has also `precision`, the highest one at the recalls `RECALLS` or beyond, at an overlap of 0.5,
        and `score`, that of the detection that reaches the recall; both are 0 where none does. `AP50` is the mean of
        these precisions. Without boxes they are None.

    Raises:
        DataError: not as many images in the one as in the other, or arrays that cannot be boxes, classes or scores.
        MissingExtraError: the extra `detect` is not installed.
    """
    library = coco_library()
    truths, detections = _checked(truths, detections, class_names)
    if not any((~truth["crowd"]).any() for truth in truths):
        nothing = {"AP": None, "AP50": None, **({"precision": None, "score": None} if curves else {})}
        return {**dict.fromkeys(FIGURES), "per_class": {name: dict(nothing) for name in class_names}}

    # COCO counts classes, images and boxes from 1; 0 would be a box that nothing was matched with.
    shared = {
        "images": [{"id": image} for image in range(1, len(truths) + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names, 1)],
    }
    true_boxes = [
        {"iscrowd": int(crowd), "area": float(area), **box}
        for image, truth in enumerate(truths, 1)
        for box, crowd, area in zip(_as_coco(image, truth), truth["crowd"], truth["areas"], strict=True)
    ]
    found = [
        {"score": float(score), **box}
        for image, detected in enumerate(detections, 1)
        for box, score in zip(_as_coco(image, detected), detected["scores"], strict=True)
    ]
    true_boxes = [{"id": number, **box} for number, box in enumerate(true_boxes, 1)]
    right = library.COCO({**shared, "annotations": true_boxes})
    # The library cannot load an empty list of results.
    answers = right.loadRes(found) if found else library.COCO({**shared, "annotations": []})
    evaluation = library.COCOeval_faster(right, answers, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()

    # [overlaps, recalls, classes, sizes, detections an image]; of these all sizes and 100 detections.
    precision, scores = (np.asarray(evaluation.eval[key])[..., 0, -1] for key in ("precision", "scores"))
    per_class = {}
    for number, name in enumerate(class_names):
        of_class = precision[:, :, number]
        per_class[name] = {"AP": _mean(of_class), "AP50": _mean(of_class[0])}
        if curves:
            there = per_class[name]["AP50"] is not None
            per_class[name]["precision"] = of_class[0].tolist() if there else None
            per_class[name]["score"] = np.maximum(scores[0, :, number], 0).tolist() if there else None
    figures = {name: None if value < 0 else float(value) for name, value in zip(FIGURES, evaluation.stats, strict=True)}
    return {**figures, "per_class": per_class}


def voc_average_precision(
    truths: Sequence[Boxes],
    detections: Sequence[Boxes],
    class_names: Sequence[str],
    iou: float = 0.5,
    eleven_points: bool = False,
) -> dict[str, Any]:
    """Pascal VOC's average precision; see the top of this file.

    Going down a class' detections by score, each is compared with the box of its class in its image that it overlaps
    most. It is right where they overlap by `iou` or more (as in the development kit; the paper says: by more) and no
    better detection has had that box; a second one is wrong. One on a difficult box is neither, and difficult boxes are
    not missed.

    Args:
        truths: of each image.
        detections: of each image, likewise.
        class_names: index = class.
        iou: the least intersection over union of a right detection.
        eleven_points: the mean of the highest precisions at a recall of 0, 0.1, ... 1 or beyond, as until 2009; else
            the whole area under the highest precisions, as since 2010.

    Returns:
        `AP`, the mean over the classes, and `per_class`: name -> {`AP`}, 0 to 1. None where there is no box to find;
        such classes are left out of the mean, whatever was detected.

    Raises:
        DataError: not as many images in the one as in the other, or arrays that cannot be boxes, classes or scores.
        RecipeError: an overlap that nothing or everything reaches.
    """
    if not 0 < iou <= 1:
        raise RecipeError(f"voc_average_precision: expected iou above 0 and at most 1, got {iou}")
    truths, detections = _checked(truths, detections, class_names)
    # All boxes of all images in one row; the one that a detection overlaps most, and by how much.
    classes, ignored = (
        np.concatenate([[], *parts])
        for parts in (
            [truth["classes"] for truth in truths],
            [truth["crowd"] | truth["difficult"] for truth in truths],
        )
    )
    ignored = ignored.astype(bool)
    scores, kinds = (np.concatenate([[], *(found[key] for found in detections)]) for key in ("scores", "classes"))
    best, overlap = np.zeros(len(scores), np.int64), np.zeros(len(scores))
    seen, before = 0, 0
    for truth, found in zip(truths, detections, strict=True):
        end, count = seen + len(found["boxes"]), len(truth["boxes"])
        if count and end > seen:
            shared = _overlaps(found["boxes"], truth["boxes"])
            shared = np.where(found["classes"][:, np.newaxis] == truth["classes"], shared, 0.0)
            best[seen:end], overlap[seen:end] = before + shared.argmax(axis=1), shared.max(axis=1)
        seen, before = end, before + count

    per_class = {}
    for number, name in enumerate(class_names):
        count = int(np.sum((classes == number) & ~ignored))
        ranked = np.flatnonzero(kinds == number)
        ranked = ranked[np.argsort(-scores[ranked], kind="stable")]
        near = overlap[ranked] >= iou
        if len(ignored):
            counted = ~(near & ignored[best[ranked]])
            ranked, near = ranked[counted], near[counted]
        right = np.zeros(len(ranked), bool)
        places = np.flatnonzero(near)
        right[places[np.unique(best[ranked][places], return_index=True)[1]]] = True  # the first on each box
        per_class[name] = {"AP": _area(right, count, eleven_points) if count else None}
    measured = [each["AP"] for each in per_class.values() if each["AP"] is not None]
    return {"AP": float(np.mean(measured)) if measured else None, "per_class": per_class}


@keras.saving.register_keras_serializable("kapps")
class AveragePrecision(keras.metrics.Metric):
    """COCO's average precisions and recalls over all images seen since the last reset, as a Keras metric.

    For a model's own `test_step`, where boxes and detections of a batch are at hand:

        self.precision = AveragePrecision(class_names)  # in __init__

        def test_step(self, data):
            inputs, truths = data
            self.precision.update_state(truths, self.detect(inputs))
            return self.precision.result()

    Average precision is no mean over batches: all boxes are kept in the memory of this process, outside of TensorFlow's
    graph, and the library is asked in Python. So a model that has it is compiled with `jit_compile=False`. Inside a
    graph Keras asks for the result after every batch, and each time all images so far are measured: for more than some
    hundred images update it in a loop of your own, or take `kapps.tasks.detection.evaluate.EvaluateDetector`.

    Args:
        class_names: index = class.

    Call arguments of `update_state`:
        truths: `boxes` `[B, M, 4]`, `"xyxy"`, `classes` `[B, M]` and `valid` bool `[B, M]`, False where the batch is
            only padded, as the batches of `kapps.data.boxes.BoxDataset` have them; `crowd`, `difficult` and `areas`
            `[B, M]` where they are known.
        found: `detection_boxes` `[B, N, 4]` in the same pixels, `detection_scores` and `detection_classes` `[B, N]`,
            and `num_detections` `[B]`, behind which they are padding.

    `result` gives a dict of the twelve `FIGURES`, NaN where there is no box to find.

    Raises:
        MissingExtraError: the extra `detect` is not installed.
    """

    def __init__(self, class_names: Sequence[str], name: str = "average_precision", dtype: Any = None) -> None:
        coco_library()
        super().__init__(name=name, dtype=dtype)
        self.class_names = tuple(class_names)
        self._seen = _Seen()

    def update_state(self, truths: Boxes, found: Boxes, sample_weight: Any = None) -> None:
        """Add the images of a batch; weights are not supported, as an image is in a set or not."""
        if sample_weight is not None:
            raise ValueError("AveragePrecision: expected no sample_weight; leave images out instead")
        known = ("boxes", "classes", "valid", *(name for name in ("crowd", "difficult", "areas") if name in truths))
        values = [*(truths[name] for name in known), *(found[name] for name in _FOUND)]

        def add(*arrays: np.ndarray) -> None:
            self._seen.add(dict(zip(known, arrays, strict=False)), dict(zip(_FOUND, arrays[len(known) :], strict=True)))

        if tf.executing_eagerly():
            add(*(np.asarray(value) for value in values))
        else:
            tf.numpy_function(add, values, [])

    def result(self) -> dict[str, Any]:
        def measure() -> list[np.float32]:
            figures = coco_average_precision(self._seen.truths, self._seen.found, self.class_names)
            return [np.float32(np.nan if figures[name] is None else figures[name]) for name in FIGURES]

        if tf.executing_eagerly():
            return dict(zip(FIGURES, measure(), strict=True))
        values = tf.numpy_function(measure, [], [tf.float32] * len(FIGURES))
        return {name: tf.ensure_shape(value, ()) for name, value in zip(FIGURES, values, strict=True)}

    def reset_state(self) -> None:
        self._seen.clear()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_names": list(self.class_names)}


class _Seen:
    """Boxes and detections of the images so far; not a list of the metric itself, as Keras would track all in it."""

    def __init__(self) -> None:
        self.truths: list[Boxes] = []
        self.found: list[Boxes] = []

    def add(self, truths: Boxes, found: Boxes) -> None:
        for image, valid in enumerate(truths["valid"]):
            self.truths.append({name: values[image][valid] for name, values in truths.items() if name != "valid"})
        for image, count in enumerate(found["num_detections"]):
            self.found.append(
                {name: found[f"detection_{name}"][image][: int(count)] for name in ("boxes", "scores", "classes")}
            )

    def clear(self) -> None:
        self.truths, self.found = [], []


def _checked(
    truths: Sequence[Boxes], detections: Sequence[Boxes], class_names: Sequence[str]
) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Both as arrays, with what may be left out; numbers as float64, in which the library computes.

    Raises:
        DataError: see `coco_average_precision`.
    """
    if len(truths) != len(detections):
        raise DataError(
            f"expected truths and detections of the same images, got {len(truths)} and {len(detections)}: give empty "
            "arrays for an image without any"
        )
    if not class_names or len(set(class_names)) < len(class_names):
        raise DataError(f"expected at least one class name and none twice, got {list(class_names)}")
    right, found = [], []
    for image, (truth, detected) in enumerate(zip(truths, detections, strict=True)):
        kept = _boxes(truth, len(class_names), f"truths of image {image}")
        count, sides = len(kept["boxes"]), kept["boxes"][:, 2:] - kept["boxes"][:, :2]
        for name in ("crowd", "difficult"):
            kept[name] = _row(truth.get(name, np.zeros(count)), count, f"truths of image {image}: {name}") != 0
        kept["areas"] = _row(truth.get("areas", sides.prod(axis=1)), count, f"truths of image {image}: areas")
        right.append(kept)
        kept = _boxes(detected, len(class_names), f"detections of image {image}")
        kept["scores"] = _row(detected["scores"], len(kept["boxes"]), f"detections of image {image}: scores")
        found.append(kept)
    return right, found


def _boxes(given: Boxes, num_classes: int, what: str) -> dict[str, np.ndarray]:
    boxes = np.asarray(given["boxes"], np.float64)
    if boxes.shape == (0,):  # an empty list
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{what}: expected boxes [N, 4], got {list(boxes.shape)}")
    wrong = np.flatnonzero(~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(wrong):
        raise DataError(
            f"{what}: expected left, top, right, bottom of finite numbers in this order, got "
            f"{boxes[wrong[0]].tolist()} as box {wrong[0]}: mend or remove it"
        )
    classes = _row(given["classes"], len(boxes), f"{what}: classes")
    wrong = np.flatnonzero((classes < 0) | (classes >= num_classes) | (classes != np.floor(classes)))
    if len(wrong):
        raise DataError(
            f"{what}: expected classes of 0 to {num_classes - 1}, got {classes[wrong[0]]:g}: give all class names"
        )
    return {"boxes": boxes, "classes": classes.astype(np.int64)}


def _row(values: Any, count: int, what: str) -> np.ndarray:
    """float64 [count]."""
    values = np.asarray(values, np.float64)
    if values.shape != (count,):
        raise DataError(f"{what}: expected one for each of the {count} boxes, got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise DataError(f"{what}: expected finite numbers, got {values[~np.isfinite(values)][0]}")
    return values


def _as_coco(image: int, given: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Each box in COCO's format: left, top, width and height."""
    left_top, sides = given["boxes"][:, :2], given["boxes"][:, 2:] - given["boxes"][:, :2]
    corners = np.concatenate([left_top, sides], axis=1).tolist()
    numbers = (given["classes"] + 1).tolist()
    return [
        {"image_id": image, "category_id": number, "bbox": box} for number, box in zip(numbers, corners, strict=True)
    ]


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union [N, M] of boxes [N, 4] and [M, 4], 0 where neither has an area.

    As `kapps.boxes.overlap.iou`, but in numpy: for the few boxes of an image TensorFlow takes a hundred times as long.
    """
    first, second = first[:, np.newaxis], second[np.newaxis]
    shared = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    intersection = np.maximum(shared, 0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (first, second)]
    return intersection / np.maximum(areas[0] + areas[1] - intersection, np.finfo(np.float64).tiny)


def _mean(precision: np.ndarray) -> float | None:
    """Of what was measured; COCO's -1 says that it was not."""
    measured = precision[precision > -1]
    return float(measured.mean()) if len(measured) else None


def _area(right: np.ndarray, count: int, eleven_points: bool) -> float:
    """Under the precision over the recall: bool [n], whether each detection is right, best first, of `count` boxes."""
    hits = np.cumsum(right)
    recall, precision = hits / count, hits / np.arange(1, len(right) + 1)
    if eleven_points:  # k / 10 rounds as hits / count does: a recall of three in ten reaches 0.3
        return float(np.mean([precision[recall >= k / 10].max(initial=0) for k in range(11)]))
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or beyond
    return float(np.sum(np.diff(recall, prepend=0) * highest))

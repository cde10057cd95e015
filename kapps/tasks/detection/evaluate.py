"""How well a detector finds boxes: on a whole data set, and after the epochs of its training."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError
from kapps.metrics.average_precision import (
    RECALLS,
    coco_average_precision,
    coco_library,
    voc_average_precision,
)

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# An image uint8 [H, W, 3] -> `boxes` [N, 4], `"xyxy"` in its pixels, `scores` [N] and `classes` [N].
Find = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def evaluate_detector(
    find: Find,
    dataset: BoxDataset,
    *,
    limit: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, Any]:
    """COCO's and Pascal VOC's average precision, by class and in the mean; see `kapps.metrics.average_precision`.

    Args:
        find: what is measured, e.g. the `find` of a `kapps.tasks.detection.detector.Detector`: an image uint8 [H, W, 3]
            -> `boxes` [N, 4], `"xyxy"` in pixels of the image, `scores` [N] and `classes` [N]. Low scores belong
            into the answer: wrong detections behind the last right one cost nothing.
        dataset: images with their true boxes.
        limit: of how many images, the first ones; None = all.
        progress: called with (images so far, images in all or None).

    Returns:
        `num_examples`: how many images; `num_boxes`: true boxes in them, without crowds; `num_detections`;
        `seconds_an_image`: the median time of `find`, so that what the first call prepares does not count; the twelve
        figures of COCO, `AP`, `AP50` and so on; `VOC_AP`, at an overlap of 0.5, and `VOC2007_AP`, the same at 11
        points; `per_class`: name -> {`count` (true boxes), `AP`, `AP50`, `VOC_AP`, `VOC2007_AP`}; and `curves`: at
        `iou` 0.5 for each `recall` the `precision` and `score` of `per_class`. Plain Python, None where there is no box
        to find.

    Raises:
        DataError: no image, one that cannot be read, or detections that are not numbers.
        RecipeError: a limit below 1.
        MissingExtraError: the extra `detect` is not installed.
    """
    if limit is not None and limit < 1:
        raise RecipeError(f"expected to evaluate on at least 1 image, got limit={limit}")
    coco_library()  # asked for before the work
    total = dataset.num_examples if limit is None or dataset.num_examples is None else min(limit, dataset.num_examples)
    truths, detections, seconds = [], [], []
    for image, targets in _examples(dataset, limit):
        started = time.perf_counter()
        found = find(image)
        seconds.append(time.perf_counter() - started)
        truths.append(targets)
        detections.append({name: np.asarray(found[name]) for name in ("boxes", "scores", "classes")})
        if progress is not None:
            progress(len(truths), total)
    if not truths:
        raise DataError(f"expected at least one image in {dataset.name}, found none: choose another split")

    names = dataset.class_names
    coco = coco_average_precision(truths, detections, names, curves=True)
    voc = {
        "VOC_AP": voc_average_precision(truths, detections, names),
        "VOC2007_AP": voc_average_precision(truths, detections, names, eleven_points=True),
    }
    numbers = np.concatenate([truth["classes"][~truth["crowd"]] for truth in truths])
    counts = np.bincount(numbers, minlength=len(names))
    of_coco = coco.pop("per_class")
    return {
        "num_examples": len(truths),
        "num_boxes": len(numbers),
        "num_detections": sum(len(found["scores"]) for found in detections),
        "seconds_an_image": float(np.median(seconds)),
        **coco,
        **{key: figures["AP"] for key, figures in voc.items()},
        "per_class": {
            name: {
                "count": int(count),
                "AP": of_coco[name]["AP"],
                "AP50": of_coco[name]["AP50"],
                **{key: figures["per_class"][name]["AP"] for key, figures in voc.items()},
            }
            for name, count in zip(names, counts, strict=True)
        },
        "curves": {
            "iou": 0.5,
            "recall": list(RECALLS),
            "per_class": {name: {key: of_coco[name][key] for key in ("precision", "score")} for name in names},
        },
    }


class EvaluateDetector(keras.callbacks.Callback):
    """Average precision during `fit`: puts `val_AP` and `val_AP50` into the logs after an epoch.

    Callbacks that come after it see them: a CSV log, TensorBoard, and early stopping, which must be told
    `monitor="val_AP", mode="max"`. It measures after the first epoch, so that what cannot be measured shows at once,
    after every `every` epochs and after the last one. In between the logs do not have the two, and early stopping
    counts only the epochs with them.

    Args:
        find: see `evaluate_detector`; it has to use the weights that are learned.
        dataset: images with their true boxes.
        every: so many epochs.
        limit: of how many images, the first ones; None = all.

    Attributes:
        figures: the last measure, as `evaluate_detector` gives it; None before the first.

    Raises:
        RecipeError: `every` or `limit` below 1.
        DataError: during `fit`: the data set has no box to find.
        MissingExtraError: the extra `detect` is not installed.
    """

    def __init__(self, find: Find, dataset: BoxDataset, *, every: int = 1, limit: int | None = None):
        if every < 1 or (limit is not None and limit < 1):
            raise RecipeError(f"EvaluateDetector: expected every and limit of at least 1, got {every} and {limit}")
        coco_library()
        super().__init__()
        self.find, self.dataset = find, dataset
        self.every, self.limit = every, limit
        self.figures: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = epoch + 1
        if done not in (1, self.params.get("epochs")) and done % self.every:
            return
        self.figures = evaluate_detector(self.find, self.dataset, limit=self.limit)
        if self.figures["AP"] is None:
            raise DataError(
                f"expected true boxes in the {self.figures['num_examples']} images of {self.dataset.name} that average "
                "precision is measured on, found none: choose another split or more images"
            )
        if logs is not None:
            logs.update({f"val_{name}": self.figures[name] for name in ("AP", "AP50")})


def _examples(dataset: BoxDataset, limit: int | None) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    examples = dataset.examples if limit is None else dataset.examples.take(limit)
    done = 0
    try:
        for example in examples.as_numpy_iterator():
            yield example
            done += 1
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\}", "", error.message).strip().splitlines()[0]
        raise DataError(
            f"{dataset.name} cannot be read beyond {done} images ({reason}): mend or remove what is damaged"
        ) from error

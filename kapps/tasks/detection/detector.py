"""What every detector of the family can do, whatever happens inside: answer, be measured, and say what it knows."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kapps.boxes.formats import FORMATS, convert
from kapps.data.images import read_image
from kapps.errors import DataError, RecipeError, UnknownNameError

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset


class Detector(abc.ABC):
    """Finds objects in images.

    Args:
        name: of the detector, as `kapps.create_detector` takes it.
        class_names: index = class; the background is none of them.
        box_format: of the boxes that calling it returns, one of `kapps.boxes.formats.FORMATS`.

    Raises:
        RecipeError: no class, or the same name twice.
        UnknownNameError: no box format has this name.
    """

    def __init__(self, name: str, class_names: Sequence[str], box_format: str = "xyxy"):
        names = tuple(class_names)
        if not names or len(set(names)) < len(names) or not all(isinstance(each, str) and each for each in names):
            raise RecipeError(f"{name}: expected at least one class name and none twice, got {list(names)}")
        if box_format not in FORMATS:
            raise UnknownNameError("box format", box_format, FORMATS)
        self.name = name
        self.class_names = names
        self.box_format = box_format

    @abc.abstractmethod
    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """All that it finds in one image, best first.

        Args:
            image: uint8 [H, W, 3] of any size.

        Returns:
            `boxes` float32 [N, 4], `"xyxy"` in pixels of the image, `scores` float32 [N] and `classes` int32 [N].
        """

    def __call__(self, image: Any, *, score: float = 0.5) -> list[dict[str, Any]]:
        """What is in an image, as plain Python.

        Args:
            image: whatever `kapps.data.read_image` takes: a path, encoded bytes, a Pillow image or an array.
            score: at least this score.

        Returns:
            For each object `label`, `score` and `box`, four numbers in `box_format`; best first.

        Raises:
            DataError: not an image, or damaged, or too large.
        """
        pixels = as_pixels(image)
        found = self.find(pixels)
        height, width = pixels.shape[:2]
        kept = found["scores"] >= score
        boxes = np.asarray(convert(found["boxes"][kept], "xyxy", self.box_format, height=height, width=width))
        return [
            {"label": self.class_names[number], "score": float(sure), "box": [float(side) for side in box]}
            for number, sure, box in zip(found["classes"][kept], found["scores"][kept], boxes, strict=True)
        ]

    def evaluate(self, dataset: BoxDataset, *, limit: int | None = None) -> dict[str, Any]:
        """Average precision on images with boxes, see `kapps.tasks.detection.evaluate.evaluate_detector`.

        Raises:
            DataError: the data set has other classes.
        """
        from kapps.tasks.detection.evaluate import evaluate_detector

        self.check_classes(dataset.class_names)
        return evaluate_detector(self.find, dataset, limit=limit)

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Whether data has the detector's classes in its order.

        Raises:
            DataError: it has others.
        """
        if tuple(class_names) != self.class_names:
            raise DataError(
                f"expected data with the classes {', '.join(self.class_names)}, got {', '.join(class_names)}: give "
                "them in this order when the data is loaded"
            )


def as_pixels(image: Any) -> np.ndarray:
    """uint8 [H, W, 3] of whatever `kapps.data.read_image` takes; grey becomes colour.

    Raises:
        DataError: not an image, or damaged, or too large.
    """
    pixels = read_image(image)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def as_found(answer: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """From the padded answer of a network for one image to what `Detector.find` returns.

    Args:
        answer: `detection_boxes` [N, 4], `detection_scores` and `detection_classes` [N], `num_detections` [].
    """
    count = int(answer["num_detections"])
    return {
        "boxes": np.asarray(answer["detection_boxes"])[:count],
        "scores": np.asarray(answer["detection_scores"])[:count],
        "classes": np.asarray(answer["detection_classes"])[:count].astype(np.int32),
    }

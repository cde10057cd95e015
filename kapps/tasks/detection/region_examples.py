"""What the older members of the family learn from: images, their proposals, and what each proposal is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tensorflow as tf

from kapps.boxes.overlap import iou
from kapps.errors import DataError
from kapps.tasks.detection.proposals import Propose

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Regions:
    """The places of one image that can be learned from: its true boxes first, then its proposals.

    Attributes:
        boxes: float32 [R, 4], `"xyxy"` in pixels of the image.
        overlaps: float32 [R]: the IoU with the nearest true box; 0 where there is none.
        nearest: int [R]: the number of that box; 0 where there is none.
        classes: int [M], of the true boxes.
    """

    boxes: np.ndarray
    overlaps: np.ndarray
    nearest: np.ndarray
    classes: np.ndarray

    @property
    def true_boxes(self) -> np.ndarray:
        """float32 [M, 4]."""
        return self.boxes[: len(self.classes)]

    def labels(self, threshold: float, background: int) -> np.ndarray:
        """int32 [R]: the class of the nearest true box by an IoU of at least `threshold`, else `background`."""
        if not len(self.classes):
            return np.full(len(self.boxes), background, np.int32)
        return np.where(self.overlaps >= threshold, self.classes[self.nearest], background).astype(np.int32)

    def overlaps_by_class(self, num_classes: int) -> np.ndarray:
        """float32 [R, classes]: the largest IoU with a true box of each class."""
        largest = np.zeros((len(self.boxes), num_classes), np.float32)
        if len(self.classes) and len(self.boxes):
            pairs = np.asarray(iou(self.boxes, self.true_boxes))
            for number, column in zip(self.classes, pairs.T, strict=True):
                largest[:, number] = np.maximum(largest[:, number], column)
        return largest


def regions_of(true_boxes: np.ndarray, classes: np.ndarray, proposals: np.ndarray) -> Regions:
    """The regions of one image; `true_boxes` and `proposals` may be empty."""
    true_boxes = np.asarray(true_boxes, np.float32).reshape(-1, 4)
    boxes = np.concatenate([true_boxes, np.asarray(proposals, np.float32).reshape(-1, 4)])
    if len(true_boxes) and len(boxes):
        pairs = np.asarray(iou(boxes, true_boxes))
        overlaps, nearest = pairs.max(axis=1), pairs.argmax(axis=1)
    else:
        overlaps, nearest = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.int64)
    return Regions(boxes, overlaps, nearest, np.asarray(classes, np.int64).reshape(-1))


class RegionExamples:
    """A data set with its proposals; pixels are read when they are asked for, all else is held.

    Boxes of crowds and difficult ones are left out, as in `kapps.data.boxes.BoxDataset.batches`.

    Args:
        dataset: images with boxes.
        propose: the proposals of an image.
        progress: show a bar (on stderr).

    Attributes:
        regions: of each image.

    Raises:
        DataError: no image, or one that cannot be read.
    """

    def __init__(self, dataset: BoxDataset, propose: Propose, *, progress: bool = False):
        self.name = dataset.name
        self._records = list(dataset.records)
        self._decode = dataset.decode
        if not self._records:
            raise DataError(f"expected at least one image in {dataset.name}, found none: choose another split")
        self.regions: list[Regions] = []
        for number in with_bar(range(len(self)), f"{dataset.name}, proposals", progress):
            image, targets = self._read(number)
            kept = ~(targets["crowd"] | targets["difficult"])
            self.regions.append(regions_of(targets["boxes"][kept], targets["classes"][kept], propose(image)))

    def __len__(self) -> int:
        return len(self._records)

    def image(self, number: int) -> np.ndarray:
        """uint8 [H, W, 3]."""
        return self._read(number)[0]

    def draw(
        self,
        rng: np.random.Generator,
        count: int,
        share: float,
        foreground: float,
        background: float,
        images: Any = None,
    ) -> list[tuple[int, np.ndarray]]:
        """A sample of regions, a share of them objects, as far as there are so many of each.

        Args:
            rng: draws.
            count: of the sample.
            share: the largest part of objects in it; where objects lack, background fills up, and the other way round.
            foreground: the least IoU of an object with a true box.
            background: the least IoU of a background, which has less than `foreground`.
            images: numbers of the images to draw from; None = all.

        Returns:
            (number of the image, numbers of its regions) in the order of the images. Fewer than `count` where there are
            not so many.
        """
        owner, place, overlaps = self._all if images is None else self._flat(np.unique(images))
        objects = np.flatnonzero(overlaps >= foreground)
        others = np.flatnonzero((overlaps >= background) & (overlaps < foreground))
        wanted = min(len(objects), max(round(share * count), count - len(others)))
        chosen = np.concatenate(
            [
                rng.choice(objects, wanted, replace=False),
                rng.choice(others, min(len(others), count - wanted), replace=False),
            ]
        ).astype(np.int64)
        chosen.sort()
        return [(int(number), place[chosen[owner[chosen] == number]]) for number in np.unique(owner[chosen])]

    @cached_property
    def _all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._flat(np.arange(len(self)))

    def _flat(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every region of some images: its image, its number there, and its overlap."""
        counts = [len(self.regions[number].boxes) for number in numbers]
        place = np.concatenate([np.arange(each) for each in counts])
        return np.repeat(numbers, counts), place, np.concatenate([self.regions[number].overlaps for number in numbers])

    def _read(self, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        record = self._records[number]
        try:
            if self._decode is not None:
                record = self._decode(*record) if isinstance(record, tuple) else self._decode(record)
        except tf.errors.OpError as error:
            reason = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", error.message).strip().splitlines()[0].strip()
            raise DataError(f"image {number} of {self.name} cannot be read ({reason}): mend or remove it") from error
        image, targets = record
        return np.asarray(image), {key: np.asarray(value) for key, value in targets.items()}


def with_bar(items: Iterable[Item], title: str, shown: bool) -> Iterator[Item]:
    """The items, with a bar on stderr that counts them, if it is wanted and there is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, title, console=Console(stderr=True))

"""What a predictor says about images, for each kind of model: plain Python, made of the arrays that its graph gives.

    classification  {"label": "7", "score": 0.998, "top_k": [...], "probabilities": {...}}
    segmentation    {"mask": int16 [H, W], "classes": [{"label": "cross", "share": 0.21, "score": 0.93}, ...]}
    embedding       {"embedding": [0.013, -0.027, ...]}
    detection       [{"label": "cross", "score": 0.98, "box": [12.5, 30.1, 48.0, 66.2]}, ...]

What the graph gives of each kind: `kapps.exporting.signatures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np

from kapps.exporting.card import Card

if TYPE_CHECKING:
    from kapps.data.preprocessing import Preprocessing

NOT_SEEN = -1  # in a mask: the network did not get to see this pixel


class Place(TypedDict):
    """One of the likeliest classes."""

    label: str
    score: float


class Answer(TypedDict):
    """What a classifier says about one image: plain Python, ready for `json.dumps`."""

    label: str
    score: float
    top_k: list[Place]
    probabilities: dict[str, float]


class Region(TypedDict):
    """One class in a segmented image: its part of the pixels, and the mean of their scores."""

    label: str
    share: float
    score: float


class Segmentation(TypedDict):
    """What a segmentation says about one image.

    Attributes:
        mask: int16 [H, W] of the image's own size: the index of each pixel's class in the predictor's `labels`;
            `NOT_SEEN` where the preprocessing cut the pixel off. The network's map is coarser or finer than the image;
            each pixel gets the label of the network's pixel that its middle lies in (nearest neighbour).
        classes: those that are in the mask, the largest first.
    """

    mask: np.ndarray
    classes: list[Region]


class Embedding(TypedDict):
    """What an embedding network says about one image: a point, to be compared with those of other images."""

    embedding: list[float]


class Found(TypedDict):
    """One object that a detector found: `box` is left, top, right and bottom in pixels of the image ("xyxy")."""

    label: str
    score: float
    box: list[float]


class Kind(Protocol):
    """How one kind of model is asked and understood.

    Attributes:
        numbers: the output of the signature `serving_tensors` that the model's own numbers are.
        wanted: the outputs of `serving_default` that `answers` needs.
    """

    numbers: str
    wanted: tuple[str, ...]

    def reduced(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays `wanted`, of the model's numbers [B, ...], where another runtime computed these."""

    def answers(self, arrays: Mapping[str, np.ndarray], sizes: Iterable[tuple[int, int]]) -> list[Any]:
        """One answer an image; `sizes` are the images' own (height, width), found out only where they are needed."""


def kind_of(card: Card) -> Kind:
    """How the model of this card is asked and understood."""
    kinds: dict[str, Callable[[Card], Kind]] = {
        "classification": _Classification,
        "segmentation": _Segmentation,
        "embedding": _Embedding,
        "detection": _Detection,
    }
    return kinds[card.kind](card)


class _Classification:
    numbers = "probabilities"
    wanted: tuple[str, ...] = ("probabilities",)

    def __init__(self, card: Card):
        self._labels, self._top_k = card.labels, card.top_k

    def reduced(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        return {"probabilities": scores}

    def answers(self, arrays: Mapping[str, np.ndarray], sizes: Iterable[tuple[int, int]]) -> list[Answer]:
        scores = arrays["probabilities"]
        answers: list[Answer] = []
        # Stable, so that of equal scores the first counts, as in the signatures.
        for row, places in zip(scores.tolist(), np.argsort(-scores, kind="stable").tolist(), strict=True):
            best: list[Place] = [{"label": self._labels[place], "score": row[place]} for place in places[: self._top_k]]
            answers.append({**best[0], "top_k": best, "probabilities": dict(zip(self._labels, row, strict=True))})
        return answers


class _Segmentation:
    numbers = "probabilities"
    wanted: tuple[str, ...] = ("mask", "confidence")

    def __init__(self, card: Card):
        from kapps.data.preprocessing import Preprocessing  # loads TensorFlow, as `kapps.load` has done by now

        self._labels = card.labels
        self._preprocessing = Preprocessing.from_dict(card.input["preprocessing"])

    def reduced(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        return {"mask": scores.argmax(axis=-1), "confidence": scores.max(axis=-1)}

    def answers(self, arrays: Mapping[str, np.ndarray], sizes: Iterable[tuple[int, int]]) -> list[Segmentation]:
        return list(map(self._answer, arrays["mask"], arrays["confidence"], sizes))

    def _answer(self, mask: np.ndarray, confidence: np.ndarray, size: tuple[int, int]) -> Segmentation:
        """Of the network's maps [h, w] and the image's own size (H, W)."""
        rows, columns = _nearest(self._preprocessing, mask.shape, size)
        # How many of the image's pixels each pixel of the map stands for; one in the margin of a letterbox for none.
        counts = (
            np.bincount(index[index != NOT_SEEN], minlength=side)
            for index, side in zip((rows, columns), mask.shape, strict=True)
        )
        weight = np.outer(*counts).ravel()
        pixels = np.bincount(mask.ravel(), weight, len(self._labels))
        scores = np.bincount(mask.ravel(), weight * confidence.ravel(), len(self._labels))
        classes: list[Region] = [
            {
                "label": self._labels[index],
                "share": float(pixels[index] / pixels.sum()),
                "score": float(scores[index] / pixels[index]),
            }
            for index in np.argsort(-pixels, kind="stable")
            if pixels[index]
        ]
        return {"mask": at_own_size(mask.astype(np.int16), self._preprocessing, size), "classes": classes}


def at_own_size(values: np.ndarray, preprocessing: Preprocessing, size: tuple[int, int]) -> np.ndarray:
    """A map of the network on the image itself: each pixel gets the value of the map's pixel that its middle lies in.

    Args:
        values: [h, w, ...], what the network gave for the preprocessed image.
        preprocessing: of the network.
        size: (H, W) of the image.

    Returns:
        [H, W, ...]; `NOT_SEEN` where the preprocessing cut the pixel off.
    """
    rows, columns = _nearest(preprocessing, values.shape[:2], size)
    own = values[rows[:, np.newaxis], columns]
    own[rows == NOT_SEEN] = NOT_SEEN
    own[:, columns == NOT_SEEN] = NOT_SEEN
    return own


def _nearest(preprocessing: Preprocessing, shape: tuple[int, ...], size: tuple[int, int]) -> list[np.ndarray]:
    """For each row and each column of an image the index of the map's that it lies in, or `NOT_SEEN`."""
    return [
        np.where((place >= 0) & (place < 1), np.floor(place * side), NOT_SEEN).astype(int)
        for place, side in zip(preprocessing.places(*size), shape, strict=True)
    ]


class _Detection:
    numbers = "detection_scores"
    wanted: tuple[str, ...] = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")

    def __init__(self, card: Card):
        self._labels = card.labels

    def reduced(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        raise NotImplementedError("other runtimes compute no detections")

    def answers(self, arrays: Mapping[str, np.ndarray], sizes: Iterable[tuple[int, int]]) -> list[list[Found]]:
        return list(map(self._answer, *(arrays[name] for name in self.wanted), sizes))

    def _answer(
        self, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, count: int, size: tuple[int, int]
    ) -> list[Found]:
        height, width = size
        pixels = boxes[:count, [1, 0, 3, 2]] * [width, height, width, height]
        return [
            {"label": self._labels[number], "score": score, "box": box}
            for number, score, box in zip(
                classes[:count].tolist(), scores[:count].tolist(), pixels.tolist(), strict=True
            )
        ]


class _Embedding:
    numbers = "embedding"
    wanted: tuple[str, ...] = ("embedding",)

    def __init__(self, card: Card):
        pass

    def reduced(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        return {"embedding": scores}

    def answers(self, arrays: Mapping[str, np.ndarray], sizes: Iterable[tuple[int, int]]) -> list[Embedding]:
        return [{"embedding": row} for row in arrays["embedding"].tolist()]

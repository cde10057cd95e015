"""R-CNN's classifiers: a linear support vector machine for each class, trained with hard negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kapps.errors import DataError
from kapps.tasks.detection.box_regression import length_scale

# The authors' code: what is scored above the first is learned from, what is scored below the second is forgotten, and
# the machine is trained anew when it has collected so many.
_HARD, _EASY = -1.0001, -1.2
_RETRAIN_AFTER = 2000
# Likewise: the weight of positives over negatives, and the input that the bias is the weight of.
_POSITIVE_WEIGHT, _BIAS_INPUT = 2.0, 10.0


@dataclass(frozen=True, eq=False)
class RegionSVMs:
    """One hyperplane a class.

    Attributes:
        weights: float32 [classes, D].
        biases: float32 [classes]; minus infinity for a class that had no example, so that it is never found.
    """

    weights: np.ndarray
    biases: np.ndarray

    def margins(self, features: np.ndarray) -> np.ndarray:
        """float32 [N, classes] of features [N, D]: above 0 on the side of the class."""
        return features @ self.weights.T + self.biases


class HardNegativeMining:
    """Collects what each class's machine gets wrong, and trains on it.

    Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies", CVPR 2014, section 2.3 and appendix B: the positives
    are the true boxes of a class alone, the negatives proposals with an IoU below 0.3 with all of them. They are far
    too many to be kept, so image by image only those are added that are not yet on the right side of the margin.

    Args:
        positives: for each class float32 [N, D], the features of its true boxes; N may be 0.
        strength: what an error weighs, C; that of the authors' code for thousands of images, few want more.
        seed: of the solver.

    Attributes:
        mined: for each class how many negatives were added in all.
        kept: for each class how many of them the last machine was trained on.
    """

    def __init__(self, positives: list[np.ndarray], *, strength: float = 1e-3, seed: int = 0):
        self._scale = length_scale(positives)
        self._classes = [_ClassMining(features * self._scale, strength, seed) for features in positives]

    @property
    def mined(self) -> list[int]:
        return [each.mined for each in self._classes]

    @property
    def kept(self) -> list[int]:
        return [len(each.negatives) for each in self._classes]

    def add(self, image: int, features: np.ndarray, negative: np.ndarray) -> None:
        """Look for hard negatives in one image.

        Args:
            image: its number; proposals of an image that is given again are known by it.
            features: float32 [N, D], of its proposals, in the same order every time.
            negative: bool [N, classes]: which of them are background for which class.
        """
        scaled = features * self._scale
        for number, each in enumerate(self._classes):
            each.add(image, scaled, negative[:, number])

    def train(self) -> RegionSVMs:
        """The machines, after a last training on all that was collected.

        Raises:
            DataError: there was no negative for a class.
        """
        for each in self._classes:
            each.train()
        weights = np.stack([each.weights for each in self._classes]) * self._scale
        return RegionSVMs(weights.astype(np.float32), np.array([each.bias for each in self._classes], np.float32))


class _ClassMining:
    """One class of `HardNegativeMining`; features are scaled already."""

    def __init__(self, positives: np.ndarray, strength: float, seed: int):
        self.positives = positives
        self.strength = strength
        self.seed = seed
        self.negatives = np.zeros((0, positives.shape[1]), np.float32)
        self.places = np.zeros((0, 2), np.int64)  # image and proposal of each negative
        self.mined = self.new = 0
        self.weights, self.bias = np.zeros(positives.shape[1]), -np.inf
        self.trained = False

    def add(self, image: int, features: np.ndarray, negative: np.ndarray) -> None:
        if not len(self.positives):
            return
        numbers = np.flatnonzero(negative)
        if self.trained:
            numbers = numbers[features[numbers] @ self.weights + self.bias > _HARD]
        known = self.places[self.places[:, 0] == image, 1]
        numbers = np.setdiff1d(numbers, known)
        self.negatives = np.concatenate([self.negatives, features[numbers]])
        self.places = np.concatenate([self.places, np.stack([np.full_like(numbers, image), numbers], axis=1)])
        self.mined += len(numbers)
        self.new += len(numbers)
        if len(self.negatives) and (not self.trained or self.new >= _RETRAIN_AFTER):
            self.train()
            hard = self.negatives @ self.weights + self.bias >= _EASY
            self.negatives, self.places = self.negatives[hard], self.places[hard]

    def train(self) -> None:
        if not len(self.positives) or (self.trained and not self.new):
            return
        if not len(self.negatives):
            raise DataError(
                "expected proposals that overlap no true box much, got none: give images with more background, or "
                "more proposals"
            )
        from sklearn.svm import LinearSVC

        machine: Any = LinearSVC(
            C=self.strength,
            loss="hinge",
            dual=True,
            class_weight={1: _POSITIVE_WEIGHT},
            intercept_scaling=_BIAS_INPUT,
            tol=1e-3,
            max_iter=10_000,
            random_state=self.seed,
        )
        labels = np.repeat([1, 0], [len(self.positives), len(self.negatives)])
        machine.fit(np.concatenate([self.positives, self.negatives]), labels)
        self.weights, self.bias = machine.coef_[0], float(machine.intercept_[0])
        self.trained, self.new = True, 0

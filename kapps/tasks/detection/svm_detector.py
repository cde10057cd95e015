"""What R-CNN and SPP-net share: features of regions, and support vector machines and box regressions that read them."""

from __future__ import annotations

import abc
import math
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

from kapps.errors import DataError, RecipeError, WeightsError
from kapps.tasks.detection.box_regression import BoxRegression, fit_box_regression
from kapps.tasks.detection.proposals import Propose
from kapps.tasks.detection.region_detector import (
    RegionConfig,
    RegionDetector,
    best_of_each_class,
    endless,
    usable_images,
)
from kapps.tasks.detection.region_examples import RegionExamples, Regions, with_bar
from kapps.tasks.detection.region_svms import HardNegativeMining, RegionSVMs
from kapps.training.callbacks import written_whole
from kapps.training.loop import fit_resumable

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# The file beside the network that holds what is learned behind it.
_MACHINES = "machines.npz"


@dataclass(frozen=True, kw_only=True)
class SVMConfig(RegionConfig):
    """The fields that the two have in common.

    Attributes:
        foreground_iou: the least of an object when the network is fine-tuned.
        background_iou: the least of a background, which has less than the other.
        foreground_share: the largest part of objects in a batch.
        negative_iou: a proposal with less is a negative of a class's support vector machine.
        svm_strength: what an error weighs in it, C.
        regression_iou: a proposal must have more for the box regression to learn from it.
        regression_strength: lambda of the ridge.
        regression_examples: the most of a class, in a random order of the images.
    """

    foreground_iou: float = 0.5
    background_iou: float = 0.0
    foreground_share: float = 0.25
    negative_iou: float = 0.3
    svm_strength: float = 1e-3
    regression_iou: float = 0.6
    regression_strength: float = 1000.0
    regression_examples: int = 2000


class SVMDetector(RegionDetector):
    """Features of every proposal, a support vector machine a class, and a box regression a class.

    The score of a detection is the logistic function of its distance from the machine's plane: 0.5 on the plane, and in
    the same order.

    Args: as `RegionDetector`, and
        machines: the support vector machines; None = `fit` has to make them.
        regression: the box regression, likewise.

    Attributes:
        timings: see `RegionDetector`.
        mining: after `fit`, for each class by name: `positives`, negatives `mined` and `kept`.
    """

    def __init__(
        self,
        name: str,
        network: keras.Model,
        config: Any,
        class_names: Sequence[str],
        box_format: str = "xyxy",
        *,
        cache: str | Path | None = None,
        propose: Propose | None = None,
        machines: RegionSVMs | None = None,
        regression: BoxRegression | None = None,
    ):
        super().__init__(name, network, config, class_names, box_format, cache=cache, propose=propose)
        self.machines = machines
        self.regression = regression
        self.mining: dict[str, dict[str, int]] = {}

    @abc.abstractmethod
    def describe(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the network says about boxes of an image.

        Args:
            image: uint8 [H, W, 3].
            boxes: float32 [N, 4], `"xyxy"`, N at least 1.

        Returns:
            float32 [N, D], the features that classes are told by, and float32 [N, E], those that boxes are moved by.
        """

    @property
    @abc.abstractmethod
    def images_a_step(self) -> int | None:
        """From how many images a batch of fine-tuning is drawn; None = from all."""

    @abc.abstractmethod
    def fine_tuning(self) -> tuple[keras.Model, tf.TensorSpec]:
        """What learns, from its input to the scores of classes and background, and that input."""

    @abc.abstractmethod
    def fine_tuning_input(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """That input for some boxes of an image: [N, ...]."""

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        if self.machines is None or self.regression is None:
            raise RecipeError(f"{self.name} has not learned its classes yet: call fit, or load a detector that has")
        started = time.perf_counter()
        proposals = self.propose(image)
        proposed = time.perf_counter()
        found = self.nothing()
        described = proposed
        if len(proposals):
            features, box_features = self.describe(image, proposals)
            described = time.perf_counter()
            scores = expit(self.machines.margins(features))
            boxes = self.regression.move(box_features, proposals)
            found = best_of_each_class(boxes, scores, image.shape[:2], self.config)
        self.timings = self.timed(started, proposed, described)
        return found

    def fit(
        self,
        dataset: BoxDataset,
        *,
        epochs: int = 10,
        batch_size: int = 128,
        steps: int | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        passes: int = 1,
        validation: BoxDataset | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Learn from images with boxes: the network, then the support vector machines, then the boxes.

        Args:
            dataset: see `kapps.data.boxes.load_boxes`; images without boxes are welcome, nothing but background is in
                them.
            epochs: of fine-tuning the network; 0 = it stays as it is.
            batch_size: regions a step.
            steps: of an epoch; None = so many as visit every image once, or as there are images where a step draws from
                all.
            optimizer: of the network; None = SGD with a rate of 0.001 and momentum 0.9.
            passes: over all images in search of hard negatives; in the paper a second one changes nothing.
            validation: measured at the end: `val_AP` and `val_AP50` in the last row.
            seed: of the order, of the samples and of the solver.
            folder: where the fine-tuning is kept: called again with the same folder, it goes on where it was. None =
                nowhere.
            progress: show bars (on stderr).

        Returns:
            One row an epoch of fine-tuning: loss, learning rate, seconds.

        Raises:
            DataError: the data has other classes, cannot be read, or has no box or no background to learn from.
            MissingExtraError: the extra `detect` is not installed.
            TrainingError: the loss became NaN or infinite.
        """
        self.check_classes(dataset.class_names)
        if validation is not None:
            self.check_classes(validation.class_names)
        examples = RegionExamples(dataset, self.propose, progress=progress)
        rows: list[dict[str, float]] = []
        if epochs:
            rows = self._fine_tune(examples, epochs, batch_size, steps, optimizer, seed, folder, progress)
        self._learn_classes(examples, passes, seed, progress)
        if validation is not None:
            figures = self.evaluate(validation)
            rows = [
                *rows[:-1],
                {**(rows[-1] if rows else {}), **{f"val_{key}": figures[key] for key in ("AP", "AP50")}},
            ]
        return rows

    def _fine_tune(
        self,
        examples: RegionExamples,
        epochs: int,
        batch_size: int,
        steps: int | None,
        optimizer: keras.optimizers.Optimizer | None,
        seed: int,
        folder: str | Path | None,
        progress: bool,
    ) -> list[dict[str, float]]:
        """A classifier of classes and background on proposals: section 2.3 of R-CNN, 4.2 of SPP-net."""
        config = self.config
        background = len(self.class_names)
        usable = usable_images(examples, config.foreground_iou, config.background_iou)
        visited = self.images_a_step
        if steps is None:
            steps = len(examples) if visited is None else math.ceil(len(usable) / visited)

        def batch(rng: np.random.Generator, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
            images = None
            if visited is not None:
                order = np.random.default_rng((seed, epoch)).permutation(usable)
                images = np.take(order, range(step * visited, (step + 1) * visited), mode="wrap")
            inputs, labels = [], []
            for number, places in examples.draw(
                rng, batch_size, config.foreground_share, config.foreground_iou, config.background_iou, images
            ):
                regions = examples.regions[number]
                inputs.append(self.fine_tuning_input(examples.image(number), regions.boxes[places]))
                labels.append(regions.labels(config.foreground_iou, background)[places])
            return np.concatenate(inputs), np.concatenate(labels)

        learner, spec = self.fine_tuning()
        learner.compile(
            optimizer=optimizer or keras.optimizers.SGD(0.001, momentum=0.9),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )

        def batches(first_epoch: int) -> tf.data.Dataset:
            def stream() -> Iterator[Any]:
                return endless(batch, steps, seed, first_epoch)

            signature = (spec, tf.TensorSpec((None,), tf.int32))
            return tf.data.Dataset.from_generator(stream, output_signature=signature).prefetch(1)

        with tempfile.TemporaryDirectory() as nowhere:
            place = Path(nowhere if folder is None else folder)
            place.mkdir(parents=True, exist_ok=True)
            return fit_resumable(
                learner,
                batches,
                place,
                title=f"{self.name}, {examples.name}",
                seed=seed,
                epochs=epochs,
                steps=steps,
                progress=progress,
            )

    def _learn_classes(self, examples: RegionExamples, passes: int, seed: int, progress: bool) -> None:
        """The support vector machines and the box regressions: section 2.3 and appendix C of R-CNN."""
        count = len(self.class_names)
        positives: list[list[np.ndarray]] = [[] for _ in range(count)]
        for number in with_bar(range(len(examples)), f"{self.name}, true boxes", progress):
            regions = examples.regions[number]
            if len(regions.classes):
                features, _ = self.describe(examples.image(number), regions.true_boxes)
                for class_number, row in zip(regions.classes, features, strict=True):
                    positives[class_number].append(row)
        size = next((len(rows[0]) for rows in positives if rows), 0)
        if not size:
            raise DataError(f"expected at least one true box in {examples.name}, found none: give other images")
        mining = HardNegativeMining(
            [np.reshape(rows, (-1, size)).astype(np.float32) for rows in positives],
            strength=self.config.svm_strength,
            seed=seed,
        )
        near = _NearProposals(count, self.config.regression_examples)
        order = np.random.default_rng(seed).permutation(len(examples))
        for turn in range(passes):
            for number in with_bar(order, f"{self.name}, hard negatives", progress):
                regions = examples.regions[number]
                if not len(regions.boxes):
                    continue
                features, box_features = self.describe(examples.image(number), regions.boxes)
                mining.add(number, features, regions.overlaps_by_class(count) < self.config.negative_iou)
                if not turn and len(regions.classes):
                    near.add(regions, box_features, self.config.regression_iou)
        self.machines = mining.train()
        self.regression = near.fit(self.config.regression_strength)
        figures = zip(self.class_names, positives, mining.mined, mining.kept, strict=True)
        self.mining = {
            name: {"positives": len(rows), "mined": mined, "kept": kept} for name, rows, mined, kept in figures
        }

    def save(self, folder: str | Path) -> None:
        if self.machines is None or self.regression is None:
            raise RecipeError(f"{self.name} has not learned its classes yet: call fit before it is saved")
        super().save(folder)
        with written_whole(Path(folder) / _MACHINES) as part:
            np.savez(
                part,
                svm_weights=self.machines.weights,
                svm_biases=self.machines.biases,
                box_weights=self.regression.weights,
                box_biases=self.regression.biases,
            )

    @classmethod
    def load(cls, folder: str | Path, *, cache: str | Path | None = None, propose: Propose | None = None) -> Self:
        detector = super().load(folder, cache=cache, propose=propose)
        file = Path(folder) / _MACHINES
        try:
            with np.load(file, allow_pickle=False) as arrays:
                weights, biases, box_weights, box_biases = (
                    arrays[name] for name in ("svm_weights", "svm_biases", "box_weights", "box_biases")
                )
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise WeightsError(f"{file}: expected the support vector machines of a detector ({reason})") from None
        count, features, box_features = len(detector.class_names), *detector._feature_sizes
        found = (weights.shape, biases.shape, box_weights.shape, box_biases.shape)
        expected = ((count, features), (count,), (count, 4, box_features), (count, 4))
        if found != expected:
            raise WeightsError(
                f"{file}: expected arrays of the shapes {expected}, found {found}: it is another detector's"
            )
        detector.machines = RegionSVMs(weights, biases)
        detector.regression = BoxRegression(box_weights, box_biases)
        return detector

    @cached_property
    def _feature_sizes(self) -> tuple[int, int]:
        features, box_features = (self.network.output[name] for name in ("features", "box_features"))
        return features.shape[-1], box_features.shape[-1]


class _NearProposals:
    """Proposals that lie near true boxes, class by class, for the box regression."""

    def __init__(self, num_classes: int, most: int):
        self.most = most
        self.size = 0
        self.rows: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in range(num_classes)]

    def add(self, regions: Regions, box_features: np.ndarray, least: float) -> None:
        """Those of one image whose IoU is above `least`; the true boxes themselves are already where they belong."""
        close = np.flatnonzero(regions.overlaps > least)
        for place in close[close >= len(regions.classes)]:
            true_box = regions.nearest[place]
            rows = self.rows[regions.classes[true_box]]
            if len(rows) < self.most:
                rows.append((box_features[place].copy(), regions.boxes[place], regions.boxes[true_box]))
        self.size = box_features.shape[1]

    def fit(self, strength: float) -> BoxRegression:
        widths = (self.size, 4, 4)
        columns = [
            [np.array([row[column] for row in rows], np.float32).reshape(-1, width) for rows in self.rows]
            for column, width in enumerate(widths)
        ]
        return fit_box_regression(*columns, strength=strength)

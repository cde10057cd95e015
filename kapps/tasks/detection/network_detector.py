"""Faster R-CNN as a detector: it learns by `fit`, is kept in one file and becomes a SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kapps.tasks.detection import faster_rcnn
from kapps.tasks.detection.alternating_training import fit_alternating
from kapps.tasks.detection.detector import as_found
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.joint_training import JointTraining
from kapps.tasks.detection.trained_detector import (
    Prepare,
    TrainedDetector,
    by_name,
    one_image,
    pixel_facts,
    steps_per_epoch,
)
from kapps.training.schedules import Warmup

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset


class NetworkDetector(TrainedDetector):
    """Faster R-CNN in any of its forms; arguments as `TrainedDetector`, the network of `faster_rcnn.build`."""

    config_class = FasterRCNNConfig

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return as_found(self._detect(tf.convert_to_tensor(image)))

    @cached_property
    def _detect(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        return one_image(self.network, self._prepare)

    @property
    def _prepare(self) -> Prepare:
        return partial(faster_rcnn.prepare, self.config)

    def fit(
        self,
        dataset: BoxDataset,
        *,
        epochs: int = 10,
        batch_size: int = 2,
        optimizer: keras.optimizers.Optimizer | None = None,
        augment: Callable[..., Any] | None = None,
        validation: BoxDataset | None = None,
        validate_every: int = 1,
        alternating: bool = False,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Learn from images with boxes.

        Args:
            dataset: see `kapps.data.load_boxes`; images without boxes are welcome.
            epochs: of the whole run.
            batch_size: images a step.
            optimizer: None = SGD with momentum 0.9, a rate of 0.02 for 16 images (as in Detectron and torchvision) in
                proportion to the batch, which rises over the first 500 steps or the first epoch.
            augment: e.g. `kapps.data.box_augment.BoxAugment()`.
            validation: measured after every `validate_every` epochs: `val_AP` and `val_AP50`.
            validate_every: see there.
            alternating: the paper's four steps, `epochs` each, instead of all at once; nothing is measured meanwhile.
            seed: of the order, of the samples and of `augment`.
            folder: where the run is kept: called again with the same folder, it goes on where it was. None = nowhere.
            progress: show a bar (on stderr).

        Returns:
            One row an epoch: losses, learning rate, seconds.

        Raises:
            DataError: the data has other classes, or cannot be read.
            TrainingError: the loss became NaN or infinite.
        """
        self.check_classes(dataset.class_names)
        if validation is not None:
            self.check_classes(validation.class_names)
        steps = steps_per_epoch(dataset, batch_size)

        def make_optimizer() -> keras.optimizers.Optimizer:
            if optimizer is None:
                return _usual_optimizer(batch_size, steps)
            return type(optimizer).from_config(optimizer.get_config())  # a fresh one for each of several steps

        learning: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": batch_size,
            "augment": augment,
            "seed": seed,
            "progress": progress,
        }
        place = None if folder is None else Path(folder)
        if not alternating:
            learner = JointTraining(self.network, self.config, seed=seed)
            learner.compile(optimizer=make_optimizer(), jit_compile=False)
            return self._learn(
                learner,
                self._prepare,
                dataset,
                validation=validation,
                validate_every=validate_every,
                folder=place,
                **learning,
            )

        def learn(learner: keras.Model, place: Path | None) -> list[dict[str, float]]:
            learner.compile(optimizer=make_optimizer(), jit_compile=False)
            return self._learn(
                learner, self._prepare, dataset, validation=None, validate_every=1, folder=place, **learning
            )

        return fit_alternating(self.network, self.config, learn, place, seed=seed)

    def _exported(self) -> dict[str, Any]:
        config = self.config
        fit = (
            {"fit": "letterbox", "size": list(config.canvas)}
            if config.canvas
            else {"fit": "shortest side", "shorter_side": config.shorter_side, "longer_side": config.longer_side}
        )
        return {
            "prepare": by_name(self._prepare),
            "parts": faster_rcnn.parts,
            "preprocessing": {**fit, **pixel_facts(config)},
            "operations": faster_rcnn.count_operations(self.network, config),
            "steps": faster_rcnn.steps,
        }


def _usual_optimizer(batch_size: int, steps: int) -> keras.optimizers.Optimizer:
    rate = Warmup(0.02 * batch_size / 16, min(500, steps))
    return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-4, global_clipnorm=10.0)

"""YOLO as a detector: it learns by `fit`, finds by one look, and is kept in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kapps.exporting.flops import count_flops
from kapps.tasks.detection import yolo
from kapps.tasks.detection.detector import as_found
from kapps.tasks.detection.network_training import NetworkTraining
from kapps.tasks.detection.trained_detector import (
    TrainedDetector,
    by_name,
    one_image,
    pixel_facts,
    steps_per_epoch,
)
from kapps.tasks.detection.yolo import YoloConfig, grid_targets
from kapps.tasks.detection.yolo_loss import LOSSES, yolo_losses
from kapps.training.schedules import Warmup

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset


class YoloTraining(NetworkTraining):
    """A network of `yolo.build` that learns by `fit`.

    Args:
        network: of `yolo.build`; its weights are what learns.
        config: of the network.
        seed: nothing is drawn.
    """

    def __init__(self, network: keras.Model, config: YoloConfig, *, seed: int = 0, **kwargs: Any):
        super().__init__(network, config, LOSSES, seed=seed, **kwargs)

    @cached_property  # not an attribute that Keras tracks: its layers are the network's
    def _answers(self) -> keras.Model:
        return keras.Model(self.network.inputs[0], self.network.get_layer("answers").output, name="grid")

    def losses_of(self, inputs: Mapping[str, Any], truths: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        config = self.config
        places, classes = grid_targets(
            truths["boxes"], truths["classes"], truths["valid"], inputs["sizes"], config.grid
        )
        return yolo_losses(
            self._answers(inputs["image"], training=True),
            places,
            classes,
            boxes=config.boxes,
            coord_weight=config.coord_weight,
            no_object_weight=config.no_object_weight,
        )


class YoloDetector(TrainedDetector):
    """YOLO on any backbone; arguments as `TrainedDetector`, the network of `yolo.build`."""

    config_class = YoloConfig

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return as_found(self._detect(tf.convert_to_tensor(image)))

    @cached_property
    def _detect(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        return one_image(self.network, partial(yolo.prepare, self.config))

    def fit(
        self,
        dataset: BoxDataset,
        *,
        epochs: int = 135,
        batch_size: int = 64,
        optimizer: keras.optimizers.Optimizer | None = None,
        augment: Callable[..., Any] | None = None,
        validation: BoxDataset | None = None,
        validate_every: int = 1,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Learn from images with boxes.

        Args:
            dataset: see `kapps.data.load_boxes`; images without boxes are welcome.
            epochs: of the whole run.
            batch_size: images a step.
            optimizer: None = the paper's, section 2.2: SGD with momentum 0.9 and weight decay 0.0005, a rate that rises
                over the first epoch to 0.01 for 64 images (here in proportion to the batch) and falls to a tenth after
                75 of 135 epochs and again after 105. Gradients are cut at a norm of 10.
            augment: e.g. `kapps.data.box_augment.BoxAugment()`.
            validation: measured after every `validate_every` epochs: `val_AP` and `val_AP50`.
            validate_every: see there.
            seed: of the order and of `augment`.
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
        learner = YoloTraining(self.network, self.config, seed=seed)
        usual = optimizer or _usual_optimizer(batch_size, epochs, steps_per_epoch(dataset, batch_size))
        learner.compile(optimizer=usual, jit_compile=False)
        return self._learn(
            learner,
            partial(yolo.prepare, self.config),
            dataset,
            epochs=epochs,
            batch_size=batch_size,
            augment=augment,
            validation=validation,
            validate_every=validate_every,
            seed=seed,
            folder=None if folder is None else Path(folder),
            progress=progress,
        )

    def _exported(self) -> dict[str, Any]:
        config = self.config
        (grid,) = yolo.parts(self.network).networks
        assert grid.network is not None
        return {
            "prepare": by_name(partial(yolo.prepare, config)),
            "parts": yolo.parts,
            "preprocessing": {"fit": "stretch", "size": [config.side, config.side], **pixel_facts(config)},
            "operations": count_flops(grid.network),
            "scores": "sigmoid",
        }


def _usual_optimizer(batch_size: int, epochs: int, steps: int) -> keras.optimizers.Optimizer:
    peak = 0.01 * batch_size / 64
    total = epochs * steps
    falls = [max(1, total * 75 // 135), max(2, total * 105 // 135)]
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(falls, [peak, peak / 10, peak / 100])
    return keras.optimizers.SGD(Warmup(rate, steps), momentum=0.9, weight_decay=5e-4, global_clipnorm=10.0)

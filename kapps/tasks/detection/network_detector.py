"""A detector that is one network from pixels to boxes: it learns by `fit`, and is kept in one file."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kapps.catalog import detector_info
from kapps.create import load_keras, override
from kapps.errors import RecipeError, WeightsError
from kapps.exporting.detection import export_detector
from kapps.tasks.detection import faster_rcnn
from kapps.tasks.detection.alternating_training import fit_alternating
from kapps.tasks.detection.detector import Detector, as_found
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.joint_training import JointTraining
from kapps.training.callbacks import written_whole
from kapps.training.loop import fit_resumable

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# The file beside a network's weights that says what they are.
_FACTS = "detector.json"


class NetworkDetector(Detector):
    """Faster R-CNN in any of its forms.

    Args:
        name: as `kapps.create_detector` takes it.
        network: of `faster_rcnn.build`.
        config: of the network.
        class_names: as many as the network has classes.
        box_format: of the boxes that calling the detector returns.
    """

    def __init__(
        self,
        name: str,
        network: keras.Model,
        config: FasterRCNNConfig,
        class_names: Sequence[str],
        box_format: str = "xyxy",
    ):
        super().__init__(name, class_names, box_format)
        self.network = network
        self.config = config

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return as_found(self._detect(tf.convert_to_tensor(image)))

    @cached_property
    def _detect(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        return faster_rcnn.detector(self.network, self.config)

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
        steps = max(1, (dataset.num_examples or 1) // batch_size)

        def make_optimizer() -> keras.optimizers.Optimizer:
            if optimizer is None:
                return _usual_optimizer(batch_size, steps)
            return type(optimizer).from_config(optimizer.get_config())  # a fresh one for each of several steps

        def batches(first_epoch: int) -> tf.data.Dataset:
            return dataset.batches(
                batch_size,
                lambda image: faster_rcnn.prepare(self.config, image),
                shuffle_seed=seed,
                start_epoch=first_epoch,
                augment=augment,
                drop_remainder=(dataset.num_examples or 0) >= batch_size,
            ).repeat()

        watchers = []
        if validation is not None:
            from kapps.tasks.detection.evaluate import EvaluateDetector

            self.check_classes(validation.class_names)
            watchers.append(EvaluateDetector(self.find, validation, every=validate_every))
        with tempfile.TemporaryDirectory() as nowhere:
            place = Path(nowhere if folder is None else folder)
            place.mkdir(parents=True, exist_ok=True)
            settings: dict[str, Any] = {
                "title": f"{self.name}, {dataset.name}",
                "seed": seed,
                "epochs": epochs,
                "steps": steps,
                "progress": progress,
            }
            if alternating:
                return fit_alternating(
                    self.network, self.config, batches, place, make_optimizer=make_optimizer, **settings
                )
            learner = JointTraining(self.network, self.config, seed=seed)
            learner.compile(optimizer=make_optimizer(), jit_compile=False)
            return fit_resumable(learner, batches, place, watchers=watchers, **settings)

    def save(self, folder: str | Path) -> None:
        """Keep the detector: `model.keras` and what else is needed to go on or to export it.

        Args:
            folder: made where it is not there.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "model.keras") as part:
            self.network.save(part)
        facts = {"name": self.name, "class_names": self.class_names, "box_format": self.box_format}
        with written_whole(folder / _FACTS) as part:
            part.write_text(json.dumps({**facts, "config": dataclasses.asdict(self.config)}, indent=2) + "\n")

    def export(
        self,
        path: str | Path,
        *,
        version: int | None = None,
        card: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        optimize: bool = False,
    ) -> Path:
        """A SavedModel that takes encoded images of any size; arguments, errors and outputs as in
        `kapps.exporting.detection.export_detector`."""
        config = self.config
        fit = (
            {"fit": "letterbox", "size": list(config.canvas)}
            if config.canvas
            else {"fit": "shortest side", "shorter_side": config.shorter_side, "longer_side": config.longer_side}
        )
        entry = detector_info(self.name)
        return export_detector(
            self.network,
            lambda image: faster_rcnn.prepare(config, image),
            path,
            labels=self.class_names,
            preprocessing={
                **fit,
                "scale": 1 / 255,
                "mean": list(config.mean),
                "std": list(config.std),
                "channel_order": config.channel_order,
            },
            operations=faster_rcnn.count_operations(self.network, config),
            steps=faster_rcnn.steps,
            version=version,
            card={"title": entry.title, "paper": entry.paper, "architecture": self.name, **(card or {})},
            overwrite=overwrite,
            optimize=optimize,
        )

    @classmethod
    def load(cls, folder: str | Path) -> NetworkDetector:
        """A detector that was kept by `save` or trained by `kapps train`.

        Raises:
            WeightsError: the folder holds none, or a damaged one.
        """
        file = Path(folder) / _FACTS
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            name, classes, box_format, fields = (facts[key] for key in ("name", "class_names", "box_format", "config"))
            config = override(FasterRCNNConfig(), fields, name)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecipeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WeightsError(
                f"{folder}: expected a trained detector, with model.keras and {_FACTS} ({reason})"
            ) from None
        return cls(name, load_keras(Path(folder) / "model.keras"), config, classes, box_format)


def _usual_optimizer(batch_size: int, steps: int) -> keras.optimizers.Optimizer:
    from kapps.training.schedules import Warmup

    rate = Warmup(0.02 * batch_size / 16, min(500, steps))
    return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-4, global_clipnorm=10.0)

"""What detectors with a single Keras network share: how they are kept, and the loop that they learn in."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import keras
import tensorflow as tf

from kapps.catalog import detector_info
from kapps.create import load_keras, override
from kapps.errors import RecipeError, WeightsError
from kapps.exporting.detection import export_detector
from kapps.tasks.detection.detector import Detector
from kapps.training.callbacks import written_whole
from kapps.training.loop import fit_resumable

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# An image [H, W, 3] -> what the network takes, and its height and width without the padding.
Prepare = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# The file beside a network's weights that says what they are.
_FACTS = "detector.json"


class TrainedDetector(Detector):
    """One network, its configuration and its classes.

    Args:
        name: as `kapps.create_detector` takes it.
        network: whatever the kind of detector is built on.
        config: of the network.
        class_names: as many as the network has classes.
        box_format: of the boxes that calling the detector returns.

    Attributes:
        config_class: the dataclass of the configurations of this kind of detector.
    """

    config_class: ClassVar[type]

    def __init__(
        self, name: str, network: keras.Model, config: Any, class_names: Sequence[str], box_format: str = "xyxy"
    ):
        super().__init__(name, class_names, box_format)
        self.network = network
        self.config = config

    def save(self, folder: str | Path) -> None:
        """Keep the detector: `model.keras` and what else is needed to go on.

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

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A detector that was kept by `save`.

        Raises:
            WeightsError: the folder holds none of this kind, or a damaged one.
        """
        facts = cls.facts(folder)
        try:
            config = override(cls.config_class(), facts["config"], facts["name"])
        except (TypeError, AttributeError, RecipeError) as error:
            raise WeightsError(f"{Path(folder) / _FACTS}: expected another kind of detector ({error})") from None
        network = load_keras(Path(folder) / "model.keras")
        return cls(facts["name"], network, config, facts["class_names"], facts["box_format"])

    @staticmethod
    def facts(folder: str | Path) -> dict[str, Any]:
        """What `save` wrote beside the network: `name`, `class_names`, `box_format` and `config`.

        Raises:
            WeightsError: the folder holds no detector, or a damaged one.
        """
        try:
            facts = json.loads((Path(folder) / _FACTS).read_text(encoding="utf-8"))
            return {key: facts[key] for key in ("name", "class_names", "box_format", "config")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WeightsError(
                f"{folder}: expected a trained detector, with model.keras and {_FACTS} ({reason})"
            ) from None

    def export(
        self,
        path: str | Path,
        *,
        version: int | None = None,
        card: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        optimize: bool = False,
        formats: Sequence[str] = (),
        with_keras: bool = True,
    ) -> Path:
        """A SavedModel that takes encoded images of any size; arguments, errors and outputs as in
        `kapps.exporting.detection.export_detector`.

        Raises:
            RecipeError: what the detector does cannot be put into a graph.
        """
        entry = detector_info(self.name)
        return export_detector(
            self.network,
            path=path,
            labels=self.class_names,
            version=version,
            card={"title": entry.title, "paper": entry.paper, "architecture": self.name, **(card or {})},
            overwrite=overwrite,
            optimize=optimize,
            formats=formats,
            with_keras=with_keras,
            **self._exported(),
        )

    def _exported(self) -> dict[str, Any]:
        """What `export_detector` must know of this kind of detector: `prepare`, `parts`, `preprocessing`, `operations`
        and whatever else is not as usual."""
        raise RecipeError(f"{self.name} has support vector machines, which are no network: it is not exported")

    def _learn(
        self,
        learner: keras.Model,
        prepare: Prepare,
        dataset: BoxDataset,
        *,
        epochs: int,
        batch_size: int,
        augment: Callable[..., Any] | None,
        validation: BoxDataset | None,
        validate_every: int,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, float]]:
        """`learner`, compiled, by `kapps.training.loop.fit_resumable`; see `fit` of each kind of detector."""

        def batches(first_epoch: int) -> tf.data.Dataset:
            return dataset.batches(
                batch_size,
                prepare,
                shuffle_seed=seed,
                start_epoch=first_epoch,
                augment=augment,
                drop_remainder=(dataset.num_examples or 0) >= batch_size,
            ).repeat()

        watchers = []
        if validation is not None:
            from kapps.tasks.detection.evaluate import EvaluateDetector

            watchers.append(EvaluateDetector(self.find, validation, every=validate_every))
        with tempfile.TemporaryDirectory() as nowhere:
            place = Path(nowhere) if folder is None else folder
            place.mkdir(parents=True, exist_ok=True)
            return fit_resumable(
                learner,
                batches,
                place,
                title=f"{self.name}, {dataset.name}",
                seed=seed,
                epochs=epochs,
                steps=steps_per_epoch(dataset, batch_size),
                watchers=watchers,
                progress=progress,
            )


def by_name(prepare: Prepare) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """What prepares an image for a network, as `kapps.exporting.detection.export_detector` takes it."""

    def prepared(image: tf.Tensor) -> dict[str, tf.Tensor]:
        image, size = prepare(image)
        return {"image": tf.ensure_shape(image, (None, None, 3)), "sizes": size}

    return prepared


def pixel_facts(config: Any) -> dict[str, Any]:
    """For a card: what a configuration says about pixels."""
    return {
        "scale": 1 / 255,
        "mean": list(config.mean),
        "std": list(config.std),
        "channel_order": config.channel_order,
    }


def steps_per_epoch(dataset: BoxDataset, batch_size: int) -> int:
    """Whole batches in the data; 1 where there is not one, or where nobody knows."""
    return max(1, (dataset.num_examples or 1) // batch_size)


def one_image(network: keras.Model, prepare: Prepare) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function, ready to be exported, from one image [H, W, 3], uint8 of any size, to its detections.

    Args:
        network: from `{"image": [B, h, w, 3], "sizes": [B, 2]}` to the dict of `kapps.layers.detections.Detections`.
        prepare: what makes of an image the network's input.

    Returns:
        A `tf.function` with a fixed signature. It gives the dict of the network without the batch: `detection_boxes`
        [max_detections, 4], `"xyxy"` in pixels of the given image, `detection_scores`, `detection_classes` and the
        scalar `num_detections`.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8, name="image")])
    def detect(image: tf.Tensor) -> dict[str, tf.Tensor]:
        prepared, size = prepare(image)
        found = network({"image": prepared[None], "sizes": size[None]}, training=False)
        ratio = tf.cast(tf.shape(image)[:2], tf.float32) / size  # height, width
        boxes = found["detection_boxes"][0] * tf.stack([ratio[1], ratio[0], ratio[1], ratio[0]])
        return {**{key: value[0] for key, value in found.items()}, "detection_boxes": boxes}

    return detect

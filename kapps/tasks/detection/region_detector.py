"""What R-CNN, SPP-net and Fast R-CNN share: boxes that come from outside, and a network that looks into them."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import keras
import numpy as np
import tensorflow as tf

from kapps.boxes.formats import clip
from kapps.boxes.suppression import suppress
from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig, feature_strides
from kapps.tasks.detection.faster_rcnn import prepare as resize_and_pad
from kapps.tasks.detection.proposals import ProposalConfig, Propose, proposer
from kapps.tasks.detection.region_examples import RegionExamples
from kapps.tasks.detection.trained_detector import TrainedDetector

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# Of the networks that are not cut at their dense layers, the last map that is at least so fine; that of the networks
# with dense layers is as fine.
_COARSEST = 16

# What may lie between and behind a network's dense layers, as it treats every region alike.
_POINTWISE = (
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.BatchNormalization,
)

# Detections with a shorter side, in pixels, are dropped.
_SMALLEST = 1e-2


@dataclass(frozen=True, kw_only=True)
class RegionConfig(ProposalConfig):
    """The fields that the three have in common.

    Attributes:
        backbone: a name of the catalogue.
        feature: of the backbone, see each detector; "" = the one that its paper takes, or what is nearest to it.
        dropout_rate: before the classes.
        score_threshold: a detection must have more.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
        mean: of the pixels (0 to 1), in the order of `channel_order`.
        std: likewise.
        channel_order: of the pixels that the backbone takes.
    """

    backbone: str = "alexnet"
    feature: str = ""
    dropout_rate: float = 0.5
    score_threshold: float = 0.05
    detection_iou: float = 0.3
    max_detections: int = 100
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"


class RegionDetector(TrainedDetector):
    """A detector that is told where to look.

    Args:
        name: as `kapps.create_detector` takes it.
        network: of the `build` beside the class.
        config: of the network.
        class_names: as many as the network has classes.
        box_format: of the boxes that calling the detector returns.
        cache: a folder that keeps the proposals of selective search; None = nothing is kept.
        propose: another source of proposals, an image uint8 [H, W, 3] -> float32 [N, 4], `"xyxy"`; None = as the
            configuration says. It is not saved with the detector.

    Attributes:
        timings: of the last `find`, in seconds: `proposals`, `features` and `classification`.
    """

    config_class: ClassVar[type[RegionConfig]]

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
    ):
        super().__init__(name, network, config, class_names, box_format)
        self.propose = propose or proposer(config, cache)
        self.timings: dict[str, float] = {}

    @abc.abstractmethod
    def fit(
        self,
        dataset: BoxDataset,
        *,
        epochs: int,
        optimizer: keras.optimizers.Optimizer | None = None,
        validation: BoxDataset | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Learn from images with boxes; see each detector."""

    @classmethod
    def load(cls, folder: str | Path, *, cache: str | Path | None = None, propose: Propose | None = None) -> Self:
        """A detector that was kept by `save`.

        Args:
            folder: that of `save`.
            cache: as the class takes it.
            propose: likewise.

        Raises:
            WeightsError: the folder holds none, or a damaged one.
        """
        detector = super().load(folder)
        detector.propose = propose or proposer(detector.config, cache)
        return detector

    def timed(self, started: float, proposed: float, described: float) -> dict[str, float]:
        """`timings` of a `find` that ends now; arguments are what `time.perf_counter` said."""
        return {
            "proposals": proposed - started,
            "features": described - proposed,
            "classification": time.perf_counter() - described,
        }

    def nothing(self) -> dict[str, np.ndarray]:
        """The answer for an image with nothing in it."""
        return {
            "boxes": np.zeros((0, 4), np.float32),
            "scores": np.zeros(0, np.float32),
            "classes": np.zeros(0, np.int32),
        }


def best_of_each_class(
    boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int], config: RegionConfig
) -> dict[str, np.ndarray]:
    """What is left of all regions as boxes of all classes: good scores, no doubles, the best of the image.

    Args:
        boxes: float32 [N, classes, 4], `"xyxy"`.
        scores: float32 [N, classes].
        size: height and width of the image.
        config: says how good, how double and how many.

    Returns:
        As `Detector.find`.
    """
    numbers, classes = np.nonzero(scores > config.score_threshold)
    found, sure = np.asarray(clip(boxes[numbers, classes], *size)), scores[numbers, classes]
    large = (found[:, 2:] - found[:, :2] >= _SMALLEST).all(axis=1)
    found, sure, classes = found[large], sure[large], classes[large]
    chosen, count = suppress(
        found, sure, classes, iou_threshold=config.detection_iou, max_outputs=config.max_detections
    )
    chosen = np.asarray(chosen)[: int(count)]
    return {
        "boxes": found[chosen].astype(np.float32),
        "scores": sure[chosen].astype(np.float32),
        "classes": classes[chosen].astype(np.int32),
    }


def normalised(config: RegionConfig, pixels: tf.Tensor) -> tf.Tensor:
    """Pixels 0 to 255 [..., 3] as the backbone takes them, float32."""
    pixels = tf.cast(pixels, tf.float32) / 255.0
    if config.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    return (pixels - config.mean) / config.std


def mean_colour(config: RegionConfig) -> tuple[float, ...]:
    """Red, green and blue, 0 to 255, that `normalised` makes zeros of."""
    colour = config.mean[::-1] if config.channel_order == "bgr" else config.mean
    return tuple(255 * value for value in colour)


def prepared(
    config: RegionConfig, image: tf.Tensor, shorter_side: int, longer_side: int, multiple: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """An image resized, normalised and padded as by `kapps.tasks.detection.faster_rcnn.prepare`."""
    same = FasterRCNNConfig(
        shorter_side=shorter_side,
        longer_side=longer_side,
        multiple=multiple,
        mean=config.mean,
        std=config.std,
        channel_order=config.channel_order,
    )
    return resize_and_pad(same, image)


# The backbone in two pieces -----------------------------------------------------------------------------------------


def pooled_map(backbone: keras.Model, feature: str) -> keras.KerasTensor:
    """The map that regions are cut out of, [B, H, W, C].

    Args:
        backbone: of `create_backbone`.
        feature: a name of a layer; "" = of a network with dense layers what its last max pooling sees (Girshick:
            "Fast R-CNN", ICCV 2015, section 2.2), of others the last feature with a stride of at most 16.

    Raises:
        UnknownNameError: the backbone has no such layer.
        RecipeError: it is not a map.
    """
    named = {name: x for name, x in backbone.output.items() if len(x.shape) == 4}
    if feature:
        layers = {layer.name: layer for layer in backbone.layers}
        if feature not in layers:
            raise UnknownNameError(f"feature of {backbone.name.removesuffix('_backbone')}", feature, named)
        x = layers[feature].output
        if len(x.shape) != 4:
            raise RecipeError(
                f"{feature}: expected a feature that is a map [B, H, W, C], got {list(x.shape)}: {', '.join(named)} are"
            )
        return x
    if dense_layers(backbone):
        last = backbone.get_layer(list(named)[-1])
        return last.input if isinstance(last, keras.layers.MaxPooling2D) else last.output
    strides = feature_strides(backbone)
    fine = [name for name in named if strides[name] <= _COARSEST]
    if not fine:
        raise RecipeError(f"{backbone.name}: expected a feature with a stride of at most {_COARSEST}, found {strides}")
    return named[fine[-1]]


def dense_layers(backbone: keras.Model) -> list[keras.Layer]:
    """The layers from the first dense one, or the dropout before it, to the last feature.

    None where there is more among them than what treats every region alike.
    """
    first = next((layer for layer in backbone.layers if isinstance(layer, keras.layers.Dense)), None)
    if first is None or len(first.input.shape) != 2:
        return []
    start = first.input
    before = backbone.layers[backbone.layers.index(first) - 1]
    if isinstance(before, keras.layers.Dropout) and before.output is start:
        start = before.input
    try:
        layers = keras.Model(start, list(backbone.output.values())[-1]).layers[1:]
    except ValueError:  # the last feature does not follow from it
        return []
    return layers if all(isinstance(layer, _POINTWISE) for layer in layers) else []


def taken_by(layers: Sequence[keras.layers.Layer]) -> int:
    """How many numbers of a region the first of some dense layers takes; 0 where there is none."""
    return next((layer.kernel.shape[0] for layer in layers if isinstance(layer, keras.layers.Dense)), 0)


def map_stride(backbone: keras.Model, x: keras.KerasTensor) -> int:
    """Image pixels per pixel of a map, to the nearest power of two."""
    side = 512
    height = keras.Model(backbone.inputs[0], x).compute_output_spec(keras.KerasTensor((1, side, side, 3))).shape[1]
    return 2 ** round(math.log2(side / height))


def check_classes_count(name: str, num_classes: Any) -> None:
    """Whether a network can be built for so many classes.

    Raises:
        RecipeError: it cannot.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise RecipeError(f"{name}: num_classes should be an integer of at least 1, not {num_classes!r}")


# Learning -----------------------------------------------------------------------------------------------------------


def usable_images(examples: RegionExamples, foreground: float, background: float) -> np.ndarray:
    """Numbers of the images that have a region to learn from: an IoU of at least `background`, or `foreground`.

    Raises:
        DataError: none has.
    """
    least = min(foreground, background)
    numbers = [number for number, each in enumerate(examples.regions) if (each.overlaps >= least).any()]
    if not numbers:
        raise DataError(
            f"expected boxes or proposals with an IoU of at least {least} with one in {examples.name}, found none: "
            "give images with boxes, and other proposals"
        )
    return np.array(numbers)


def endless(
    batch: Callable[[np.random.Generator, int, int], Any], steps: int, seed: int, first_epoch: int
) -> Iterator[Any]:
    """`batch(rng, epoch, step)` of every step of every epoch; what `rng` draws follows from the seed and the two."""
    epoch = first_epoch
    while True:
        for step in range(steps):
            yield batch(np.random.default_rng((seed, epoch, step)), epoch, step)
        epoch += 1

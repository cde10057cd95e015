"""Fast R-CNN: one network from an image and its proposals to classes and boxes, trained as a whole.

Idea: SPP-net's shared map, with the two sets of machines behind it replaced by two layers that learn together with all
the others.

    part            what                                                            output, for an image of 608x800
    proposals       selective search                                                [2000, 4]
    maps            VGG-16 without its last pooling                                 stage5_conv3 [38, 50, 512]
    regions         RoI pooling: the maximum in each of 7x7 bins                    [2000, 7, 7, 512]
    dense layers    fc6 and fc7                                                     [2000, 4096]
    box head        classes and boxes                                               [2000, 21], [2000, 84]
    detections      suppression class by class                                      100 boxes

Any backbone of the catalogue that takes images of all sizes takes VGG-16's place. One with dense layers is cut before
its last max pooling, and the bins are as many as its first dense layer takes; of another the last feature with a stride
of at most 16 is taken, and two new dense layers. Images are resized so that the shorter side is 600 pixels, or the
longer one 1000.

Training: two images a step, 64 regions of each, a quarter of them objects with an IoU of at least 0.5, the others with
one of 0.1 to 0.5; half of the images mirrored; the cross-entropy of the classes and the smooth L1 loss of the boxes.

Paper: Girshick: "Fast R-CNN", ICCV 2015, sections 2 and 3; section 3.1 is `kapps.tasks.detection.truncated_svd`.

Deviations: the smooth L1 loss goes from parabola to line at 1/9 in place of 1, and the targets are divided by 0.1 and
0.2 in place of their standard deviations, both as in the detectors that came after it.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from kapps.boxes.coder import encode
from kapps.boxes.formats import convert
from kapps.create import create_backbone
from kapps.errors import RecipeError, UnknownNameError
from kapps.exporting.detection_parts import DETECTED, DetectorParts, Part, network_part
from kapps.exporting.flops import count_flops_of_call
from kapps.heads.detection import classify_regions, score_boxes
from kapps.layers.detections import Detections
from kapps.layers.roi_align import RoIAlign
from kapps.layers.roi_pooling import RoIPooling
from kapps.tasks.detection.detector import as_found
from kapps.tasks.detection.losses import region_losses
from kapps.tasks.detection.network_training import NetworkTraining
from kapps.tasks.detection.region_detector import (
    RegionConfig,
    RegionDetector,
    check_classes_count,
    dense_layers,
    endless,
    map_stride,
    pooled_map,
    prepared,
    taken_by,
    usable_images,
)
from kapps.tasks.detection.region_examples import RegionExamples
from kapps.tasks.detection.trained_detector import by_name, pixel_facts
from kapps.tasks.detection.truncated_svd import compress
from kapps.training.loop import fit_resumable

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# Of the box coder: one over the usual spread of the four numbers.
_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

# Sides of images are padded to a multiple of it, which is one of every map's stride.
_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class FastRCNNConfig(RegionConfig):
    """Fast R-CNN with any backbone; `feature` is the layer whose map is pooled.

    Attributes:
        frozen: the feature of the backbone up to which it does not learn; "" = all of it learns.
        train_norms: whether the backbone's batch normalisations learn.
        pooling: RoI pooling as in the paper, or RoI align.
        region_size: bins along each side; 0 = as many as the backbone's first dense layer takes, else 7.
        own_layers: whether the backbone's dense layers, if it has any, come behind the pooling.
        units: of the two dense layers otherwise.
        regions_per_image: that are learned from.
        foreground_share: the largest part of objects among them.
        foreground_iou: the least of an object.
        background_iou: the least of a background, which has less than the other.
        flip: whether half of the images are mirrored.
        shorter_side: that images are resized to, in pixels.
        longer_side: that no image is resized beyond.
    """

    backbone: str = "vgg16"
    frozen: str = ""
    train_norms: bool = False
    pooling: Literal["max", "align"] = "max"
    region_size: int = 0
    own_layers: bool = True
    units: int = 1024
    regions_per_image: int = 64
    foreground_share: float = 0.25
    foreground_iou: float = 0.5
    background_iou: float = 0.1
    flip: bool = True
    shorter_side: int = 600
    longer_side: int = 1000


# Section 4.5: learning the first two stages, too, changes little and takes longer.
VARIANTS = {"fast_rcnn": FastRCNNConfig(frozen="pool2")}


def build(
    config: FastRCNNConfig, num_classes: int, *, backbone_weights: str | Path | None = None, name: str = "fast_rcnn"
) -> keras.Model:
    """The network from prepared images and proposals to detections.

    Args:
        config: a value of `VARIANTS`, or changed by `dataclasses.replace`.
        num_classes: without the background.
        backbone_weights: as `create_backbone` takes them.
        name: of the model.

    Returns:
        A model from `{"image": [B, H, W, 3], "proposals": [B, N, 4], "counts": [B], "sizes": [B, 2]}`, `counts` saying
        how many of the N proposals are some and `sizes` height and width without padding, to the dict of
        `kapps.layers.detections.Detections`; boxes and proposals are in pixels of the prepared image. The parts are
        layers: `regions`, the dense layers under their own names, `box_scores`, `box_deltas`, `detections`.

    Raises:
        RecipeError: a number of classes that cannot be meant, a backbone without such a map, or a number of bins that
            its dense layers do not take.
        UnknownNameError: the backbone has no such feature.
        WeightsError: as `create_backbone`.
    """
    check_classes_count(name, num_classes)
    backbone = create_backbone(config.backbone, input_shape=(None, None, 3), weights=backbone_weights)
    _freeze(backbone, config)
    maps = pooled_map(backbone, config.feature)
    layers = dense_layers(backbone) if config.own_layers else []
    size = config.region_size or 7
    if layers:
        inputs = taken_by(layers)
        fitting = math.isqrt(inputs // maps.shape[-1])
        size = config.region_size or fitting
        if size**2 * maps.shape[-1] != inputs:
            raise RecipeError(
                f"{name}: expected regions of {inputs} numbers for the dense layers of {config.backbone}, got "
                f"{size}x{size}x{maps.shape[-1]}: set own_layers to false, or give another feature or region_size"
            )
    proposals = keras.Input((None, 4), name="proposals")
    counts = keras.Input((), dtype="int32", name="counts")
    sizes = keras.Input((2,), name="sizes")
    stride = map_stride(backbone, maps)
    if config.pooling == "max":
        regions = RoIPooling(stride, size, name="regions")(maps, proposals)
    else:
        regions = RoIAlign((stride,), size, name="regions")([maps], proposals)
    if layers:
        x = keras.layers.Reshape((-1, size * size * maps.shape[-1]), name="box_flat")(regions)
        for layer in layers:
            x = layer(x)
        x = keras.layers.Dropout(config.dropout_rate, name="box_dropout")(x)
        scores, deltas = score_boxes(x, num_classes)
    else:
        scores, deltas = classify_regions(regions, num_classes, config.units)
    detections = Detections(
        config.score_threshold, config.detection_iou, config.max_detections, _WEIGHTS, name="detections"
    )(scores, deltas, proposals, counts, sizes)
    inputs_by_name = {"image": backbone.inputs[0], "proposals": proposals, "counts": counts, "sizes": sizes}
    return keras.Model(inputs_by_name, detections, name=name)


def parts(model: keras.Model) -> DetectorParts:
    """A network of `build` in parts, see `kapps.exporting.detection_parts`; it is told where to look: `proposals`."""
    layers = {name: model.get_layer(name) for name in ("regions", "detections")}
    in_list = isinstance(layers["regions"], RoIAlign)
    image = next(each for each in model.inputs if each.name == "image")
    trunk = network_part("trunk", {"image": image}, {"map": _first(layers["regions"].input)})
    outputs = {name: model.get_layer(name).output for name in ("box_scores", "box_deltas")}
    head = network_part("box_head", {"regions": layers["regions"].output}, outputs)

    def place(proposals: tf.Tensor, sizes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = sizes[:, 0, None, None], sizes[:, 1, None, None]
        count = tf.shape(proposals)[:2]
        return convert(proposals, "rel_yxyx", "xyxy", height, width), tf.fill([count[0]], count[1])

    def pool(boxes: tf.Tensor, maps: tf.Tensor) -> tuple[tf.Tensor]:
        return (layers["regions"]([maps] if in_list else maps, boxes),)

    def detect(*tensors: tf.Tensor) -> list[tf.Tensor]:
        found = layers["detections"](*tensors)
        return [found[name] for name in DETECTED]

    chain = (
        trunk,
        Part("proposals", ("proposals", "sizes"), ("boxes", "counts"), place),
        Part("regions", ("boxes", "map"), ("regions",), pool),
        head,
        Part("detections", ("box_scores", "box_deltas", "boxes", "counts", "sizes"), DETECTED, detect),
    )
    return DetectorParts(chain, (trunk, head))


def _freeze(backbone: keras.Model, config: FastRCNNConfig) -> None:
    fixed = []
    if config.frozen:
        layers = {layer.name: layer for layer in backbone.layers}
        if config.frozen not in layers:
            raise UnknownNameError(f"feature of {config.backbone}", config.frozen, backbone.output)
        fixed = keras.Model(backbone.inputs, layers[config.frozen].output).layers
    for layer in backbone.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if layer in fixed or (is_norm and not config.train_norms):
            layer.trainable = False


class RegionTraining(NetworkTraining):
    """A network of `build` that learns by `fit`: section 2.3, the multi-task loss."""

    def __init__(self, network: keras.Model, config: FastRCNNConfig, **kwargs: Any):
        super().__init__(network, config, ("class_loss", "box_loss"), **kwargs)

    @cached_property  # not an attribute that Keras tracks: its layers are the network's
    def _head(self) -> keras.Model:
        inputs = {each.name: each for each in self.network.inputs}
        outputs = [self.network.get_layer(name).output for name in ("box_scores", "box_deltas")]
        return keras.Model([inputs["image"], inputs["proposals"]], outputs)

    def losses_of(self, inputs: Mapping[str, Any], truths: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """The losses of one batch by name, each a scalar.

        Args:
            inputs: `{"image": [B, H, W, 3], "regions": [B, R, 4]}`.
            truths: `{"labels": int [B, R], "deltas": [B, R, 4]}`, as `region_losses` takes them.
        """
        scores, deltas = self._head([inputs["image"], inputs["regions"]], training=True)
        class_loss, box_loss = region_losses(scores, deltas, truths["labels"], truths["deltas"])
        return {"class_loss": class_loss, "box_loss": box_loss}


class FastRCNN(RegionDetector):
    """Fast R-CNN; arguments and attributes as `RegionDetector`.

    The network is one of `build`.
    """

    config_class: ClassVar[type[FastRCNNConfig]] = FastRCNNConfig

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        started = time.perf_counter()
        proposals = self.propose(image)
        proposed = described = time.perf_counter()
        found = self.nothing()
        if len(proposals):
            maps, size = self._maps(tf.convert_to_tensor(image))
            maps.numpy()  # waits until it is there
            described = time.perf_counter()
            found = as_found(self._classify(maps, size, tf.shape(image)[:2], tf.constant(proposals, tf.float32)))
        self.timings = self.timed(started, proposed, described)
        return found

    def fit(
        self,
        dataset: BoxDataset,
        *,
        epochs: int = 10,
        batch_size: int = 2,
        optimizer: keras.optimizers.Optimizer | None = None,
        validation: BoxDataset | None = None,
        validate_every: int = 1,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Learn from images with boxes and their proposals.

        Args:
            dataset: see `kapps.data.boxes.load_boxes`. Nothing is learned from an image without a region whose IoU with
                a true box is in one of the two ranges of the configuration.
            epochs: of the whole run.
            batch_size: images a step.
            optimizer: None = SGD with a rate of 0.001, momentum 0.9 and weight decay 0.0005.
            validation: measured after every `validate_every` epochs: `val_AP` and `val_AP50`.
            validate_every: see there.
            seed: of the order, of the samples and of the mirroring.
            folder: where the run is kept: called again with the same folder, it goes on where it was. None = nowhere.
            progress: show bars (on stderr).

        Returns:
            One row an epoch: losses, learning rate, seconds.

        Raises:
            DataError: the data has other classes, cannot be read, or has nothing to learn from.
            MissingExtraError: the extra `detect` is not installed.
            TrainingError: the loss became NaN or infinite.
        """
        self.check_classes(dataset.class_names)
        watchers = []
        if validation is not None:
            from kapps.tasks.detection.evaluate import EvaluateDetector

            self.check_classes(validation.class_names)
            watchers.append(EvaluateDetector(self.find, validation, every=validate_every))
        examples = RegionExamples(dataset, self.propose, progress=progress)
        usable = usable_images(examples, self.config.foreground_iou, self.config.background_iou)
        steps = max(1, len(usable) // batch_size)

        def batch(rng: np.random.Generator, epoch: int, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
            order = np.random.default_rng((seed, epoch)).permutation(usable)
            numbers = np.take(order, range(step * batch_size, (step + 1) * batch_size), mode="wrap")
            return self._batch(examples, numbers, rng)

        def batches(first_epoch: int) -> tf.data.Dataset:
            count = self.config.regions_per_image
            signature = (
                {
                    "image": tf.TensorSpec((batch_size, None, None, 3)),
                    "regions": tf.TensorSpec((batch_size, count, 4)),
                },
                {
                    "labels": tf.TensorSpec((batch_size, count), tf.int32),
                    "deltas": tf.TensorSpec((batch_size, count, 4)),
                },
            )

            def stream() -> Iterator[Any]:
                return endless(batch, steps, seed, first_epoch)

            return tf.data.Dataset.from_generator(stream, output_signature=signature).prefetch(1)

        learner = RegionTraining(self.network, self.config, seed=seed)
        learner.compile(
            optimizer=optimizer or keras.optimizers.SGD(0.001, momentum=0.9, weight_decay=5e-4), jit_compile=False
        )
        with tempfile.TemporaryDirectory() as nowhere:
            place = Path(nowhere if folder is None else folder)
            place.mkdir(parents=True, exist_ok=True)
            return fit_resumable(
                learner,
                batches,
                place,
                title=f"{self.name}, {dataset.name}",
                seed=seed,
                epochs=epochs,
                steps=steps,
                watchers=watchers,
                progress=progress,
            )

    def compressed(self, ranks: Mapping[str, int]) -> FastRCNN:
        """The detector with some of its dense layers in two pieces each; arguments and errors as
        `kapps.tasks.detection.truncated_svd.compress`. It is for finding, not for further training."""
        network = compress(self.network, ranks)
        return FastRCNN(self.name, network, self.config, self.class_names, self.box_format, propose=self.propose)

    def _exported(self) -> dict[str, Any]:
        """Who asks brings the proposals, as parts of the image: selective search is no graph."""
        config = self.config
        return {
            "prepare": by_name(self._prepared),
            "parts": parts,
            "preprocessing": {
                "fit": "shortest side",
                "shorter_side": config.shorter_side,
                "longer_side": config.longer_side,
                **pixel_facts(config),
            },
            "operations": self._operations(),
            "takes_proposals": True,
        }

    def _operations(self) -> int:
        """Float operations for one image of the usual shape, 4:3, and all the proposals that there can be."""
        shorter = self.config.shorter_side
        image, _ = self._prepared(tf.zeros((shorter, shorter * 4 // 3, 3), tf.uint8))
        trunk, head = (part.network for part in parts(self.network).networks)
        assert trunk is not None
        assert head is not None
        regions = (1, self.config.max_proposals, *head.inputs[0].shape[2:])
        return sum(
            count_flops_of_call(lambda x, network=network: network(x, training=False), tf.TensorSpec(shape))
            for network, shape in ((trunk, (1, *image.shape)), (head, regions))
        )

    def function(self) -> Callable[..., dict[str, tf.Tensor]]:
        """What `find` does behind the proposals, ready to be put into a SavedModel beside the network.

        Returns:
            A `tf.function` of `image` uint8 [H, W, 3], any size, and `proposals` float32 [N, 4], `"xyxy"` in its
            pixels, that gives the dict of the network without the batch, boxes in pixels of the image.
        """
        maps, classify = self._maps, self._classify

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None, 3), tf.uint8, name="image"),
                tf.TensorSpec((None, 4), name="proposals"),
            ]
        )
        def detect(image: tf.Tensor, proposals: tf.Tensor) -> dict[str, tf.Tensor]:
            return classify(*maps(image), tf.shape(image)[:2], proposals)

        return detect

    def _prepared(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return prepared(self.config, image, self.config.shorter_side, self.config.longer_side, _MULTIPLE)

    def _batch(
        self, examples: RegionExamples, numbers: np.ndarray, rng: np.random.Generator
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Some images and a sample of the regions of each."""
        config = self.config
        count, background = config.regions_per_image, len(self.class_names)
        images, all_boxes = [], np.zeros((len(numbers), count, 4), np.float32)
        labels, deltas = np.full((len(numbers), count), -1, np.int32), np.zeros((len(numbers), count, 4), np.float32)
        for row, number in enumerate(numbers):
            image, regions = examples.image(number), examples.regions[number]
            ((_, places),) = examples.draw(
                rng, count, config.foreground_share, config.foreground_iou, config.background_iou, [number]
            )
            boxes = regions.boxes[places]
            true_boxes = regions.true_boxes[regions.nearest[places]] if len(regions.classes) else boxes
            if config.flip and rng.random() < 0.5:
                image = image[:, ::-1]
                boxes, true_boxes = (mirrored(each, image.shape[1]) for each in (boxes, true_boxes))
            pixels, size = self._prepared(image)
            scale = np.tile((np.asarray(size) / image.shape[:2])[::-1], 2).astype(np.float32)
            some = slice(len(places))
            labels[row, some] = regions.labels(config.foreground_iou, background)[places]
            moves = np.asarray(encode(true_boxes, boxes, _WEIGHTS))
            deltas[row, some] = np.where(labels[row, some, None] < background, moves, 0)
            all_boxes[row, some] = boxes * scale
            images.append(np.asarray(pixels))
        largest = np.max([image.shape for image in images], axis=0)
        padded = np.zeros((len(images), *largest), np.float32)
        for row, image in enumerate(images):
            padded[row, : image.shape[0], : image.shape[1]] = image
        return {"image": padded, "regions": all_boxes}, {"labels": labels, "deltas": deltas}

    @cached_property
    def _maps(self) -> Callable[[tf.Tensor], Any]:
        """From an image uint8 [H, W, 3] to the map of it, and its size when it was prepared."""
        image = next(each for each in self.network.inputs if each.name == "image")
        network = keras.Model(image, _first(self.network.get_layer("regions").input))

        @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
        def maps(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels, size = self._prepared(image)
            return network(pixels[None], training=False), size

        return maps

    @cached_property
    def _classify(self) -> Callable[..., dict[str, tf.Tensor]]:
        """From that to what is found, in pixels of the image."""
        layer = self.network.get_layer
        regions, detections = layer("regions"), layer("detections")
        head = keras.Model(regions.output, [layer("box_scores").output, layer("box_deltas").output])
        maps = _first(regions.input)

        @tf.function(
            input_signature=[
                tf.TensorSpec(maps.shape),
                tf.TensorSpec((2,)),
                tf.TensorSpec((2,), tf.int32),
                tf.TensorSpec((None, 4)),
            ]
        )
        def classify(maps: tf.Tensor, size: tf.Tensor, sides: tf.Tensor, proposals: tf.Tensor) -> dict[str, tf.Tensor]:
            scale = tf.tile((size / tf.cast(sides, tf.float32))[::-1], [2])
            scaled = proposals[None] * scale
            pooled = regions(maps if self.config.pooling == "max" else [maps], scaled)
            scores, deltas = head(pooled, training=False)
            found = detections(scores, deltas, scaled, tf.shape(proposals)[:1], size[None])
            boxes = found["detection_boxes"] / scale
            return {key: value[0] for key, value in {**found, "detection_boxes": boxes}.items()}

        return classify


def mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes [N, 4], `"xyxy"`, of an image that is mirrored left to right."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _first(tensors: Any) -> keras.KerasTensor:
    """The map among the inputs of the pooling layer; RoI align has it in a list."""
    return _first(tensors[0]) if isinstance(tensors, list | tuple) else tensors

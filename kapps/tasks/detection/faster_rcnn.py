"""Faster R-CNN with a feature pyramid: one network proposes boxes, looks into them and names what is there.

    part            what                                                            output, for an image of 800x1088
    backbone        ResNet-50, its normalisations frozen                            stage1 to stage4
    pyramid         four levels of 256 maps, and every other pixel of the last      fpn2 [200, 272] ... fpn6 [13, 17]
    proposals       3 anchors a place: a score and 4 numbers each; suppression      1000 boxes
    regions         RoI align on the level that fits a box's size                   [1000, 7, 7, 256]
    box head        two dense layers of 1024, then classes and boxes                [1000, 91], [1000, 364]
    detections      scores above 0.05, suppression class by class                   100 boxes

Preprocessing: pixels 0 to 1, minus mean, over standard deviation; resized without antialiasing so that the shorter side
is 800 pixels, or the longer one 1333 where it would be more; zeros to the right and below up to a multiple of 32.

Papers: Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015; Lin, Dollar, Girshick, He, Hariharan, Belongie: "Feature
Pyramid Networks for Object Detection", CVPR 2017, section 4; the numbers are those of torchvision's
`fasterrcnn_resnet50_fpn`.

Deviations from torchvision: class 0 is the first real class and the background comes last; proposals are ranked by
their score before the sigmoid, which orders them alike where the sigmoid can still tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kapps.create import create_backbone
from kapps.errors import RecipeError
from kapps.heads.detection import classify_regions, score_anchors
from kapps.heads.feature_pyramid import feature_pyramid
from kapps.layers.detections import Detections
from kapps.layers.region_proposals import RegionProposals
from kapps.layers.roi_align import RoIAlign
from kapps.weights.conversion import assign_tensors, expected_tensors
from kapps.weights.download import Progress, fetch
from kapps.weights.key_maps.faster_rcnn import BACKGROUND_FIRST, KEY_MAPS
from kapps.weights.loading import read_tensors
from kapps.weights.sources import Source

COCO = Source(
    name="faster_rcnn_resnet50_fpn",
    weights="coco",
    publisher="torchvision",
    url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
    checksum="sha256:258fb6c6",
    licence="BSD-3-Clause",
    preprocessing={},  # the configuration's own
)


@dataclass(frozen=True)
class FasterRCNNConfig:
    """What the variants differ in.

    Attributes:
        backbone: a name of the catalogue.
        features: of the backbone, with strides of 4, 8, 16 and 32.
        frozen: beginnings of the names of layers that do not learn; batch normalisations never do.
        channels: of the pyramid.
        anchor_sizes: square roots of the areas in pixels, for each level and the one above them.
        anchor_ratios: heights over widths.
        proposals_before: of each level that go into the suppression.
        proposals_after: of an image that come out.
        proposal_iou: of that suppression.
        sampling_ratio: points along each side of a bin of RoI align.
        units: of the box head's dense layers.
        score_threshold: a detection must have more.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
        shorter_side: that images are resized to, in pixels.
        longer_side: that no image is resized beyond.
        multiple: of the sides after padding.
        mean: of the pixels (0 to 1), red, green, blue.
        std: likewise.
    """

    backbone: str = "resnet50"
    features: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    frozen: tuple[str, ...] = ("stem", "stage1")
    channels: int = 256
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals_before: int = 1000
    proposals_after: int = 1000
    proposal_iou: float = 0.7
    sampling_ratio: int = 2
    units: int = 1024
    score_threshold: float = 0.05
    detection_iou: float = 0.5
    max_detections: int = 100
    shorter_side: int = 800
    longer_side: int = 1333
    multiple: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


VARIANTS = {"faster_rcnn_resnet50_fpn": FasterRCNNConfig()}


def build(
    config: FasterRCNNConfig,
    num_classes: int = 90,
    *,
    backbone_weights: str | Path | None = None,
    name: str = "faster_rcnn_resnet50_fpn",
) -> keras.Model:
    """The network from prepared images to detections.

    Args:
        config: a value of `VARIANTS`, or changed by `dataclasses.replace`.
        num_classes: without the background; COCO's numbers go to 90.
        backbone_weights: as `create_backbone` takes them.
        name: of the model.

    Returns:
        A model from `{"image": [B, H, W, 3], "sizes": [B, 2]}`, as `prepare` makes them, to the dict of
        `kapps.layers.detections.Detections`, boxes in pixels of the prepared image. The parts are layers: `fpn2` to
        `fpn6`, `rpn_scores2`, `rpn_deltas2` and so on, `proposals`, `regions`, `box_scores`, `box_deltas`.

    Raises:
        RecipeError: a number of classes or of anchor sizes that cannot be meant.
        UnknownNameError, WeightsError: as `create_backbone`.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise RecipeError(f"{name}: num_classes should be an integer of at least 1, not {num_classes!r}")
    levels_needed = len(config.features) + 1
    if len(config.anchor_sizes) != levels_needed or len(set(map(len, config.anchor_sizes))) != 1:
        raise RecipeError(
            f"{name}: expected as many anchor_sizes on each of {levels_needed} levels, one level more than features, "
            f"not {config.anchor_sizes}"
        )
    backbone = create_backbone(config.backbone, input_shape=(None, None, 3), weights=backbone_weights)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization) or layer.name.startswith(config.frozen):
            layer.trainable = False
    image, sizes = backbone.inputs[0], keras.Input((2,), name="sizes")

    levels = feature_pyramid([backbone.output[feature] for feature in config.features], config.channels)
    anchors = len(config.anchor_sizes[0]) * len(config.anchor_ratios)
    rpn_scores, rpn_deltas = score_anchors(levels, anchors)
    proposals, _, counts = RegionProposals(
        config.anchor_sizes,
        config.anchor_ratios,
        config.proposals_before,
        config.proposals_after,
        config.proposal_iou,
        name="proposals",
    )(rpn_scores, rpn_deltas, image, sizes)

    strides = [2 ** (level + 2) for level in range(len(config.features))]
    regions = RoIAlign(strides, sampling_ratio=config.sampling_ratio, name="regions")(levels[:-1], proposals)
    scores, deltas = classify_regions(regions, num_classes, config.units)
    detections = Detections(config.score_threshold, config.detection_iou, config.max_detections, name="detections")(
        scores, deltas, proposals, counts, sizes
    )
    return keras.Model({"image": image, "sizes": sizes}, detections, name=name)


def prepare(config: FasterRCNNConfig, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One image as the network takes it, see the top of this file.

    Args:
        config: of the network.
        image: [H, W, 3], any size; integers 0 to 255, or floats 0 to 1.

    Returns:
        float32 [H', W', 3], H' and W' multiples of 32, and float32 [2]: height and width without the padding.
    """
    image = tf.convert_to_tensor(image)
    image = tf.cast(image, tf.float32) / (255.0 if image.dtype.is_integer else 1.0)
    image = (image - config.mean) / config.std
    # in float64, as torchvision computes it, so that the same sides come out
    sides = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.minimum(config.shorter_side / tf.reduce_min(sides), config.longer_side / tf.reduce_max(sides))
    size = tf.maximum(tf.cast(tf.floor(sides * scale), tf.int32), 1)
    image = tf.image.resize(image, size)
    padding = -size % config.multiple
    image = tf.pad(image, [[0, padding[0]], [0, padding[1]], [0, 0]])
    return image, tf.cast(size, tf.float32)


def detector(model: keras.Model, config: FasterRCNNConfig) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function, ready to be exported, from one image [H, W, 3], uint8 of any size, to its detections.

    Returns:
        A `tf.function` with a fixed signature. It gives the dict of the network without the batch: `detection_boxes`
        [max_detections, 4], `"xyxy"` in pixels of the given image, `detection_scores`, `detection_classes` and the
        scalar `num_detections`.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8, name="image")])
    def detect(image: tf.Tensor) -> dict[str, tf.Tensor]:
        prepared, size = prepare(config, image)
        found = model({"image": prepared[None], "sizes": size[None]}, training=False)
        ratio = tf.cast(tf.shape(image)[:2], tf.float32) / size  # height, width
        boxes = found["detection_boxes"][0] * tf.stack([ratio[1], ratio[0], ratio[1], ratio[0]])
        return {**{key: value[0] for key, value in found.items()}, "detection_boxes": boxes}

    return detect


def load_weights(model: keras.Model, weights: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Put torchvision's weights into a network.

    Args:
        model: of `build`. With another number of classes than the file's, the last layers stay as initialised.
        weights: `"coco"`, which is fetched once into the cache, or a `.pth` or `.safetensors` file with torchvision's
            names.
        progress: called while the file is fetched, with (bytes so far, bytes in all or None).

    Returns:
        The layers that stayed as initialised.

    Raises:
        WeightsError: the file is missing, damaged or does not fit; nothing has then changed.
    """
    path = fetch(COCO.url, checksum=COCO.checksum, progress=progress) if weights == "coco" else Path(weights)
    tensors, _ = read_tensors(path)
    return assign(model, tensors, source=str(path))


def assign(model: keras.Model, tensors: Mapping[str, np.ndarray], *, source: str) -> list[str]:
    """`load_weights` from torchvision's name -> array; `source` is for messages."""
    key_map = max(
        KEY_MAPS.values(), key=lambda key_map: sum(key in tensors for key in expected_tensors(model, key_map, "torch"))
    )
    ordered = dict(tensors)
    for layer in BACKGROUND_FIRST:
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in ordered:
                value = np.asarray(ordered[name])
                # one row a class in the scores, four in the deltas; the background's go to the end
                rows = 4 if layer.endswith("bbox_pred") else 1
                ordered[name] = np.concatenate([value[rows:], value[:rows]])
    return assign_tensors(model, ordered, key_map, layout="torch", source=source, optional=("box_scores", "box_deltas"))

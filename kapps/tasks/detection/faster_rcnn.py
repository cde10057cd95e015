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

Any other backbone of the catalogue takes ResNet-50's place: those of its features are used whose strides are 4, 8, 16
and 32. The older form without a pyramid is `faster_rcnn_resnet50_c4`: proposals on the map with a stride of 16, and
what the backbone does behind it is done on every region:

    part            what                                                            output, for an image of 800x1088
    backbone        ResNet-50 up to its third stage                                 stage3 [50, 68, 1024]
    proposals       15 anchors a place: five sizes, three shapes                    1000 boxes
    regions         RoI align                                                       [1000, 14, 14, 1024]
    box head        the fourth stage, averaged, [1000, 2048]; classes and boxes     [1000, 91], [1000, 364]

Papers: Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015; He, Zhang, Ren, Sun: "Deep Residual Learning", CVPR 2016,
appendix A (C4); Lin, Dollar, Girshick, He, Hariharan, Belongie: "Feature Pyramid Networks for Object Detection", CVPR
2017, section 4; the numbers are those of torchvision's `fasterrcnn_resnet50_fpn`.

Deviations from torchvision: class 0 is the first real class and the background comes last; proposals are ranked by
their score before the sigmoid, which orders them alike where the sigmoid can still tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from kapps.boxes.coder import decode
from kapps.boxes.formats import clip, convert
from kapps.create import create_backbone
from kapps.errors import RecipeError, UnknownNameError
from kapps.exporting.detection_parts import DETECTED, DetectorParts, Part, network_part
from kapps.exporting.flops import count_flops_of_call
from kapps.heads.detection import classify_regions, score_anchors, score_boxes
from kapps.heads.feature_pyramid import feature_pyramid
from kapps.layers.detections import Detections
from kapps.layers.each_region import EachRegion
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


# A side that should come out whole is not to lose a pixel to the last bit of its scale.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class FasterRCNNConfig:
    """What the variants differ in.

    Attributes:
        backbone: a name of the catalogue.
        features: of the backbone, each with twice the stride of the one before; () = the last ones with strides of 4,
            8, 16 and 32. A single one makes no pyramid.
        tail: without a pyramid: the feature of the backbone that is computed of every region; "" = two dense layers
            as with a pyramid.
        frozen: the feature up to which the backbone does not learn; "" = all of it learns.
        train_norms: whether the backbone's batch normalisations learn: from scratch they must; on pre-trained weights
            and two images a batch they had better not.
        channels: of the pyramid.
        anchor_sizes: square roots of the areas in pixels, for each level and the one above them; () = eight times
            the stride, and without a pyramid 32 to 512.
        anchor_ratios: heights over widths.
        proposals_before: of each level that go into the suppression.
        proposals_after: of an image that come out.
        training_proposals: both numbers while it learns.
        proposal_iou: of that suppression.
        anchors_per_image: that are learned from, half of them objects if there are so many.
        regions_per_image: that are learned from, a quarter of them objects if there are so many.
        region_size: bins along each side of RoI align; 0 = 7, and 14 where a tail follows that halves it.
        sampling_ratio: points along each side of a bin.
        units: of the box head's dense layers.
        score_threshold: a detection must have more.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
        shorter_side: that images are resized to, in pixels.
        longer_side: that no image is resized beyond.
        multiple: of the sides after padding.
        canvas: height and width that every image is fitted into and padded to, a letterbox; () = as the three above
            say.
        mean: of the pixels (0 to 1), in the order of `channel_order`.
        std: likewise.
        channel_order: of the pixels that the backbone takes.
    """

    backbone: str = "resnet50"
    features: tuple[str, ...] = ()
    tail: str = ""
    frozen: str = ""
    train_norms: bool = False
    channels: int = 256
    anchor_sizes: tuple[tuple[float, ...], ...] = ()
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals_before: int = 1000
    proposals_after: int = 1000
    training_proposals: int = 2000
    proposal_iou: float = 0.7
    anchors_per_image: int = 256
    regions_per_image: int = 512
    region_size: int = 0
    sampling_ratio: int = 2
    units: int = 1024
    score_threshold: float = 0.05
    detection_iou: float = 0.5
    max_detections: int = 100
    shorter_side: int = 800
    longer_side: int = 1333
    multiple: int = 32
    canvas: tuple[int, ...] = ()
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"


VARIANTS = {
    "faster_rcnn_resnet50_fpn": FasterRCNNConfig(frozen="stage1"),
    "faster_rcnn_resnet50_c4": FasterRCNNConfig(features=("stage3",), tail="stage4", frozen="stage1"),
    "faster_rcnn_resnet18_fpn": FasterRCNNConfig(backbone="resnet18", frozen="stage1"),
}


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
        `fpn6`, `rpn_scores2`, `rpn_deltas2` and so on, named by the logarithms of their strides, `proposals`,
        `regions`, `box_scores`, `box_deltas`.

    Raises:
        RecipeError: a number of classes or of anchor sizes that cannot be meant, or a backbone without such features.
        UnknownNameError, WeightsError: as `create_backbone`.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise RecipeError(f"{name}: num_classes should be an integer of at least 1, not {num_classes!r}")
    backbone = create_backbone(config.backbone, input_shape=(None, None, 3), weights=backbone_weights)
    strides = feature_strides(backbone)
    features = config.features or tuple(strided_features(strides).values())
    for feature in (*features, config.tail, config.frozen):
        if feature and feature not in strides:
            raise UnknownNameError(f"feature of {config.backbone}", feature, strides)
    used = [strides[feature] for feature in features]
    if not used or any(after != 2 * before for before, after in pairwise(used)) or (config.tail and len(used) > 1):
        raise RecipeError(
            f"{name}: expected features of {config.backbone} whose strides double from one to the next, only one "
            f"before a tail, got {dict(zip(features, used, strict=True))}; it has {strides}"
        )
    _freeze(backbone, config)
    image, sizes = backbone.inputs[0], keras.Input((2,), name="sizes")

    first_level = used[0].bit_length() - 1
    if len(features) > 1:
        levels = feature_pyramid(
            [backbone.output[feature] for feature in features], config.channels, first_level=first_level
        )
    else:
        levels = [backbone.output[features[0]]]
    anchor_sizes = _anchor_sizes(config, used, len(levels), name)
    rpn_scores, rpn_deltas = score_anchors(
        levels, len(anchor_sizes[0]) * len(config.anchor_ratios), first_level=first_level
    )
    proposals, _, counts = RegionProposals(
        anchor_sizes,
        config.anchor_ratios,
        config.proposals_before,
        config.proposals_after,
        config.proposal_iou,
        name="proposals",
    )(rpn_scores, rpn_deltas, image, sizes)

    regions = RoIAlign(
        used, config.region_size or (14 if config.tail else 7), sampling_ratio=config.sampling_ratio, name="regions"
    )(levels[: len(used)], proposals)
    if config.tail:
        tail = keras.Model(levels[0], backbone.output[config.tail], name="box_tail")
        x = EachRegion(tail, name="box_features")(regions)
        x = EachRegion(keras.layers.GlobalAveragePooling2D(), name="box_means")(x)
        scores, deltas = score_boxes(x, num_classes)
    else:
        scores, deltas = classify_regions(regions, num_classes, config.units)
    detections = Detections(config.score_threshold, config.detection_iou, config.max_detections, name="detections")(
        scores, deltas, proposals, counts, sizes
    )
    return keras.Model({"image": image, "sizes": sizes}, detections, name=name)


def feature_strides(backbone: keras.Model) -> dict[str, int]:
    """Of each named feature that is a map: image pixels per map pixel, to the nearest power of two."""
    side = 512
    maps = backbone.compute_output_spec(keras.KerasTensor((1, side, side, 3)))
    return {name: 2 ** round(math.log2(side / x.shape[1])) for name, x in maps.items() if len(x.shape) == 4}


def strided_features(strides: Mapping[str, int]) -> dict[int, str]:
    """Those that make a pyramid: for each of the strides 4, 8, 16 and 32 the last feature that has it."""
    last = {stride: name for name, stride in strides.items()}
    return {stride: last[stride] for stride in (4, 8, 16, 32) if stride in last}


def _freeze(backbone: keras.Model, config: FasterRCNNConfig) -> None:
    fixed = keras.Model(backbone.inputs, backbone.output[config.frozen]).layers if config.frozen else []
    for layer in backbone.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if layer in fixed or (is_norm and not config.train_norms):
            layer.trainable = False


def _anchor_sizes(
    config: FasterRCNNConfig, strides: Sequence[int], levels: int, name: str
) -> tuple[tuple[float, ...], ...]:
    """Of each level."""
    if not config.anchor_sizes:
        if levels == 1:
            return ((32, 64, 128, 256, 512),)
        return tuple((8 * strides[0] * 2**level,) for level in range(levels))
    if len(config.anchor_sizes) != levels or len(set(map(len, config.anchor_sizes))) != 1:
        raise RecipeError(
            f"{name}: expected as many anchor_sizes on each of {levels} levels, one level more than features of a "
            f"pyramid, not {config.anchor_sizes}"
        )
    return config.anchor_sizes


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
    if config.channel_order == "bgr":
        image = image[..., ::-1]
    image = (image - config.mean) / config.std
    # in float64, as torchvision computes it, so that the same sides come out
    sides = tf.cast(tf.shape(image)[:2], tf.float64)
    if config.canvas:
        scale = tf.reduce_min(tf.constant(config.canvas, tf.float64) / sides)
    else:
        scale = tf.minimum(config.shorter_side / tf.reduce_min(sides), config.longer_side / tf.reduce_max(sides))
    size = tf.maximum(tf.cast(tf.floor(sides * scale + _ROUNDING), tf.int32), 1)
    image = tf.image.resize(image, size)
    padding = (config.canvas or -(-size // config.multiple) * config.multiple) - size
    image = tf.pad(image, [[0, padding[0]], [0, padding[1]], [0, 0]])
    return image, tf.cast(size, tf.float32)


def inner_tensors(model: keras.Model) -> dict[str, list[keras.KerasTensor]]:
    """Of a network of `build`: the `maps` that regions are taken from, and the anchors' `scores` and `deltas`."""
    proposals = model.get_layer("proposals")
    levels = len(proposals.anchor_sizes)
    return {
        "maps": list(model.get_layer("regions").input[:-1]),
        "scores": list(proposals.input[:levels]),
        "deltas": list(proposals.input[levels : 2 * levels]),
    }


def parts(model: keras.Model) -> DetectorParts:
    """A network of `build` in parts, see `kapps.exporting.detection_parts`.

    Levels are numbered by the logarithms of their strides: `map2`, `rpn_scores2`, `rpn_deltas2` and so on.
    """
    inner = inner_tensors(model)
    layers = {name: model.get_layer(name) for name in ("proposals", "regions", "detections")}
    numbers = _levels(inner["scores"])

    def named(kind: str, tensors: Sequence[keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        return {f"{kind}{number}": x for number, x in zip(numbers, tensors, strict=False)}

    image = {"image": model.inputs[0]}
    maps = named("map", inner["maps"])
    levels = named("map", [_before(x, 3) for x in inner["scores"]])  # of what the RPN sees: one more than of regions
    anchors = named("rpn_scores", inner["scores"]) | named("rpn_deltas", inner["deltas"])
    outputs = {name: model.get_layer(name).output for name in ("box_scores", "box_deltas")}
    head = network_part("box_head", {"regions": layers["regions"].output}, outputs)

    def propose(image: tf.Tensor, sizes: tf.Tensor, *anchors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return layers["proposals"](list(anchors[: len(numbers)]), list(anchors[len(numbers) :]), image, sizes)

    def pool(boxes: tf.Tensor, *maps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (layers["regions"](list(maps), boxes),)

    def detect(*tensors: tf.Tensor) -> list[tf.Tensor]:
        found = layers["detections"](*tensors)
        return [found[name] for name in DETECTED]

    chain = (
        network_part("trunk", image, levels),
        network_part("rpn", levels, anchors),
        Part("proposals", ("image", "sizes", *anchors), ("boxes", "objectness", "counts"), propose),
        Part("regions", ("boxes", *maps), ("regions",), pool),
        head,
        Part("detections", ("box_scores", "box_deltas", "boxes", "counts", "sizes"), DETECTED, detect),
    )
    return DetectorParts(chain, (network_part("trunk", image, maps | anchors), head))


def _levels(scores: Sequence[keras.KerasTensor]) -> list[int]:
    """The numbers of the levels that the RPN's scores are of."""
    return [int(x._keras_history.operation.name.removeprefix("rpn_scores")) for x in scores]


def _before(x: keras.KerasTensor, layers: int) -> keras.KerasTensor:
    """What a tensor was so many layers ago, all of which take one tensor."""
    for _ in range(layers):
        (x,) = x._keras_history.operation._inbound_nodes[x._keras_history.node_index].input_tensors
    return x


def steps(model: keras.Model) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """What happens between image and detections, for those who want to see it.

    Returns:
        A function of all tensors of `parts` by name. With P proposals of the fullest image and C classes,
        boxes as parts of the image ("rel_yxyx"), behind the last proposal zeros, it gives `proposal_boxes` [B, P, 4],
        `proposal_scores` [B, P] (how likely an object), `class_boxes` [B, P, C, 4] and `class_scores` [B, P, C] (before
        the suppression), and `objectness2` [B, h, w] and so on: of each level the score of the likeliest anchor at each
        place.
    """
    head = model.get_layer("detections")
    levels = _levels(inner_tensors(model)["scores"])

    def look(found: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        boxes, scores = found["boxes"], found["objectness"]
        sides = [found["sizes"][:, side, None, None] for side in (0, 1)]  # heights, widths [B, 1, 1]
        class_scores = tf.nn.softmax(found["box_scores"])[..., :-1]
        count = tf.shape(class_scores)
        deltas = tf.reshape(found["box_deltas"], [count[0], count[1], -1, 4])[:, :, :-1]
        moved = clip(decode(deltas, boxes[:, :, None], head.box_weights), *sides)
        real = tf.cast(scores > float("-inf"), tf.float32)
        shown = {
            "proposal_boxes": convert(boxes, "xyxy", "rel_yxyx", *sides),
            "proposal_scores": tf.sigmoid(scores),
            "class_boxes": convert(moved, "xyxy", "rel_yxyx", *(side[..., None] for side in sides))
            * real[..., None, None],
            "class_scores": class_scores * real[..., None],
        }
        for level in levels:
            shown[f"objectness{level}"] = tf.sigmoid(tf.reduce_max(found[f"rpn_scores{level}"], axis=-1))
        return shown

    return look


def box_head(model: keras.Model) -> keras.Model:
    """The part of a network of `build` behind RoI align: regions -> scores and deltas of their boxes."""
    ends = [model.get_layer(name).output for name in ("box_scores", "box_deltas")]
    return keras.Model(model.get_layer("regions").output, ends, name="box_head")


def count_operations(model: keras.Model, config: FasterRCNNConfig) -> int:
    """Float operations for one image of the usual shape, 4:3, and all the proposals that there can be.

    Of the maps and of the box head, see `kapps.exporting.flops.CONVENTION`; choosing among boxes is not counted.
    """
    shorter = config.shorter_side
    image, _ = prepare(config, tf.zeros((shorter, shorter * 4 // 3, 3), tf.uint8))
    maps = keras.Model(model.inputs[0], inner_tensors(model))
    regions = model.get_layer("regions").output.shape
    return sum(
        count_flops_of_call(lambda x, part=part: part(x, training=False), tf.TensorSpec(shape))
        for part, shape in (
            (maps, (1, *image.shape)),
            (box_head(model), (1, config.proposals_after, *regions[2:])),
        )
    )


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

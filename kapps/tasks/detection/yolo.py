"""YOLO: one look at the whole image, one grid of answers, no proposals.

Idea: the image is divided into S x S cells. The cell that the centre of an object falls into is to find it: each cell
says B boxes, how sure it is of each, and which class an object there would have. What the R-CNN family does in stages
is a single regression from pixels to boxes.

    part            what                                                              output: S = 7, B = 2, 20 classes
    backbone        ResNet-18                                                         stage4 [14, 14, 512]
    convolutions    four of 3x3, 1024 maps, the second with stride 2, leaky ReLU      [7, 7, 1024]
    units           full connection of 4096, leaky ReLU, dropout 0.5                  [4096]
    answers         full connection, nothing behind it                                [7, 7, 30]
    detections      confidence x class; suppression class by class                    100 boxes

The 30 numbers of a cell: for each box x and y of its centre in the cell, 0 to 1, the roots of its width and height as
parts of the image's, and its confidence, the overlap that it expects to have; then a probability for each class.

Preprocessing: pixels 0 to 1, minus mean, over standard deviation; stretched to 448x448, whatever the aspect. All
numbers of the grid are relative, so that boxes come back as they were.

Paper: Redmon, Divvala, Girshick, Farhadi: "You Only Look Once: Unified, Real-Time Object Detection", CVPR 2016: section
2 and figure 2 (the grid), section 2.1 and figure 3 (the network), section 2.2 and equation 3 (the loss).

Deviations: the first 20 of the paper's 24 convolutions are a network of its own kind; any backbone of the catalogue
takes their place, and behind it come the paper's last four convolutions and both full connections. A network says the
root of a size, not the size, as in the authors' code: equation 3 compares roots. Where two objects are centred in one
cell, which the paper's model cannot tell apart, the larger one is kept, of equal ones the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

from kapps.create import create_backbone
from kapps.errors import RecipeError, UnknownNameError
from kapps.exporting.detection_parts import DETECTED, DetectorParts, Part, network_part
from kapps.layers.grid_detections import GridDetections


@dataclass(frozen=True)
class YoloConfig:
    """What the variants differ in.

    Attributes:
        backbone: a name of the catalogue.
        feature: the map of the backbone that is used; "" = its last one.
        convolutions: behind it: (maps, stride) of each.
        units: of the hidden full connection; 0 = none of the two: a 1x1 convolution answers for each cell, and the
            maps must be as large as the grid.
        dropout_rate: behind the hidden full connection.
        grid: S.
        boxes: B, of each cell.
        side: of the images, in pixels.
        coord_weight: lambda_coord, what places count in the loss.
        no_object_weight: lambda_noobj, what the confidence of boxes without an object counts.
        score_threshold: a detection must have more.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
        mean: of the pixels (0 to 1), in the order of `channel_order`.
        std: likewise.
        channel_order: of the pixels that the backbone takes.
    """

    backbone: str = "resnet18"
    feature: str = ""
    convolutions: tuple[tuple[int, int], ...] = ((1024, 1), (1024, 2), (1024, 1), (1024, 1))
    units: int = 4096
    dropout_rate: float = 0.5
    grid: int = 7
    boxes: int = 2
    side: int = 448
    coord_weight: float = 5.0
    no_object_weight: float = 0.5
    score_threshold: float = 0.01
    detection_iou: float = 0.5
    max_detections: int = 100
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"


VARIANTS = {"yolo": YoloConfig()}


def build(
    config: YoloConfig, num_classes: int = 20, *, backbone_weights: str | Path | None = None, name: str = "yolo"
) -> keras.Model:
    """The network from prepared images to detections.

    Args:
        config: a value of `VARIANTS`, or changed by `dataclasses.replace`.
        num_classes: there is none for the background.
        backbone_weights: as `create_backbone` takes them.
        name: of the model.

    Returns:
        A model from `{"image": [N, side, side, 3], "sizes": [N, 2]}`, as `prepare` makes them, to the dict of
        `kapps.layers.grid_detections.GridDetections`, boxes in pixels of the prepared image. What the grid says,
        [N, S, S, 5 B + num_classes], is the output of the layer `answers`.

    Raises:
        RecipeError: a number of classes that cannot be meant, a backbone without maps, or maps of another size than the
            grid where there is no full connection.
        UnknownNameError, WeightsError: as `create_backbone`.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise RecipeError(f"{name}: num_classes should be an integer of at least 1, not {num_classes!r}")
    backbone = create_backbone(config.backbone, input_shape=(config.side, config.side, 3), weights=backbone_weights)
    image, sizes = backbone.inputs[0], keras.Input((2,), name="sizes")
    maps = {feature: x for feature, x in backbone.output.items() if len(x.shape) == 4}
    if not maps:
        raise RecipeError(
            f"{name}: expected a backbone with maps, {config.backbone} has none: take a convolutional one"
        )
    if config.feature and config.feature not in maps:
        raise UnknownNameError(f"map of {config.backbone}", config.feature, maps)

    x = maps[config.feature or list(maps)[-1]]
    for number, (channels, stride) in enumerate(config.convolutions, start=1):
        # as many zeros on each side, also where the stride is 2
        x = keras.layers.ZeroPadding2D(1, name=f"grid_conv{number}_pad")(x)
        x = keras.layers.Conv2D(channels, 3, stride, kernel_initializer="he_normal", name=f"grid_conv{number}")(x)
        x = keras.layers.LeakyReLU(0.1, name=f"grid_relu{number}")(x)

    numbers = 5 * config.boxes + num_classes
    if config.units:
        x = keras.layers.Flatten(name="grid_flat")(x)
        x = keras.layers.Dense(config.units, kernel_initializer="he_normal", name="grid_fc1")(x)
        x = keras.layers.LeakyReLU(0.1, name="grid_fc1_relu")(x)
        x = keras.layers.Dropout(config.dropout_rate, name="grid_dropout")(x)
        x = keras.layers.Dense(config.grid**2 * numbers, dtype="float32", name="grid_fc2")(x)
        answers = keras.layers.Reshape((config.grid, config.grid, numbers), dtype="float32", name="answers")(x)
    elif tuple(x.shape[1:3]) != (config.grid, config.grid):
        raise RecipeError(
            f"{name}: expected maps as large as the grid, {config.grid}x{config.grid}, where units is 0, got "
            f"{x.shape[1]}x{x.shape[2]}: change side, feature or the strides of convolutions"
        )
    else:
        answers = keras.layers.Conv2D(numbers, 1, dtype="float32", name="answers")(x)
    detections = GridDetections(
        config.boxes, config.score_threshold, config.detection_iou, config.max_detections, name="detections"
    )(answers, sizes)
    return keras.Model({"image": image, "sizes": sizes}, detections, name=name)


def prepare(config: YoloConfig, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One image as the network takes it, see the top of this file.

    Args:
        config: of the network.
        image: [H, W, 3], any size; integers 0 to 255, or floats 0 to 1.

    Returns:
        float32 [side, side, 3], and float32 [2], its height and width.
    """
    image = tf.convert_to_tensor(image)
    image = tf.cast(image, tf.float32) / (255.0 if image.dtype.is_integer else 1.0)
    if config.channel_order == "bgr":
        image = image[..., ::-1]
    image = (image - config.mean) / config.std
    image = tf.image.resize(image, (config.side, config.side), antialias=True)
    return tf.ensure_shape(image, (config.side, config.side, 3)), tf.fill([2], float(config.side))


def parts(model: keras.Model) -> DetectorParts:
    """A network of `build` in parts, see `kapps.exporting.detection_parts`: the grid, and what is read from it."""
    detections = model.get_layer("detections")
    grid = network_part("trunk", {"image": model.inputs[0]}, {"answers": model.get_layer("answers").output})

    def detect(*tensors: tf.Tensor) -> list[tf.Tensor]:
        found = detections(*tensors)
        return [found[name] for name in DETECTED]

    return DetectorParts((grid, Part("detections", ("answers", "sizes"), DETECTED, detect)), (grid,))


def grid_targets(boxes: Any, classes: Any, valid: Any, sizes: Any, grid: int) -> tuple[tf.Tensor, tf.Tensor]:
    """What each cell should say, given the true boxes.

    An object belongs to the cell that holds its centre; a cell holds its left and its top edge, not the others, and the
    image's right and bottom edge belong to the last cells.

    Args:
        boxes: [N, M, 4], `"xyxy"` in pixels; M may be 0.
        classes: int [N, M].
        valid: bool [N, M], False where the batch is only padded.
        sizes: [N, 2]: height and width of the images.
        grid: S.

    Returns:
        float32 [N, S, S, 4]: x and y of the object's centre in its cell, 0 to 1, and the roots of its width and height
        as parts of the image's; zeros where there is no object. And int32 [N, S, S]: its class, or -1.
    """
    sizes = tf.cast(sizes, tf.float32)
    height, width = sizes[:, :1], sizes[:, 1:]
    boxes = tf.cast(boxes, tf.float32) / tf.concat([width, height, width, height], axis=1)[:, None]
    # one more row, so that there is something to take where an image has nothing
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    classes = tf.pad(tf.cast(classes, tf.int32), [[0, 0], [0, 1]])
    valid = tf.pad(tf.cast(valid, tf.bool), [[0, 0], [0, 1]])

    side = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0)  # [N, M + 1, 2]: w, h
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 * grid  # in cells
    cell = tf.clip_by_value(tf.cast(tf.floor(centre), tf.int32), 0, grid - 1)  # column, row
    inside = tf.one_hot(cell[..., 1] * grid + cell[..., 0], grid**2, True, False) & valid[..., None]  # [N, M + 1, S S]
    area = tf.where(inside, tf.reduce_prod(side, axis=-1)[..., None], -1.0)
    kept, taken = tf.argmax(area, axis=1), tf.reduce_any(inside, axis=1)  # [N, S S]

    places = tf.concat([centre - tf.cast(cell, tf.float32), tf.sqrt(side)], axis=-1)
    places = tf.where(taken[..., None], tf.gather(places, kept, batch_dims=1), 0.0)
    classes = tf.where(taken, tf.gather(classes, kept, batch_dims=1), -1)
    return tf.reshape(places, [-1, grid, grid, 4]), tf.reshape(classes, [-1, grid, grid])

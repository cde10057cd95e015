"""OverFeat as a detector: a classifier and a regressor slide over the image at several scales; their boxes are merged.

Idea: applied to a larger image, a convolutional network answers for every window of it. At each place one head says
what is there, or that it is background, and another head on the same maps says where the box of each class would be.
Many windows see an object, and each gives a box for it: boxes that match are merged, and the more windows agree, the
surer the answer.

    part         what                                                                  output, for one window of 231x231
    backbone     OverFeat, fast, up to its fifth convolution                           conv5 [12, 12, 1024]
    pooled       max pooling 2x2; in an image at each of its four offsets              [6, 6, 1024]
    classifier   convolution 6x6, two of 1x1, dropout 0.5 before these                 class_map [1, 1, classes + 1]
    regressor    convolution 6x6, two of 1x1                                           boxes [1, 1, 4 classes]
    merging      class by class over all scales, see `kapps.tasks.detection.box_merging`

Windows lie as far apart as the pixels of conv5, 16 pixels of the resized image. The six scales are those of table 5:
the image's shorter side is 1.11 to 2.09 times a window's.

Preprocessing: pixels 0 to 1, minus mean, over standard deviation; resized so that the shorter side has the length of a
scale, the longer one at most four times that.

Training (`kapps.tasks.detection.overfeat_training`): first the classifier, on windows around objects and on background;
then the regressor, on objects' windows, while all else stays as it is (section 4.2).

Paper: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun: "OverFeat: integrated recognition, localization and detection
using convolutional networks", ICLR 2014: section 3.3 and figure 3 (dense evaluation), sections 4.1 and 4.2 (the
regressor), 4.3 (merging), 5 (the background class).

Deviations: the windows to learn from are cut out of the images, not all places of an image at once. The regressor says
edges as parts of the window's side, not in pixels. Instead of all places of the best k classes of a scale, those places
are merged where a class has more than a least probability, as an image may show nothing at all. The sum s that the
paper ranks by is given as s / (1 + s), so that scores are between 0 and 1, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.convolutional.overfeat import densely
from kapps.boxes.formats import clip
from kapps.create import create_backbone
from kapps.errors import RecipeError, UnknownNameError
from kapps.exporting.detection_parts import DETECTED, DetectorParts, Part, network_part
from kapps.exporting.flops import count_flops_of_call
from kapps.tasks.detection import graph_merging
from kapps.tasks.detection.box_merging import merge_boxes
from kapps.tasks.detection.overfeat_training import OverFeatTraining, map_side_and_stride
from kapps.tasks.detection.trained_detector import TrainedDetector, pixel_facts, steps_per_epoch
from kapps.training.schedules import Warmup

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset

# The longer side of a resized image, in lengths of its scale: a strip of 1x3000 pixels is not blown up without limit.
_MOST_ASPECT = 4


@dataclass(frozen=True)
class OverFeatDetectorConfig:
    """What the variants differ in.

    Attributes:
        backbone: a name of the catalogue.
        feature: the map of the backbone that is used; "" = its last one.
        view: side of a window in pixels; its map has a side of `pool` times `window`.
        pool: side of the max pooling behind the map, which is done at all of its offsets; 1 = none.
        window: side of the pooled maps that the heads see.
        margin: pixels of the map around a window that are computed with it while it is learned, and then cut off.
            Inside an image a window's map also knows what is around the window, as far as the backbone's convolutions
            see; a backbone that sees far and pads with zeros learns nothing useful from windows without a margin.
        units: of the two hidden layers of the classifier.
        box_units: of the two hidden layers of the regressor.
        dropout_rate: behind the classifier's hidden layers.
        scales: the shorter sides that an image is resized to, in windows; 1 or more.
        context: a window to learn an object from is so many times as large as the object's longer side, from and to.
        objects_per_image: windows with an object that are learned from in a step.
        backgrounds_per_image: windows without one.
        score_threshold: the least probability of a class at a place.
        merge_threshold: of two boxes, see `kapps.tasks.detection.box_merging.match_score`.
        max_windows: of a class that are merged, the surest ones.
        max_detections: of an image.
        mean: of the pixels (0 to 1), in the order of `channel_order`.
        std: likewise.
        channel_order: of the pixels that the backbone takes.
    """

    backbone: str = "overfeat_fast"
    feature: str = "conv5"
    view: int = 231
    pool: int = 2
    window: int = 6
    margin: int = 0
    units: tuple[int, int] = (3072, 4096)
    box_units: tuple[int, int] = (4096, 1024)
    dropout_rate: float = 0.5
    scales: tuple[float, ...] = (245 / 221, 281 / 221, 317 / 221, 389 / 221, 425 / 221, 461 / 221)
    context: tuple[float, float] = (1.0, 2.0)
    objects_per_image: int = 8
    backgrounds_per_image: int = 8
    score_threshold: float = 0.5
    merge_threshold: float = 0.8
    max_windows: int = 300
    max_detections: int = 100
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"


VARIANTS = {"overfeat_detector": OverFeatDetectorConfig()}


def build(
    config: OverFeatDetectorConfig,
    num_classes: int = 200,
    *,
    backbone_weights: str | Path | None = None,
    name: str = "overfeat_detector",
) -> keras.Model:
    """The network from windows to what they show.

    Args:
        config: a value of `VARIANTS`, or changed by `dataclasses.replace`.
        num_classes: without the background; ILSVRC 2013's detection task has 200.
        backbone_weights: as `create_backbone` takes them.
        name: of the model.

    Returns:
        A model from images [B, H, W, 3] to `answers` [B, h, w, num_classes + 1 + 4 num_classes], [B, 1, 1, ...] for
        images of the size of a window: the output of the layer `class_map`, scores before the softmax with the
        background last, and of the layer `boxes`, for each class left, top, right and bottom in the window, 0 to 1.

    Raises:
        RecipeError: a number of classes that cannot be meant, a scale below 1, or a view that the windows do not fit.
        UnknownNameError, WeightsError: as `create_backbone`.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise RecipeError(f"{name}: num_classes should be an integer of at least 1, not {num_classes!r}")
    if not config.scales or min(config.scales) < 1 or not 1 <= config.context[0] <= config.context[1]:
        raise RecipeError(
            f"{name}: expected scales of at least 1 and a context of at least 1 that does not fall, got "
            f"{config.scales} and {config.context}"
        )
    backbone = create_backbone(config.backbone, input_shape=(None, None, 3), weights=backbone_weights)
    maps = {feature: x for feature, x in backbone.output.items() if len(x.shape) == 4}
    if config.feature not in maps and (config.feature or not maps):
        raise UnknownNameError(f"map of {config.backbone}", config.feature, maps)
    x = maps[config.feature or list(maps)[-1]]
    side, _ = map_side_and_stride(keras.Model(backbone.inputs, x), config.view)
    if side != config.pool * config.window:
        raise RecipeError(
            f"{name}: expected a map with a side of pool * window = {config.pool * config.window} for a view of "
            f"{config.view} pixels, got {side} from {config.backbone}: change view, pool or window"
        )

    x = pooled = keras.layers.MaxPooling2D(config.pool, name="pooled")(x)  # [6, 6, 1024]
    for number, (units, kernel) in enumerate(zip(config.units, (config.window, 1), strict=True), start=1):
        x = _convolution(x, units, kernel, f"class_fc{number}")  # [1, 1, 3072], [1, 1, 4096]
        x = keras.layers.Dropout(config.dropout_rate, name=f"class_dropout{number}")(x)
    classes = keras.layers.Conv2D(num_classes + 1, 1, dtype="float32", name="class_map")(x)

    x = pooled
    for number, (units, kernel) in enumerate(zip(config.box_units, (config.window, 1), strict=True), start=1):
        x = _convolution(x, units, kernel, f"box_fc{number}")  # [1, 1, 4096], [1, 1, 1024]
    boxes = keras.layers.Conv2D(4 * num_classes, 1, dtype="float32", name="boxes")(x)
    answers = keras.layers.Concatenate(dtype="float32", name="answers")([classes, boxes])
    return keras.Model(backbone.inputs[0], answers, name=name)


def _convolution(x: keras.KerasTensor, units: int, kernel: int, name: str) -> keras.KerasTensor:
    return keras.layers.Conv2D(units, kernel, activation="relu", kernel_initializer="he_normal", name=name)(x)


def prepare(
    config: OverFeatDetectorConfig, image: tf.Tensor, scale: float | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """One image at one scale, see the top of this file.

    Args:
        config: of the network.
        image: [H, W, 3], any size; integers 0 to 255, or floats 0 to 1.
        scale: in windows; None = the largest, in which windows of all scales are cut out to learn from.

    Returns:
        float32 [H', W', 3], and float32 [2], its height and width.
    """
    image = tf.convert_to_tensor(image)
    image = tf.cast(image, tf.float32) / (255.0 if image.dtype.is_integer else 1.0)
    if config.channel_order == "bgr":
        image = image[..., ::-1]
    image = (image - config.mean) / config.std
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    wanted = config.view * (max(config.scales) if scale is None else scale)
    ratio = tf.minimum(wanted / tf.reduce_min(sides), _MOST_ASPECT * wanted / tf.reduce_max(sides))
    size = tf.maximum(tf.cast(tf.round(sides * ratio), tf.int32), 1)
    return tf.image.resize(image, size, antialias=True), tf.cast(size, tf.float32)


def window_answers(
    network: keras.Model, config: OverFeatDetectorConfig
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from one prepared image [H, W, 3] of any size to what each of its windows says.

    Returns:
        A `tf.function`. It gives float32 [h, w, classes, 4], the boxes of all classes, `"xyxy"` in pixels of the
        prepared image, and float32 [h, w, classes], their probabilities; what is left to 1 is the background's. An
        image that is smaller than a window is taken as one with zeros to the right and below.
    """
    dense = densely(network, "answers")
    stride = _stride(network, config)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.float32, name="image")])
    def answer(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _read(dense(_whole_windows(image, config, stride)[None], training=False)[0], config, stride)

    return answer


def _stride(network: keras.Model, config: OverFeatDetectorConfig) -> int:
    """Pixels from one window to the next."""
    body = keras.Model(network.input, network.get_layer("pooled").input)
    return map_side_and_stride(body, config.view)[1]


def _whole_windows(image: tf.Tensor, config: OverFeatDetectorConfig, stride: int) -> tf.Tensor:
    """An image [H, W, 3], with zeros behind where it needs them so that each offset of the pooling has a window."""
    least = config.view + (config.pool - 1) * stride
    lacking = tf.maximum(least - tf.shape(image)[:2], 0)
    return tf.pad(image, [[0, lacking[0]], [0, lacking[1]], [0, 0]])


def _read(answers: tf.Tensor, config: OverFeatDetectorConfig, stride: int) -> tuple[tf.Tensor, tf.Tensor]:
    """What the windows of one image say, [h, w, classes + 1 + 4 classes], as `window_answers` returns it."""
    height, width = tf.unstack(tf.shape(answers)[:2])
    classes = (answers.shape[-1] - 1) // 5
    scores = tf.nn.softmax(answers[..., : classes + 1])[..., :classes]
    boxes = tf.reshape(answers[..., classes + 1 :], [height, width, classes, 4]) * float(config.view)
    x, y = tf.meshgrid(tf.range(width), tf.range(height))
    corners = tf.cast(tf.stack([x, y, x, y], axis=-1) * stride, tf.float32)
    return boxes + corners[:, :, None], scores


# For export ----------------------------------------------------------------------------------------------------------


def prepare_all(network: keras.Model, config: OverFeatDetectorConfig, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """One image [H, W, 3] at all scales: `image0` [H', W', 3] and `size0` [2], its height and width without zeros
    behind, and so on; and `sizes` [2], height and width of the image itself."""
    stride, prepared = _stride(network, config), {"sizes": tf.cast(tf.shape(image)[:2], tf.float32)}
    for number, scale in enumerate(config.scales):
        scaled, prepared[f"size{number}"] = prepare(config, image, scale)
        prepared[f"image{number}"] = tf.ensure_shape(_whole_windows(scaled, config, stride), (None, None, 3))
    return prepared


def parts(config: OverFeatDetectorConfig, network: keras.Model) -> DetectorParts:
    """A network of `build` in parts, see `kapps.exporting.detection_parts`: the windows of all scales as one network,
    and what they see, merged."""
    dense, stride = densely(network, "answers"), _stride(network, config)
    numbers = range(len(config.scales))
    images = {f"image{number}": keras.Input((None, None, 3), name=f"image{number}") for number in numbers}
    answers = {f"answers{number}": dense(image) for number, image in enumerate(images.values())}

    def detect(sizes: tf.Tensor, *scales: tf.Tensor) -> tuple[tf.Tensor, ...]:
        signature = (
            tf.TensorSpec((config.max_detections, 4)),
            tf.TensorSpec((config.max_detections,)),
            tf.TensorSpec((config.max_detections,), tf.int32),
            tf.TensorSpec((), tf.int32),
        )
        return tf.map_fn(of_image, (sizes, *scales), fn_output_signature=signature)

    def of_image(image: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """`OverFeatDetector.find` from the answers of all scales on."""
        size, *scales = image
        all_boxes, all_scores = [], []
        for answers, prepared_size in zip(scales[: len(numbers)], scales[len(numbers) :], strict=True):
            boxes, scores = _read(answers, config, stride)
            ratio = size / prepared_size
            classes = scores.shape[-1]
            all_boxes.append(tf.reshape(boxes * tf.gather(ratio, [1, 0, 1, 0]), [-1, classes, 4]))
            all_scores.append(tf.reshape(scores, [-1, classes]))
        boxes, scores = clip(tf.concat(all_boxes, axis=0), size[0], size[1]), tf.concat(all_scores, axis=0)
        large = tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)
        scores = tf.where(large & (scores > config.score_threshold), scores, 0.0)

        def of_class(windows: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            boxes, scores = windows
            most = tf.minimum(config.max_windows, tf.math.count_nonzero(scores, dtype=tf.int32))
            sure, best = tf.math.top_k(scores, most)
            merged, sums = graph_merging.merge_boxes(tf.gather(boxes, best), sure, config.merge_threshold)
            behind = config.max_windows - tf.shape(sums)[0]
            merged, sums = tf.pad(merged, [[0, behind], [0, 0]]), tf.pad(sums, [[0, behind]])
            order = tf.argsort(sums, direction="DESCENDING", stable=True)
            return tf.gather(merged, order), tf.gather(sums, order)

        each = (tf.TensorSpec((config.max_windows, 4)), tf.TensorSpec((config.max_windows,)))
        by_class = (tf.transpose(boxes, [1, 0, 2]), tf.transpose(scores))
        boxes, sums = tf.map_fn(of_class, by_class, fn_output_signature=each)  # [classes, max_windows, 4], [..., ...]
        flat = tf.pad(tf.reshape(sums, [-1]), [[0, config.max_detections]])  # there may be fewer than are asked for
        sums, best = tf.math.top_k(flat, config.max_detections)
        best = tf.where(sums > 0, best, 0)
        boxes = tf.where(sums[:, None] > 0, tf.gather(tf.reshape(boxes, [-1, 4]), best), 0.0)
        found = tf.math.count_nonzero(sums, dtype=tf.int32)
        return boxes, sums / (1 + sums), best // config.max_windows, found

    scales = (*answers, *(f"size{number}" for number in numbers))
    windows = network_part("trunk", images, answers)
    return DetectorParts((windows, Part("detections", ("sizes", *scales), DETECTED, detect)))


class OverFeatDetector(TrainedDetector):
    """OverFeat on any backbone; arguments as `TrainedDetector`, the network of `build`."""

    config_class = OverFeatDetectorConfig

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        boxes, scores, classes = self._seen(image)
        # so that there is something where nothing was found
        found: dict[str, list[np.ndarray]] = {
            "boxes": [np.zeros((0, 4), np.float32)],
            "scores": [np.zeros(0, np.float32)],
            "classes": [classes[:0]],
        }
        for number in np.unique(classes):
            own = np.flatnonzero(classes == number)
            own = own[np.argsort(-scores[own], kind="stable")][: self.config.max_windows]
            merged, sums = merge_boxes(boxes[own], scores[own], self.config.merge_threshold)
            found["boxes"].append(merged)
            found["scores"].append(sums / (1 + sums))
            found["classes"].append(np.full(len(sums), number, np.int32))
        whole = {key: np.concatenate(values) for key, values in found.items()}
        best = np.argsort(-whole["scores"], kind="stable")[: self.config.max_detections]
        return {key: values[best] for key, values in whole.items()}

    def _exported(self) -> dict[str, Any]:
        config = self.config
        return {
            "prepare": partial(prepare_all, self.network, config),
            "parts": partial(parts, config),
            "preprocessing": {
                "fit": "shortest side",
                "shorter_sides": [round(config.view * scale) for scale in config.scales],
                **pixel_facts(config),
            },
            "operations": self._operations(),
            "scores": "sigmoid",
        }

    def _operations(self) -> int:
        """Float operations for one image of the usual shape, 4:3, at all scales."""
        dense, side = densely(self.network, "answers"), self.config.view
        image = tf.zeros((side, side * 4 // 3, 3), tf.uint8)
        prepared = prepare_all(self.network, self.config, image)
        shapes = [(1, *x.shape) for name, x in prepared.items() if name.startswith("image")]
        return sum(count_flops_of_call(lambda x: dense(x, training=False), tf.TensorSpec(shape)) for shape in shapes)

    def _seen(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the windows of all scales: boxes [N, 4] in pixels of the image, probabilities and classes [N]."""
        height, width = image.shape[:2]
        seen: list[tuple[np.ndarray, ...]] = []
        for scale in self.config.scales:
            prepared, size = prepare(self.config, image, scale)
            places, sure = (values.numpy() for values in self._answer(prepared))
            good = sure > self.config.score_threshold  # [h, w, classes]
            ratio = np.array([height, width], np.float32) / size.numpy()
            seen.append((places[good] * ratio[[1, 0, 1, 0]], sure[good], np.nonzero(good)[2].astype(np.int32)))
        boxes, scores, classes = map(np.concatenate, zip(*seen, strict=True))
        boxes = np.asarray(clip(boxes, height, width))
        large = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return boxes[large], scores[large], classes[large]

    @cached_property
    def _answer(self) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        return window_answers(self.network, self.config)

    def fit(
        self,
        dataset: BoxDataset,
        *,
        epochs: int = 80,
        batch_size: int = 8,
        optimizer: keras.optimizers.Optimizer | None = None,
        augment: Callable[..., Any] | None = None,
        validation: BoxDataset | None = None,
        validate_every: int = 1,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Learn from images with boxes: first what is in a window, then where its box is.

        Args:
            dataset: see `kapps.data.load_boxes`; images without boxes are welcome.
            epochs: of each of the two.
            batch_size: images a step; each gives `objects_per_image` and `backgrounds_per_image` windows.
            optimizer: copied for each of the two. None = SGD with the paper's momentum of 0.6, weight decay of 1e-5 and
                rate of 0.05 for 128 windows (section 3.2), here in proportion to the windows of a batch, which rises
                over the first epoch and falls to a half after 3/8, 5/8, 6/8 and 7/8 of the epochs (the paper: 30, 50,
                60, 70 of some 80). Gradients are cut at a norm of 10.
            augment: e.g. `kapps.data.box_augment.BoxAugment()`.
            validation: measured after every `validate_every` epochs of the regressor: `val_AP` and `val_AP50`.
            validate_every: see there.
            seed: of the order, of the windows and of `augment`.
            folder: where the run is kept, in `classes/` and `boxes/`: called again with the same folder, it goes on
                where it was. None = nowhere.
            progress: show a bar (on stderr).

        Returns:
            One row an epoch: losses, learning rate, seconds; those of the regressor count on from the classifier's.

        Raises:
            DataError: the data has other classes, or cannot be read.
            TrainingError: the loss became NaN or infinite.
        """
        self.check_classes(dataset.class_names)
        if validation is not None:
            self.check_classes(validation.class_names)
        steps = steps_per_epoch(dataset, batch_size)
        windows = batch_size * (self.config.objects_per_image + self.config.backgrounds_per_image)
        usual = optimizer or _usual_optimizer(windows, epochs, steps)
        rows: list[dict[str, float]] = []
        for stage in ("classes", "boxes"):
            learner = OverFeatTraining(self.network, self.config, learn=stage, seed=seed)
            learner.compile(optimizer=type(usual).from_config(usual.get_config()), jit_compile=False)
            some = self._learn(
                learner,
                partial(prepare, self.config),
                dataset,
                epochs=epochs,
                batch_size=batch_size,
                augment=augment,
                validation=validation if stage == "boxes" else None,
                validate_every=validate_every,
                seed=seed,
                folder=None if folder is None else Path(folder) / stage,
                progress=progress,
            )
            rows += [{**row, "epoch": row["epoch"] + len(rows)} for row in some]
        return rows


def _usual_optimizer(windows: int, epochs: int, steps: int) -> keras.optimizers.Optimizer:
    peak, total = 0.05 * windows / 128, epochs * steps
    falls = [max(number, total * eighth // 8) for number, eighth in enumerate((3, 5, 6, 7), start=1)]
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(falls, [peak / 2**number for number in range(5)])
    return keras.optimizers.SGD(Warmup(rate, steps), momentum=0.6, weight_decay=1e-5, global_clipnorm=10.0)

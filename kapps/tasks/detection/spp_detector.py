"""SPP-net's detector: the network sees the whole image once, and the regions are cut out of its last map.

Idea: two thousand overlapping pieces need not be computed two thousand times. Pooling over a spatial pyramid gives
every window of the map a vector of one length.

    part            what                                                            output, of N proposals
    proposals       selective search                                                [2000, 4]
    image           at five scales: the shorter side 480, 576, 688, 864, 1200
    maps            ZF-5 up to conv5, once a scale                                  conv5 [h, w, 256]
    pyramid         a window's maxima over grids of 6x6, 3x3, 2x2, 1x1 bins         [N, 12800]
    dense layers    fc6 and fc7, fine-tuned                                         fc7 [N, 4096]
    classes         a support vector machine each, on fc7                           [N, classes]
    boxes           a ridge regression each, on the pyramid                         [N, classes, 4]
    detections      suppression class by class                                      100 boxes

Each window is taken from the scale at which it has nearest to 224x224 pixels. Its edge x lies on the map at `floor(x /
S) + 1` on the left and `ceil(x / S) - 1` on the right, S the stride (appendix A): at the first and the last map pixel
whose receptive field has its centre inside.

Any backbone of the catalogue that takes images of all sizes takes ZF-5's place; its dense layers are used where the
pyramid's length is what they take. Without them the classes are told by the pyramid itself.

Paper: He, Zhang, Ren, Sun: "Spatial pyramid pooling in deep convolutional networks for visual recognition", ECCV 2014
and TPAMI 2015, section 4 and appendix A.

Deviations: appendix A has the first receptive field centred on the image's first pixel, which padding by half a kernel
achieves; for a network with other paddings its "proper offset" is found by looking at which image sizes the map grows.
A batch of fine-tuning comes from four images, as all their regions are computed at once. Images are not made longer
than `longer_side`. And the first two of the deviations of `kapps.tasks.detection.rcnn`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kapps.create import create_backbone
from kapps.errors import RecipeError
from kapps.layers.roi_pooling import RoIPooling
from kapps.tasks.detection.region_detector import (
    check_classes_count,
    dense_layers,
    map_stride,
    pooled_map,
    prepared,
    taken_by,
)
from kapps.tasks.detection.svm_detector import SVMConfig, SVMDetector

# Section 4.1: a window is taken from the scale at which it has nearest to so many pixels.
_PIXELS = 224 * 224

# Images are padded to a multiple of it, so that no network of the catalogue runs out of pixels on its way to the map.
_MULTIPLE = 128

# Images of a batch of fine-tuning.
_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class SPPNetConfig(SVMConfig):
    """SPP-net with any backbone; `feature` is the layer whose map is pooled.

    Attributes:
        levels: bins along each side of the pyramid's grids.
        scales: the shorter sides that images are resized to.
        longer_side: that no image is resized beyond.
        own_layers: whether the backbone's dense layers come behind the pyramid, if they fit.
    """

    backbone: str = "sppnet_zf5"
    levels: tuple[int, ...] = (6, 3, 2, 1)
    scales: tuple[int, ...] = (480, 576, 688, 864, 1200)
    longer_side: int = 2000
    own_layers: bool = True
    background_iou: float = 0.1
    regression_iou: float = 0.5


VARIANTS = {"sppnet": SPPNetConfig()}


def build(
    config: SPPNetConfig, num_classes: int, *, backbone_weights: str | Path | None = None, name: str = "sppnet"
) -> keras.Model:
    """The network from an image and windows of its map to features.

    Args:
        config: a value of `VARIANTS`, or changed by `dataclasses.replace`.
        num_classes: without the background.
        backbone_weights: as `create_backbone` takes them.
        name: of the model.

    Returns:
        A model from `{"image": [B, H, W, 3], "windows": [B, N, 4]}`, the windows in map pixels as `map_windows` gives
        them, to a dict: `features` [B, N, D]; `box_features` [B, N, E], the pyramid; and `scores` before the softmax,
        [B, N, num_classes + 1], the background last, which only fine-tuning needs.

    Raises:
        RecipeError: a number of classes, levels or scales that cannot be meant, or a backbone without such a map.
        UnknownNameError: the backbone has no such feature.
        WeightsError: as `create_backbone`.
    """
    check_classes_count(name, num_classes)
    for field in ("levels", "scales"):
        if not getattr(config, field) or min(getattr(config, field)) < 1:
            raise RecipeError(f"{name}: expected {field} of at least 1, got {getattr(config, field)}")
    backbone = create_backbone(config.backbone, input_shape=(None, None, 3), weights=backbone_weights)
    maps = pooled_map(backbone, config.feature)
    windows = keras.Input((None, 4), name="windows")
    pyramid = [
        keras.layers.Reshape((-1, size * size * maps.shape[-1]), name=f"level{place}_flat")(
            RoIPooling(1, size, name=f"level{place}")(maps, windows)
        )
        for place, size in enumerate(config.levels, start=1)
    ]
    vector = pyramid[0]
    if len(pyramid) > 1:
        vector = keras.layers.Concatenate(name="pyramid")(pyramid)
    layers = dense_layers(backbone) if config.own_layers else []
    x = vector
    if taken_by(layers) == vector.shape[-1]:
        for layer in layers:
            x = layer(x)
    features = x
    x = keras.layers.Dropout(config.dropout_rate, name="scores_dropout")(x)
    start = keras.initializers.RandomNormal(stddev=0.01)
    scores = keras.layers.Dense(num_classes + 1, kernel_initializer=start, dtype="float32", name="scores")(x)
    inputs = {"image": backbone.inputs[0], "windows": windows}
    return keras.Model(inputs, {"features": features, "box_features": vector, "scores": scores}, name=name)


def map_windows(boxes: Any, stride: float, offset: float, size: tuple[int, int]) -> np.ndarray:
    """Appendix A: the first and the last map pixel of boxes whose centres of reception lie inside them.

    Args:
        boxes: [N, 4], `"xyxy"` in pixels of the image that the map was made of.
        stride: image pixels per map pixel.
        offset: the image pixel that the first map pixel's receptive field is centred on.
        size: height and width of the map.

    Returns:
        float32 [N, 4], whole numbers, both ends included, on the map. A box without a centre inside gets the map pixel
        in the middle between the two that it lies between.
    """
    places = (np.asarray(boxes, np.float64).reshape(-1, 4) - offset) / stride
    first, last = np.floor(places[:, :2]) + 1, np.ceil(places[:, 2:]) - 1
    middle = np.floor((first + last) / 2)
    empty = first > last
    first, last = np.where(empty, middle, first), np.where(empty, middle, last)
    most = np.array(size)[::-1] - 1
    return np.concatenate([np.clip(first, 0, most), np.clip(last, 0, most)], axis=1).astype(np.float32)


class SPPDetector(SVMDetector):
    """SPP-net's detector; arguments and attributes as `SVMDetector`.

    The network is one of `build`.
    """

    config_class: ClassVar[type[SPPNetConfig]] = SPPNetConfig

    def describe(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pyramid = self._pyramid(image, boxes)
        return np.asarray(self._features(pyramid[None]))[0], pyramid

    @property
    def images_a_step(self) -> int | None:
        return _IMAGES

    def fine_tuning(self) -> tuple[keras.Model, tf.TensorSpec]:
        """The layers behind the pyramid alone: section 4.2."""
        pyramid, scores = (self.network.output[name] for name in ("box_features", "scores"))
        behind = keras.Model(pyramid, scores)
        vectors = keras.Input((pyramid.shape[-1],), name="pyramid")
        grouped = keras.layers.Reshape((1, -1))(vectors)  # of one region
        learner = keras.Model(vectors, keras.layers.Reshape((-1,))(behind(grouped)), name=self.name)
        return learner, tf.TensorSpec((None, pyramid.shape[-1]))

    def fine_tuning_input(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return self._pyramid(image, boxes)

    def _pyramid(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """float32 [N, E]: every window's vector, from the scale that fits it best."""
        config, sides = self.config, image.shape[:2]
        ratios = np.array([min(scale / min(sides), config.longer_side / max(sides)) for scale in config.scales])
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        best = np.abs(areas[:, None] * ratios**2 - _PIXELS).argmin(axis=1)
        found = np.zeros((len(boxes), self.network.output["box_features"].shape[-1]), np.float32)
        for number in np.unique(best):
            pixels, size = prepared(config, image, config.scales[number], config.longer_side, _MULTIPLE)
            maps = self._maps(pixels[None])
            own = best == number
            scaled = boxes[own] * np.tile((np.asarray(size) / sides)[::-1], 2)
            windows = map_windows(scaled, self._stride, self._offset, maps.shape[1:3])
            found[own] = np.asarray(self._pool(maps, tf.constant(windows[None])))[0]
        return found

    @cached_property
    def _parts(self) -> tuple[keras.Model, keras.Model]:
        """From the image to the map, and from the pyramid to the features."""
        image = next(each for each in self.network.inputs if each.name == "image")
        pyramid, features = (self.network.output[name] for name in ("box_features", "features"))
        # a network without dense layers has the same tensor twice
        behind = keras.Model(pyramid, keras.layers.Identity()(pyramid) if features is pyramid else features)
        return keras.Model(image, self.network.get_layer("level1").input[0]), behind

    @cached_property
    def _stride(self) -> int:
        return map_stride(self._parts[0], self._parts[0].outputs[0])

    @cached_property
    def _offset(self) -> float:
        return first_centre(self._parts[0], self._stride)

    @cached_property
    def _maps(self) -> Callable[[tf.Tensor], Any]:
        network = self._parts[0]
        spec = tf.TensorSpec((None, None, None, 3))
        return tf.function(lambda image: network(image, training=False), input_signature=[spec])

    @cached_property
    def _pool(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """From a map [1, h, w, C] and its windows [1, N, 4] to the pyramid [1, N, E]."""
        levels = [self.network.get_layer(f"level{place + 1}") for place in range(len(self.config.levels))]
        channels = self._parts[0].outputs[0].shape[-1]

        @tf.function(input_signature=[tf.TensorSpec((1, None, None, channels)), tf.TensorSpec((1, None, 4))])
        def pool(maps: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
            pooled = [tf.reshape(level(maps, windows), (1, -1, level.size**2 * channels)) for level in levels]
            return tf.concat(pooled, axis=-1)

        return pool

    @cached_property
    def _features(self) -> Callable[[tf.Tensor], Any]:
        network = self._parts[1]
        spec = tf.TensorSpec(network.inputs[0].shape)
        return tf.function(lambda pyramid: network(pyramid, training=False), input_signature=[spec])


def first_centre(maps: keras.Model, stride: int) -> float:
    """The image pixel that the first map pixel's receptive field is centred on.

    Where an image is just large enough for one map pixel more, the receptive fields' centres lie in the middle of it:
    as far from the first image pixel as from the last one.

    Args:
        maps: from an image [B, H, W, 3] of any size to its map.
        stride: image pixels per map pixel.
    """

    def rows(height: int) -> int:
        return maps.compute_output_spec(keras.KerasTensor((1, height, 16 * stride, 3))).shape[1]

    low, high = 16 * stride, 17 * stride  # the map has more rows for the second
    few = rows(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rows(middle) == few else (low, middle)
    return (high - 1 - stride * (rows(high) - 1)) / 2

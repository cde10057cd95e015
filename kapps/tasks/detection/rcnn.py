"""R-CNN: a network that can tell images apart looks at two thousand pieces of an image, one by one.

Idea: boxes that may hold something come from grouping pixels; each is warped to the network's input, and what a network
that was trained on ImageNet says about it, a support vector machine understands.

    part            what                                                            output, of N proposals
    proposals       selective search                                                [2000, 4]
    warping         each box to the input's size, with 16 pixels around it          [N, 227, 227, 3]
    network         AlexNet, fine-tuned to tell classes and background apart        pool5 [N, 9216], fc7 [N, 4096]
    classes         a support vector machine each, on fc7                           [N, classes]
    boxes           a ridge regression each, on pool5                               [N, classes, 4]
    detections      suppression class by class                                      100 boxes

Any backbone of the catalogue takes AlexNet's place. The features of one that ends with a map are its mean; boxes are
moved by the whole map.

Paper: Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies for accurate object detection and semantic
segmentation", CVPR 2014, section 2 and appendices A to C; where it gives no number, that of the authors' code.

Deviations: the targets of the box regression are not whitened, and its bias is not regularised. A detection's score is
the logistic function of its distance from the plane, which changes no order. The authors' network is AlexNet as Caffe
has it, which pools before it normalises.
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

from kapps.catalog import info
from kapps.create import create_backbone
from kapps.errors import UnknownNameError
from kapps.tasks.detection.region_detector import check_classes_count, mean_colour, normalised
from kapps.tasks.detection.svm_detector import SVMConfig, SVMDetector
from kapps.tasks.detection.warping import warp_regions

# Regions that go through the network at once; only speed and memory depend on it.
_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class RCNNConfig(SVMConfig):
    """R-CNN with any backbone.

    Attributes:
        feature: a layer of the backbone that classes are told by; "" = its last feature, which is AlexNet's fc7.
        box_feature: a layer that boxes are moved by; "" = its last feature that is a map, AlexNet's pool5.
        input_size: side of the warped regions; 0 = that of the backbone in the catalogue.
        context: pixels around the box in a warped region, p in the paper.
    """

    box_feature: str = ""
    input_size: int = 0
    context: int = 16


VARIANTS = {"rcnn": RCNNConfig()}


def build(
    config: RCNNConfig, num_classes: int, *, backbone_weights: str | Path | None = None, name: str = "rcnn"
) -> keras.Model:
    """The network from warped regions to features.

    Args:
        config: a value of `VARIANTS`, or changed by `dataclasses.replace`.
        num_classes: without the background.
        backbone_weights: as `create_backbone` takes them.
        name: of the model.

    Returns:
        A model from [N, s, s, 3], normalised, to a dict: `features` [N, D]; `box_features` [N, E]; and `scores` before
        the softmax, [N, num_classes + 1], the background last, which only fine-tuning needs.

    Raises:
        RecipeError: a number of classes that cannot be meant.
        UnknownNameError: the backbone has no such feature.
        WeightsError: as `create_backbone`.
    """
    check_classes_count(name, num_classes)
    side = config.input_size or info(config.backbone).input_shape[0]
    backbone = create_backbone(config.backbone, input_shape=(side, side, 3), weights=backbone_weights)
    layers = {layer.name: layer for layer in backbone.layers}
    maps = [feature for feature, x in backbone.output.items() if len(x.shape) == 4]
    for wanted in (config.feature, config.box_feature):
        if wanted and wanted not in layers:
            raise UnknownNameError(f"feature of {config.backbone}", wanted, backbone.output)
    features = layers[config.feature or list(backbone.output)[-1]].output
    box_features = layers[config.box_feature or maps[-1]].output
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="features_mean")(features)
    if len(box_features.shape) == 4:
        box_features = keras.layers.Flatten(name="box_features_flat")(box_features)
    x = keras.layers.Dropout(config.dropout_rate, name="scores_dropout")(features)
    start = keras.initializers.RandomNormal(stddev=0.01)
    scores = keras.layers.Dense(num_classes + 1, kernel_initializer=start, dtype="float32", name="scores")(x)
    outputs = {"features": features, "box_features": box_features, "scores": scores}
    return keras.Model(backbone.inputs[0], outputs, name=name)


class RCNN(SVMDetector):
    """R-CNN; arguments and attributes as `SVMDetector`.

    The network is one of `build`.
    """

    config_class: ClassVar[type[RCNNConfig]] = RCNNConfig

    def describe(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            self._describe(self._warped(image, boxes[first : first + _AT_ONCE]))
            for first in range(0, len(boxes), _AT_ONCE)
        ]
        features, box_features = (np.concatenate([np.asarray(part[kind]) for part in parts]) for kind in (0, 1))
        return features, box_features

    @property
    def images_a_step(self) -> int | None:
        return None  # section 2.3: over all classes and images

    def fine_tuning(self) -> tuple[keras.Model, tf.TensorSpec]:
        learner = keras.Model(self.network.inputs[0], self.network.output["scores"], name=self.name)
        return learner, tf.TensorSpec((None, *self.network.inputs[0].shape[1:]))

    def fine_tuning_input(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return np.asarray(self._warped(image, boxes))

    def _warped(self, image: np.ndarray, boxes: np.ndarray) -> tf.Tensor:
        """float32 [N, s, s, 3], as the network takes it."""
        side = self.network.inputs[0].shape[1]
        regions = warp_regions(image, boxes, side, context=self.config.context, fill=mean_colour(self.config))
        return normalised(self.config, regions)

    @cached_property
    def _describe(self) -> Callable[[tf.Tensor], Any]:
        outputs = self.network.output
        network = keras.Model(self.network.inputs[0], [outputs["features"], outputs["box_features"]])
        spec = tf.TensorSpec((None, *self.network.inputs[0].shape[1:]))
        return tf.function(lambda regions: network(regions, training=False), input_signature=[spec])

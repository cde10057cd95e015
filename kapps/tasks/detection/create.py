"""From a detector's name to a detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from kapps.catalog import detector_info
from kapps.create import override
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError, UnknownNameError, WeightsError
from kapps.tasks.detection import fast_rcnn, faster_rcnn, overfeat_detector, rcnn, spp_detector, yolo
from kapps.tasks.detection.fast_rcnn import FastRCNN
from kapps.tasks.detection.network_detector import NetworkDetector
from kapps.tasks.detection.overfeat_detector import OverFeatDetector
from kapps.tasks.detection.rcnn import RCNN
from kapps.tasks.detection.spp_detector import SPPDetector
from kapps.tasks.detection.trained_detector import TrainedDetector
from kapps.tasks.detection.yolo_detector import YoloDetector
from kapps.weights import sources
from kapps.weights.coco import coco_labels
from kapps.weights.download import Progress

# module of the catalogue's table -> the module with VARIANTS and `build`, and the detector that its networks make
_KINDS: dict[str, tuple[ModuleType, type[TrainedDetector]]] = {
    module.__name__: (module, kind)
    for module, kind in (
        (rcnn, RCNN),
        (spp_detector, SPPDetector),
        (fast_rcnn, FastRCNN),
        (faster_rcnn, NetworkDetector),
        (overfeat_detector, OverFeatDetector),
        (yolo, YoloDetector),
    )
}


def create_detector(
    name: str,
    *,
    classes: Sequence[str] | None = None,
    backbone: str | None = None,
    backbone_weights: str | Path | None = None,
    weights: str | Path | None = None,
    box_format: str = "xyxy",
    config: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainedDetector:
    """A detector: one of the R-CNN family, OverFeat or YOLO.

    Args:
        name: one of `kapps.list_detectors()`.
        classes: what it is to find, by name; None = those of the weights.
        backbone: an architecture of the catalogue in place of the detector's own.
        backbone_weights: what the backbone starts from, as `create_backbone` takes it: `"imagenet"` or a file. How
            pixels are scaled follows from them where their publisher says it; else `config` says it (`mean`, `std`,
            `channel_order`).
        weights: of a Faster R-CNN as a whole: `"coco"`, or a file of torchvision's names. Classes other than the file's
            get fresh outputs.
        box_format: of the boxes that calling the detector returns, one of Keras' names.
        config: values for fields of the detector's configuration, e.g. `{"shorter_side": 480}`.
        progress: called while weights are fetched, with (bytes so far, bytes in all or None).

    Raises:
        UnknownNameError: no detector, backbone or box format has this name; the message gives the nearest.
        RecipeError: no classes and no weights, or a config field that does not exist or has a wrong type.
        WeightsError: a file is missing, damaged or does not fit.
    """
    module, kind = _KINDS[detector_info(name).module]
    if weights is not None and module is not faster_rcnn:
        raise RecipeError(f"{name}: nobody publishes weights of all of it: give backbone_weights, or none")
    if classes is None:
        if weights != "coco":
            raise RecipeError(f"{name}: expected classes=[...], the names of what it is to find, or weights='coco'")
        classes = coco_labels()
    settings = module.VARIANTS[name]
    if backbone is not None and backbone != settings.backbone:
        if getattr(settings, "tail", "") and not {"features", "tail"} <= set(config or {}):
            raise RecipeError(
                f"{name} with {backbone} instead of {settings.backbone}: expected config={{'features': [...], 'tail': "
                f"...}}, the names of two of {backbone}'s features, see `kapps info {backbone}`"
            )
        # what it names are the other backbone's features
        own = {field.name for field in dataclasses.fields(settings)} & {"frozen", "feature", "box_feature"}
        settings = dataclasses.replace(settings, backbone=backbone, **dict.fromkeys(own, ""))
    settings = dataclasses.replace(settings, **_pixels(settings.backbone, backbone_weights))
    settings = override(settings, config or {}, name)
    network = module.build(settings, len(classes), backbone_weights=backbone_weights, name=name)
    detector = kind(name, network, settings, classes, box_format)
    if weights is not None:
        faster_rcnn.load_weights(network, weights, progress=progress)
    return detector


def load_detector(folder: str | Path) -> TrainedDetector:
    """A detector that was kept by `save` or trained by `kapps train`, of whatever kind.

    Raises:
        WeightsError: the folder holds none, or a damaged one.
    """
    name = TrainedDetector.facts(folder)["name"]
    try:
        _, kind = _KINDS[detector_info(name).module]
    except UnknownNameError as error:
        raise WeightsError(f"{folder}: {error}") from None
    return kind.load(folder)


def _pixels(backbone: str, weights: str | Path | None) -> dict[str, Any]:
    """How a backbone's published weights want pixels, as fields of a detector's configuration."""
    if weights is None or not str(weights).startswith("imagenet"):
        return {}
    steps = Preprocessing(**sources.find(backbone, str(weights)).preprocessing)
    # there: (pixel * scale - mean) / std of 0 to 255; here of 0 to 1
    factor = 255 * steps.scale
    mean, std = (tuple(each / factor for each in _three(values)) for values in (steps.mean, steps.std))
    return {"mean": mean, "std": std, "channel_order": steps.channel_order}


def _three(values: Sequence[float]) -> Sequence[float]:
    return values if len(values) == 3 else (*values,) * 3

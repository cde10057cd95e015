"""From a detector's name to a detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kapps.catalog import detector_info
from kapps.create import override
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError
from kapps.tasks.detection import faster_rcnn
from kapps.tasks.detection.network_detector import NetworkDetector
from kapps.weights import sources
from kapps.weights.coco import coco_labels
from kapps.weights.download import Progress


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
) -> NetworkDetector:
    """A detector of the R-CNN family.

    Args:
        name: one of `kapps.list_detectors()`.
        classes: what it is to find, by name; None = those of the weights.
        backbone: an architecture of the catalogue in place of the detector's own.
        backbone_weights: what the backbone starts from, as `create_backbone` takes it: `"imagenet"` or a file. How
            pixels are scaled follows from them where their publisher says it; else `config` says it (`mean`, `std`,
            `channel_order`).
        weights: of the whole detector: `"coco"`, or a file of torchvision's names. Classes other than the file's get
            fresh outputs.
        box_format: of the boxes that calling the detector returns, one of Keras' names.
        config: values for fields of the detector's configuration, e.g. `{"shorter_side": 480}`.
        progress: called while weights are fetched, with (bytes so far, bytes in all or None).

    Raises:
        UnknownNameError: no detector, backbone or box format has this name; the message gives the nearest.
        RecipeError: no classes and no weights, or a config field that does not exist or has a wrong type.
        WeightsError: a file is missing, damaged or does not fit.
    """
    detector_info(name)
    if classes is None:
        if weights != "coco":
            raise RecipeError(f"{name}: expected classes=[...], the names of what it is to find, or weights='coco'")
        classes = coco_labels()
    settings = faster_rcnn.VARIANTS[name]
    if backbone is not None and backbone != settings.backbone:
        if settings.tail and not {"features", "tail"} <= set(config or {}):
            raise RecipeError(
                f"{name} with {backbone} instead of {settings.backbone}: expected config={{'features': [...], 'tail': "
                f"...}}, the names of two of {backbone}'s features, see `kapps info {backbone}`"
            )
        # the frozen feature is one of the other backbone's
        settings = dataclasses.replace(settings, backbone=backbone, frozen="")
    settings = dataclasses.replace(settings, **_pixels(settings.backbone, backbone_weights))
    settings = override(settings, config or {}, name)
    network = faster_rcnn.build(settings, len(classes), backbone_weights=backbone_weights, name=name)
    detector = NetworkDetector(name, network, settings, classes, box_format)
    if weights is not None:
        faster_rcnn.load_weights(network, weights, progress=progress)
    return detector


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

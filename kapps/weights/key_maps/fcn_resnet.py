"""FCN on a dilated ResNet: torchvision's names."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded


def _block(match: re.Match[str]) -> str:
    stage, block, part = int(match[1]), int(match[2]) - 1, match[3]
    # its shortcut is a list of two: the convolution and the normalisation
    part = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}.get(part, part)
    return f"backbone.layer{stage}.{block}.{part}"


_HEAD = {"conv": 0, "bn": 1, "scores": 4}

KEY_MAPS = {
    "torchvision": KeyMap(
        rules=(
            (r"stem_conv", "backbone.conv1"),
            (r"stem_bn", "backbone.bn1"),
            (r"stage(\d)_block(\d+)_(conv\d|bn\d|shortcut_conv|shortcut_bn)", _block),
            (r"predictions_(conv|bn|scores)", lambda match: f"classifier.{_HEAD[match[1]]}"),
            (r"aux_(conv|bn|scores)", lambda match: f"aux_classifier.{_HEAD[match[1]]}"),
        ),
        ignored=(r"aux_classifier\..*",),
    ),
}

RECORDED = {
    ("fcn_resnet50", "torchvision"): Recorded(
        builder="fcn_resnet50",
        arguments={"num_classes": 21, "aux_loss": True, "weights_backbone": None},
        input_sizes=((96, 96), (72, 89)),
        features={f"stage{stage}": f"backbone.layer{stage}" for stage in (1, 2, 3, 4)},
        output="out",
        auxiliary={"aux": "aux"},
    ),
}

"""Faster R-CNN on a pyramid: torchvision's names, those of today and those of its published file of 2019."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Rule


def _block(match: re.Match[str]) -> str:
    stage, block, part = int(match[1]), int(match[2]) - 1, match[3]
    # its shortcut is a list of two: the convolution and the normalisation
    part = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}.get(part, part)
    return f"backbone.body.layer{stage}.{block}.{part}"


_RULES: tuple[Rule, ...] = (
    (r"stem_conv", "backbone.body.conv1"),
    (r"stem_bn", "backbone.body.bn1"),
    (r"stage(\d)_block(\d+)_(conv\d|bn\d|shortcut_conv|shortcut_bn)", _block),
    (r"rpn_scores", "rpn.head.cls_logits"),
    (r"rpn_deltas", "rpn.head.bbox_pred"),
    (r"box_(fc\d)", r"roi_heads.box_head.\1"),
    (r"box_scores", "roi_heads.box_predictor.cls_score"),
    (r"box_deltas", "roi_heads.box_predictor.bbox_pred"),
)


def _key_map(suffix: str, rpn_suffix: str) -> KeyMap:
    return KeyMap(
        rules=(
            *_RULES,
            (r"fpn_inner(\d)", lambda match: f"backbone.fpn.inner_blocks.{int(match[1]) - 2}{suffix}"),
            (r"fpn(\d)", lambda match: f"backbone.fpn.layer_blocks.{int(match[1]) - 2}{suffix}"),
            (r"rpn_conv", f"rpn.head.conv{rpn_suffix}"),
        ),
        flattened={"box_fc6": (7, 7, 256)},
        # torchvision sets it so for these weights, whose frozen normalisations were made without one
        epsilon=0.0,
        variants="faster_rcnn_resnet50_fpn",
    )


KEY_MAPS = {"torchvision": _key_map(".0", ".0.0"), "torchvision of 2019": _key_map("", "")}

# Of the box head's last layers: torchvision has the background first.
BACKGROUND_FIRST = ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")

# What the seeded weights of a few layers are multiplied by in the parity test, so that scores and deltas have the
# spread of a trained network's: regular expression of torchvision's name -> factor.
SEEDED_SCALES = {
    r"rpn\.head\.cls_logits\.weight": 0.1,
    r"rpn\.head\.bbox_pred\.weight": 0.02,
    r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.weight": 0.06,
}

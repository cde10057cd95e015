"""Xception in Keras' applications and in timm."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

# Keras gives the shortcuts no names: they are the unnamed convolutions, in order.
_SHORTCUTS = ("entry2", "entry3", "entry4", "exit13")


def _keras_shortcut(match: re.Match[str]) -> str:
    index = _SHORTCUTS.index(match[1])
    kind = "conv2d" if match[2] == "conv" else "batch_normalization"
    return f"{kind}_{index}" if index else kind


def _timm_step(match: re.Match[str]) -> str:
    """Of a block's list: [ReLU, convolution, normalisation] again and again; the first block begins without ReLU."""
    block, kind, number = int(match[1]), match[2], int(match[3])
    step = 3 * (number - 1) + (1 if kind == "sepconv" else 2) - (block == 2)
    name = f"block{block - 1}.rep.{step}"
    return f"{name}.conv1|{name}.pointwise" if kind == "sepconv" else name


def _timm_last(match: re.Match[str]) -> str:
    number = int(match[2]) + 2
    return f"conv{number}.conv1|conv{number}.pointwise" if match[1] == "sepconv" else f"bn{number}"


KEY_MAPS = {
    "keras": KeyMap(
        rules=(
            (r"(\w+)_shortcut_(conv|bn)", _keras_shortcut),
            (r"[a-z]+(\d+)_bn(\d)", lambda m: f"block{m[1]}_{'conv' if m[1] == '1' else 'sepconv'}{m[2]}_bn"),
            (r"[a-z]+(\d+)_(conv|sepconv)(\d)", r"block\1_\2\3"),
            (r"predictions", "predictions"),
        ),
        variants="xception",
    ),
    "timm": KeyMap(
        rules=(
            (r"entry1_(conv|bn)(\d)", r"\1\2"),
            (r"[a-z]+(\d+)_shortcut_(conv|bn)", lambda m: f"block{int(m[1]) - 1}.skip{m[2] * (m[2] == 'bn')}"),
            (r"exit14_(sepconv|bn)(\d)", _timm_last),
            (r"[a-z]+(\d+)_(sepconv|bn)(\d)", _timm_step),
            (r"predictions", "fc"),
        ),
        variants="xception_timm",
    ),
}

_ADDED = (*("entry2", "entry3", "entry4"), *(f"middle{number}" for number in range(5, 13)), "exit13")

KERAS = {
    "xception": (
        "Xception",
        {
            "entry1_relu2": "block1_conv2_act",
            **{name: f"add_{index}" if index else "add" for index, name in enumerate(_ADDED)},
            "exit14_relu2": "block14_sepconv2_act",
        },
    )
}

RECORDED = {
    ("xception_timm", "timm"): Recorded(
        builder="legacy_xception",
        input_sizes=((299, 299), (128, 96)),
        features={
            "entry1_relu2": "act2",
            **{name: f"block{number}" for number, name in enumerate(_ADDED, start=1)},
            "exit14_relu2": "act4",
        },
    )
}

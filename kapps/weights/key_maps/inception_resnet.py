"""Inception-ResNet v2 in Keras' applications and in timm."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

_REPEATS = {"a": 10, "b": 20, "c": 10}

# How many convolutions each branch has.
_BRANCHES = {
    "mixed_5b": (1, 2, 3, 1),
    "a": (1, 2, 3),
    "mixed_6a": (1, 3),
    "b": (1, 3),
    "mixed_7a": (2, 2, 3),
    "c": (1, 3),
}

_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")  # timm's names
_BLOCKS = {"a": "block35", "b": "block17", "c": "block8"}  # Keras' names
_LISTS = {"a": "repeat", "b": "repeat_1", "c": "repeat_2"}  # timm's names


def _modules() -> list[str]:
    """Ours, in order."""
    a, b, c = ([f"{letter}{number}" for number in range(1, count + 1)] for letter, count in _REPEATS.items())
    return ["mixed_5b", *a, "mixed_6a", *b, "mixed_7a", *c]


def _branches(module: str) -> tuple[int, ...]:
    return _BRANCHES.get(module) or _BRANCHES[module[0]]


# Keras gives the convolutions inside the modules no names: they are numbered in this order.
_ORDER = {
    name: index
    for index, name in enumerate(
        [f"stem_{number}" for number in range(1, 6)]
        + [
            f"{module}_branch{branch}_{number}"
            for module in _modules()
            for branch, count in enumerate(_branches(module), start=1)
            for number in range(1, count + 1)
        ]
    )
}


def _keras(match: re.Match[str]) -> str:
    index = _ORDER[f"{match[1]}_{match[3]}"]
    kind = "conv2d" if match[2] == "conv" else "batch_normalization"
    return f"{kind}_{index}" if index else kind


def _timm_module(module: str) -> str:
    """The last module c, without ReLU, is not in timm's list."""
    if module.startswith("mixed"):
        return module
    return "block8" if module == "c10" else f"{_LISTS[module[0]]}.{int(module[1:]) - 1}"


def _timm(match: re.Match[str]) -> str:
    module, branch, kind, number = match[1], int(match[2]), match[3], int(match[4])
    name = f"{_timm_module(module)}.branch{branch - 1}"
    if module == "mixed_5b" and branch == 4:  # the pool is first in its list
        return f"{name}.1.{kind}"
    return f"{name}.{kind}" if _branches(module)[branch - 1] == 1 else f"{name}.{number - 1}.{kind}"


KEY_MAPS = {
    "keras": KeyMap(
        rules=(
            (r"(stem|\w+_branch\d)_(conv|bn)(\d)", _keras),
            (r"([abc])(\d+)_linear", lambda m: f"{_BLOCKS[m[1]]}_{m[2]}_conv"),
            (r"last_conv1", "conv_7b"),
            (r"last_bn1", "conv_7b_bn"),
            (r"predictions", "predictions"),
        ),
        variants="inception_resnet_v2",
    ),
    "timm": KeyMap(
        rules=(
            (r"stem_(conv|bn)(\d)", lambda m: f"{_STEM[int(m[2]) - 1]}.{m[1]}"),
            (r"(\w+)_branch(\d)_(conv|bn)(\d)", _timm),
            (r"([abc]\d+)_linear", lambda m: f"{_timm_module(m[1])}.conv2d"),
            (r"last_(conv|bn)1", r"conv2d_7b.\1"),
            (r"predictions", "classif"),
        ),
        variants="inception_resnet_v2_timm",
    ),
}

KERAS = {
    "inception_resnet_v2": (
        "InceptionResNetV2",
        {
            "mixed_5b": "mixed_5b",
            **{f"a{number}": f"block35_{number}_ac" for number in (1, 5, 10)},
            "mixed_6a": "mixed_6a",
            **{f"b{number}": f"block17_{number}_ac" for number in (1, 10, 20)},
            "mixed_7a": "mixed_7a",
            **{f"c{number}": f"block8_{number}_ac" for number in (1, 9)},
            "last_relu1": "conv_7b_ac",
        },
    )
}

RECORDED = {
    ("inception_resnet_v2_timm", "timm"): Recorded(
        builder="inception_resnet_v2",
        input_sizes=((299, 299), (107, 139)),
        features={
            "stem_pool2": "maxpool_5a",
            **{name: name for name in ("mixed_5b", "mixed_6a", "mixed_7a")},
            **{name: _timm_module(name) for name in ("a1", "a5", "a10", "b1", "b10", "b20", "c1", "c9", "c10")},
            "last_relu1": "conv2d_7b",
        },
    )
}

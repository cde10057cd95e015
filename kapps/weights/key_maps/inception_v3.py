"""Inception v3 in Keras' applications, torchvision and timm."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

_STEM = {
    "stem1_conv1": "Conv2d_1a_3x3",
    "stem1_conv2": "Conv2d_2a_3x3",
    "stem1_conv3": "Conv2d_2b_3x3",
    "stem2_conv1": "Conv2d_3b_1x1",
    "stem2_conv2": "Conv2d_4a_3x3",
}

_DOUBLE = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
_SQUARE = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), _DOUBLE, ("branch_pool",))
_LINES = (
    ("branch1x1",),
    tuple(f"branch7x7_{number}" for number in range(1, 4)),
    tuple(f"branch7x7dbl_{number}" for number in range(1, 6)),
    ("branch_pool",),
)
_SPREAD = (
    ("branch1x1",),
    ("branch3x3_1", "branch3x3_2a", "branch3x3_2b"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b"),
    ("branch_pool",),
)
# torchvision's names of the convolutions in each of our branches
_MODULES = {
    **dict.fromkeys(("5b", "5c", "5d"), _SQUARE),
    "6a": (("branch3x3",), _DOUBLE),
    **dict.fromkeys(("6b", "6c", "6d", "6e"), _LINES),
    "7a": (("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{number}" for number in range(1, 5))),
    **dict.fromkeys(("7b", "7c"), _SPREAD),
}


def _ours(module: str, branch: int, theirs: str) -> str:
    """Their number within the branch is ours: `branch3x3_2a` is `conv2a`, `branch1x1` is `conv1`."""
    number = re.search(r"_(\d[ab]?)$", theirs)
    return f"mixed_{module}_branch{branch}_conv{number[1] if number else 1}"


# our convolution -> torchvision's module, in the order in which Keras makes them, too
_CONVS = _STEM | {
    _ours(module, branch, theirs): f"Mixed_{module}.{theirs}"
    for module, branches in _MODULES.items()
    for branch, convs in enumerate(branches, start=1)
    for theirs in convs
}
_ORDER = {name: index for index, name in enumerate(_CONVS)}


def _torchvision(match: re.Match[str]) -> str:
    return f"{_CONVS[f'{match[1]}_conv{match[3]}']}.{match[2]}"


def _keras(match: re.Match[str]) -> str:
    index = _ORDER[f"{match[1]}_conv{match[3]}"]
    kind = "conv2d" if match[2] == "conv" else "batch_normalization"
    return f"{kind}_{index}" if index else kind


_TORCH = KeyMap(
    rules=(
        (r"aux1_(conv|bn)([12])", lambda m: f"AuxLogits.conv{int(m[2]) - 1}.{m[1]}"),
        (r"aux1", "AuxLogits.fc"),
        (r"((?:stem|mixed).+)_(conv|bn)(\d[ab]?)", _torchvision),
        (r"predictions", "fc"),
    ),
    ignored=(r"AuxLogits\..+",),
    variants="inception_v3_torchvision",
)

KEY_MAPS = {
    "keras": KeyMap(
        rules=((r"((?:stem|mixed).+)_(conv|bn)(\d[ab]?)", _keras), (r"predictions", "predictions")),
        variants="inception_v3",
    ),
    "torchvision": _TORCH,
    "timm": _TORCH,
}

KERAS = {
    "inception_v3": (
        "InceptionV3",
        {f"mixed_{module}": f"mixed{index}" for index, module in enumerate(_MODULES)},
    )
}

RECORDED = {
    ("inception_v3_torchvision", "torchvision"): Recorded(
        builder="inception_v3",
        arguments={"init_weights": False},
        input_sizes=((299, 299), (315, 347)),
        features={
            "stem1_pool1": "maxpool1",
            "stem2_pool1": "maxpool2",
            **{f"mixed_{module}": f"Mixed_{module}" for module in _MODULES},
        },
        auxiliary={"aux1": "aux_logits"},
    ),
    ("inception_v3_torchvision", "timm"): Recorded(
        builder="inception_v3",
        input_sizes=((107, 139),),
        features={
            "stem1_pool1": "Pool1",
            "stem2_pool1": "Pool2",
            **{f"mixed_{module}": f"Mixed_{module}" for module in _MODULES},
        },
    ),
}

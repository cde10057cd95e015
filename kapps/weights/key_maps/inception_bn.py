"""Inception with batch normalisation in pretrainedmodels, which has the Caffe model's weights."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

_STEM = {("1", "1"): "conv1_7x7_s2", ("2", "1"): "conv2_3x3_reduce", ("2", "2"): "conv2_3x3"}
_SINGLE, _DOUBLE = ("3x3_reduce", "3x3"), ("double_3x3_reduce", "double_3x3_1", "double_3x3_2")
_BRANCHES = (("1x1",), _SINGLE, _DOUBLE, ("pool_proj",))
_HALVING = (_SINGLE, _DOUBLE)


def _step(match: re.Match[str]) -> str:
    module, branch, number = match[1], int(match[2]), int(match[4])
    branches = _HALVING if module in ("3c", "4e") else _BRANCHES
    return f"inception_{module}_{branches[branch - 1][number - 1]}{_suffix(match[3])}"


def _suffix(kind: str) -> str:
    return "_bn" if kind == "bn" else ""


KEY_MAPS = {
    "pretrainedmodels": KeyMap(
        rules=(
            (r"stem([12])_(conv|bn)([12])", lambda m: _STEM[m[1], m[3]] + _suffix(m[2])),
            (r"inception_(\w\w)_branch(\d)_(conv|bn)(\d)", _step),
            (r"predictions", "last_linear"),
        ),
        folded={r"(.+)_conv(\d)": r"\1_bn\2"},  # there each convolution has a bias, too
        variants="inception_bn",
    )
}

RECORDED = {
    ("inception_bn", "pretrainedmodels"): Recorded(
        builder="BNInception",
        input_sizes=((224, 224), (227, 223)),
        features={
            "stem1_pool1": "pool1_3x3_s2",
            "stem2_pool1": "pool2_3x3_s2",
            # there the modules have no name as a whole, so one branch of each
            "inception_3a_branch4_pool1": "inception_3a_pool",
            "inception_3c_branch3_pool1": "inception_3c_pool",
            "inception_4a_branch4_pool1": "inception_4a_pool",
            "inception_4c_branch4_pool1": "inception_4c_pool",
            "inception_4d_branch4_pool1": "inception_4d_pool",
            "inception_4e_branch3_pool1": "inception_4e_pool",
            "inception_5a_branch4_pool1": "inception_5a_pool",
            "inception_5b_branch4_relu1": "inception_5b_relu_pool_proj",
        },
    )
}

"""GoogLeNet in torchvision."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

_STEM = {("1", "1"): "conv1", ("2", "1"): "conv2", ("2", "2"): "conv3"}
_MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def _step(match: re.Match[str]) -> str:
    """A branch of several steps is a list; the last branch begins with a pool."""
    module, branch, kind, number = match[1], match[2], match[3], int(match[4])
    place = {"1": "", "2": f".{number - 1}", "3": f".{number - 1}", "4": ".1"}[branch]
    return f"inception{module}.branch{branch}{place}.{kind}"


KEY_MAPS = {
    "torchvision": KeyMap(
        rules=(
            (r"stem([12])_(conv|bn)([12])", lambda m: f"{_STEM[m[1], m[3]]}.{m[2]}"),
            (r"inception_(\w\w)_branch(\d)_(conv|bn)(\d)", _step),
            (r"(aux[12])_(conv|bn)1", r"\1.conv.\2"),
            (r"(aux[12])_fc1", r"\1.fc1"),
            (r"aux[12]", r"\g<0>.fc2"),
            (r"predictions", "fc"),
        ),
        flattened={"aux1_fc1": (4, 4, 128), "aux2_fc1": (4, 4, 128)},
        ignored=(r"aux[12]\..+",),
        variants="googlenet_bn",
    )
}

RECORDED = {
    ("googlenet_bn", "torchvision"): Recorded(
        builder="googlenet",
        arguments={"init_weights": False, "aux_logits": True},
        input_sizes=((224, 224), (169, 211)),
        features={
            "stem1_pool1": "maxpool1",
            "stem2_pool1": "maxpool2",
            **{f"inception_{module}": f"inception{module}" for module in _MODULES},
        },
        auxiliary={"aux1": "aux_logits1", "aux2": "aux_logits2"},
    )
}

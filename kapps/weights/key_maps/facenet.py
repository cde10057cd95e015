"""FaceNet in facenet-pytorch, which has Sandberg's weights (VGGFace2, CASIA-WebFace)."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a", "conv2d_4b")
_LISTS = {"a": "repeat_1", "b": "repeat_2", "c": "repeat_3"}
# The branches that are one convolution, not a list.
_ALONE = re.compile(r"(a\d+|b\d+|c\d+|mixed_6a)_branch1_.+")


def _module(module: str) -> str:
    """The last module c, without ReLU, is not in the list."""
    if module.startswith("mixed"):
        return module
    return "block8" if module == "c6" else f"{_LISTS[module[0]]}.{int(module[1:]) - 1}"


def _step(match: re.Match[str]) -> str:
    name = f"{_module(match[1])}.branch{int(match[2]) - 1}"
    return f"{name}.{match[3]}" if _ALONE.fullmatch(match[0]) else f"{name}.{int(match[4]) - 1}.{match[3]}"


KEY_MAPS = {
    "facenet-pytorch": KeyMap(
        rules=(
            (r"stem_(conv|bn)(\d)", lambda m: f"{_STEM[int(m[2]) - 1]}.{m[1]}"),
            (r"(\w+)_branch(\d)_(conv|bn)(\d)", _step),
            (r"([abc]\d+)_linear", lambda m: f"{_module(m[1])}.conv2d"),
            (r"embedding", "last_linear"),
            (r"embedding_bn", "last_bn"),
        ),
        ignored=(r"logits\..+",),  # the classes of the training set
    )
}

RECORDED = {
    ("facenet", "facenet-pytorch"): Recorded(
        builder="InceptionResnetV1",
        input_sizes=((160, 160), (107, 139)),
        features={
            "stem_relu6": "conv2d_4b",
            **{name: _module(name) for name in ("a1", "a5", "mixed_6a", "b1", "b10", "mixed_7a", "c1", "c5", "c6")},
            "embedding_bn": "last_bn",
        },
    )
}

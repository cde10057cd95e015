"""Inception v4 in timm."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

# our module -> its place in timm's list
_PLACES = {
    name: index
    for index, name in enumerate(
        (
            *("stem4", "stem5", "stem6"),
            *(f"a{number}" for number in range(1, 5)),
            "reduction_a",
            *(f"b{number}" for number in range(1, 8)),
            "reduction_b",
            *(f"c{number}" for number in range(1, 4)),
        ),
        start=3,
    )
}
# timm's list of a branch has the pool first
_POOL_FIRST = re.compile(r"[abc]\d_branch4")


def _step(match: re.Match[str]) -> str:
    module, branch, kind, number = match[1], int(match[2]), match[3], match[4]
    place = f"features.{_PLACES[module]}"
    if module in ("stem4", "stem6"):  # one convolution only, and it has a name
        return f"{place}.conv.{kind}"
    if module[0] == "c" and branch in (2, 3):  # with a fork, so timm has no list
        return f"{place}.branch{branch - 1}_{int(number[0]) - 1}{number[1:]}.{kind}"
    name = f"{place}.branch{branch - 1}"
    if _POOL_FIRST.match(match[0]):
        return f"{name}.1.{kind}"
    alone = branch == 1 and module != "stem5" and module != "reduction_b"
    return f"{name}.{kind}" if alone else f"{name}.{int(number) - 1}.{kind}"


KEY_MAPS = {
    "timm": KeyMap(
        rules=(
            (r"stem_(conv|bn)(\d)", lambda m: f"features.{int(m[2]) - 1}.{m[1]}"),
            (r"(\w+)_branch(\d)_(conv|bn)(\d[ab]?)", _step),
            (r"predictions", "last_linear"),
        )
    )
}

RECORDED = {
    ("inception_v4", "timm"): Recorded(
        builder="inception_v4",
        input_sizes=((299, 299), (107, 139)),
        features={"stem_relu3": "features.2", **{name: f"features.{place}" for name, place in _PLACES.items()}},
    )
}

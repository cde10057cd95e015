"""ResNet v2 under the names of keras.applications."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap

DEPTHS = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}


def _of_block(match: re.Match[str]) -> str:
    """Keras numbers the convolutions 1 to 3, and the normalisations before them: preact, 1, 2."""
    stage, block, kind, number = int(match[1]), match[2], match[3], int(match[4])
    part = f"{number}_conv" if kind == "conv" else "preact_bn" if number == 1 else f"{number - 1}_bn"
    return f"conv{stage + 1}_block{block}_{part}"


KEY_MAPS = {
    "keras": KeyMap(
        rules=(
            (r"stem", "conv1_conv"),
            (r"stage(\d)_block(\d+)_shortcut", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_0_conv"),
            (r"stage(\d)_block(\d+)_(conv|bn)(\d)", _of_block),
            (r"final_bn", "post_bn"),
            (r"predictions", "predictions"),
        ),
        epsilon=1.001e-5,
    )
}

KERAS = {
    f"resnet{depth}_v2": (
        f"ResNet{depth}V2",
        {"stem": "conv1_conv", "pool": "pool1_pool"}
        | {f"stage{stage}": f"conv{stage + 1}_block{blocks}_out" for stage, blocks in enumerate(depths, 1)}
        | {"final": "post_relu"},
    )
    for depth, depths in DEPTHS.items()
}

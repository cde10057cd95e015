"""EfficientNet-Lite under the names of efficientnet-lite-pytorch and of timm's `tf_efficientnet_lite*`."""

from __future__ import annotations

import re
from collections.abc import Callable

from kapps.weights.key_map import KeyMap, Recorded

# Blocks of stages 2 to 8. Stages 2 and 8 have no sum: their last layer, a normalisation, carries the stage's name.
DEPTHS = {
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet_lite3": (1, 3, 3, 5, 5, 6, 1),
    "efficientnet_lite4": (1, 4, 4, 6, 6, 8, 1),
}

_STEPS = ("expand", "depthwise", "project")
_TIMM_CONVS = ("conv_pw", "conv_dw", "conv_pwl")


def _original(variant: str) -> KeyMap:
    """efficientnet-lite-pytorch counts the blocks of all stages together."""
    depths = DEPTHS[variant]

    def name(stage: str, block: str, step: str, norm: str | None) -> str:
        before = sum(depths[: int(stage) - 2])
        return f"_blocks.{before + int(block) - 1}.{f'_bn{_STEPS.index(step)}' if norm else f'_{step}_conv'}"

    return KeyMap(
        rules=(
            (r"stage1_(conv|bn)", lambda match: "_conv_stem" if match[1] == "conv" else "_bn0"),
            *_block_rules(name),
            (r"stage9_(conv|bn)", lambda match: "_conv_head" if match[1] == "conv" else "_bn1"),
            (r"predictions", "_fc"),
        ),
        variants=variant,
    )


def _timm_name(stage: str, block: str, step: str, norm: str | None) -> str:
    """The block that is not expanded is of another class there, whose parts are numbered and named without a first."""
    index = _STEPS.index(step)
    if stage == "2":
        part = f"bn{index}" if norm else _TIMM_CONVS[index].rstrip("l")
    else:
        part = f"bn{index + 1}" if norm else _TIMM_CONVS[index]
    return f"blocks.{int(stage) - 2}.{int(block) - 1}.{part}"


def _block_rules(
    name: Callable[[str, str, str, str | None], str],
) -> tuple[tuple[str, Callable[[re.Match[str]], str]], ...]:
    return (
        (r"stage(\d)_block(\d+)_(expand|depthwise|project)(_bn)?", lambda m: name(m[1], m[2], m[3], m[4])),
        (r"stage([28])", lambda m: name(m[1], "1", "project", "_bn")),
    )


KEY_MAPS = {f"efficientnet-lite-pytorch:{variant}": _original(variant) for variant in DEPTHS} | {
    "timm": KeyMap(
        rules=(
            (r"stage1_(conv|bn)", lambda match: "conv_stem" if match[1] == "conv" else "bn1"),
            *_block_rules(_timm_name),
            (r"stage9_(conv|bn)", lambda match: "conv_head" if match[1] == "conv" else "bn2"),
            (r"predictions", "classifier"),
        ),
    )
}

_STAGES = [f"stage{stage}" for stage in range(2, 9)]

RECORDED = {
    ("efficientnet_lite0", "efficientnet-lite-pytorch"): Recorded(
        builder="efficientnet-lite0",
        arguments={"image_size": None},  # padding then follows the image that comes, not one of 224x224
        input_sizes=((224, 224), (107, 139)),
        # its one ReLU6 for both ends is seen when it is called last
        features={
            "stage1_bn": "_bn0",
            **{
                stage: f"_blocks.{sum(DEPTHS['efficientnet_lite0'][: index + 1]) - 1}"
                for index, stage in enumerate(_STAGES)
            },
            "stage9": "_swish",
        },
    ),
    ("efficientnet_lite0", "timm"): Recorded(
        builder="tf_efficientnet_lite0",
        input_sizes=((224, 224), (107, 139)),
        features={
            "stage1": "bn1",
            **{stage: f"blocks.{index}" for index, stage in enumerate(_STAGES)},
            "stage9": "bn2",
        },
    ),
}

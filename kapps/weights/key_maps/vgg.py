"""VGG under torchvision's names and those of keras.applications."""

from __future__ import annotations

import re

from kapps.weights.key_map import KeyMap, Recorded

# Convolutions a stage.
CONVOLUTIONS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
VARIANTS = {f"{name}{form}": counts for name, counts in CONVOLUTIONS.items() for form in ("", "_bn")}


def _positions(variant: str) -> list[list[int]]:
    """Of each stage's convolutions, and of the pooling behind them, in torchvision's `features`."""
    step = 3 if variant.endswith("_bn") else 2  # convolution, (batch normalisation,) ReLU
    positions, position = [], 0
    for count in VARIANTS[variant]:
        positions.append([position + step * number for number in range(count + 1)])
        position += step * count + 1
    return positions


def _torchvision(variant: str) -> KeyMap:
    positions = _positions(variant)

    def feature(match: re.Match[str]) -> str:
        stage, kind, number = int(match[1]), match[2], int(match[3])
        return f"features.{positions[stage - 1][number - 1] + (kind == 'bn')}"

    return KeyMap(
        rules=(
            (r"stage(\d)_(conv|bn)(\d)", feature),
            ("fc6", "classifier.0"),
            ("fc7", "classifier.3"),
            ("predictions", "classifier.6"),
        ),
        flattened={"fc6": (7, 7, 512)},
        variants=variant,
    )


KEY_MAPS = {f"torchvision:{variant}": _torchvision(variant) for variant in VARIANTS} | {
    f"keras:{variant}": KeyMap(
        rules=(
            (r"stage(\d)_conv(\d)", r"block\1_conv\2"),
            (r"fc6", "fc1"),
            (r"fc7", "fc2"),
            ("predictions", "predictions"),
        ),
        variants=variant,
    )
    for variant in ("vgg16", "vgg19")
}

KERAS = {
    variant: (variant.upper(), {f"pool{n}": f"block{n}_pool" for n in range(1, 6)} | {"fc6": "fc1", "fc7": "fc2"})
    for variant in ("vgg16", "vgg19")
}

RECORDED = {
    (variant, "torchvision"): Recorded(
        builder=variant,
        input_sizes=((224, 224), (96, 128)),
        # fc6 and fc7 are compared behind their ReLU
        features={
            f"pool{stage}": f"features.{stage_positions[-1]}"
            for stage, stage_positions in enumerate(_positions(variant), 1)
        }
        | {"fc6": "classifier.1", "fc7": "classifier.4"},
    )
    for variant in VARIANTS
}

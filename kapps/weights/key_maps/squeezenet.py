"""SqueezeNet under torchvision's names."""

from __future__ import annotations

from kapps.weights.key_map import KeyMap, Recorded

# Position of conv1 and of the fire modules in torchvision's `features`; what lies between are ReLU and pooling.
POSITIONS = {
    "squeezenet1_0": {"conv1": 0}
    | dict(zip([f"fire{n}" for n in range(2, 10)], (3, 4, 5, 7, 8, 9, 10, 12), strict=True)),
    "squeezenet1_1": {"conv1": 0}
    | dict(zip([f"fire{n}" for n in range(2, 10)], (3, 4, 6, 7, 9, 10, 11, 12), strict=True)),
}


def _key_map(variant: str) -> KeyMap:
    positions = POSITIONS[variant]
    return KeyMap(
        rules=(
            ("conv1", "features.0"),
            (r"(fire\d)_(\w+)", lambda match: f"features.{positions[match[1]]}.{match[2]}"),
            ("conv10", "classifier.1"),
        ),
        variants=variant,
    )


KEY_MAPS = {f"torchvision:{variant}": _key_map(variant) for variant in POSITIONS}

RECORDED = {
    (variant, "torchvision"): Recorded(
        builder=variant,
        input_sizes=((224, 224), (160, 192)),
        # conv1 is compared behind its ReLU
        features={name: f"features.{1 if name == 'conv1' else position}" for name, position in positions.items()},
    )
    for variant, positions in POSITIONS.items()
}

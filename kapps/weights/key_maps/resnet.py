"""ResNet under torchvision's and timm's names (they are the same), and those of keras.applications."""

from __future__ import annotations

from kapps.weights.key_map import KeyMap, Recorded

DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}

_TORCH_RULES = (
    (r"stem_conv", "conv1"),
    (r"stem_bn", "bn1"),
    (r"stage(\d)_block(\d+)_shortcut_conv", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.downsample.0"),
    (r"stage(\d)_block(\d+)_shortcut_bn", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.downsample.1"),
    (r"stage(\d)_block(\d+)_(conv|bn)(\d)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.{m[3]}{m[4]}"),
    (r"predictions", "fc"),
)

_KERAS_RULES = (
    (r"stem_(conv|bn)", r"conv1_\1"),
    (r"stage(\d)_block(\d+)_shortcut_(conv|bn)", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_0_{m[3]}"),
    (r"stage(\d)_block(\d+)_(conv|bn)(\d)", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_{m[4]}_{m[3]}"),
    (r"predictions", "predictions"),
)

KEY_MAPS = {
    f"{publisher}:{variant}": KeyMap(rules=_TORCH_RULES, variants=variant)
    for publisher in ("torchvision", "timm")
    for variant in DEPTHS
} | {
    "keras": KeyMap(
        rules=_KERAS_RULES,
        # Keras' convolutions have biases although a batch normalisation follows
        folded={r"stem_conv": "stem_bn", r"(.+_shortcut)_conv": r"\1_bn", r"(.+)_conv(\d)": r"\1_bn\2"},
        epsilon=1.001e-5,
        variants="*_v1",
    )
}

KERAS = {
    f"{variant}_v1": (
        variant.replace("resnet", "ResNet"),
        {"stem": "conv1_relu", "pool": "pool1_pool"}
        | {f"stage{stage}": f"conv{stage + 1}_block{depth}_out" for stage, depth in enumerate(DEPTHS[variant], 1)},
    )
    for variant in ("resnet50", "resnet101", "resnet152")
}

RECORDED = {
    (variant, "torchvision"): Recorded(
        builder=variant,
        input_sizes=((224, 224), (97, 128)),
        features={"stem": "relu", "pool": "maxpool"} | {f"stage{stage}": f"layer{stage}" for stage in range(1, 5)},
    )
    for variant in DEPTHS
}

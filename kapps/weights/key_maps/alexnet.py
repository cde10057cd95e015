"""AlexNet's one-tower form under torchvision's names."""

from __future__ import annotations

from kapps.weights.key_map import KeyMap, Recorded

# Position of the convolutions in torchvision's `features`; the ReLU of each is behind it.
POSITIONS = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}

KEY_MAPS = {
    "torchvision": KeyMap(
        rules=(
            (r"conv\d", lambda match: f"features.{POSITIONS[match[0]]}"),
            ("fc6", "classifier.1"),
            ("fc7", "classifier.4"),
            ("predictions", "classifier.6"),
        ),
        flattened={"fc6": (6, 6, 256)},
        variants="alexnet_tv",
    )
}

RECORDED = {
    ("alexnet_tv", "torchvision"): Recorded(
        builder="alexnet",
        input_sizes=((224, 224), (128, 160)),
        # everything is compared behind its ReLU
        features={name: f"features.{position + 1}" for name, position in POSITIONS.items()}
        | {"pool5": "features.12", "fc6": "classifier.2", "fc7": "classifier.5"},
    )
}

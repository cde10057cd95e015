"""How the names of a publisher's weights follow from the names of our layers.

The tables are plain data (standard library only), so that they can be read beside any framework.
"""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class KeyMap:
    """From our layer names to one publisher's.

    Attributes:
        rules: (regular expression that matches one of our layer names as a whole, the publisher's name for it): a
            template with groups (`r"layer\\1"`) or a function of the match. The first rule that matches counts. A
            separable convolution has two names there, joined by `|`: depthwise and pointwise.
        flattened: our dense layers that see a flattened map: `{"fc6": (7, 7, 512)}` is height, width and channels.
            Torch flattens channels first, Keras last, so the weights are permuted.
        folded: regular expressions of our bias-free convolutions whose counterpart has a bias, and the batch
            normalisation behind it (a template); the bias moves into the mean there, which at inference is exact.
        epsilon: of the publisher's batch normalisation, where it is not ours; the difference moves into the variance.
        ignored: regular expressions of names that we do not take, such as auxiliary classifiers.
        variants: shell pattern of the variants that the map is for.
    """

    rules: tuple[Rule, ...]
    flattened: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    folded: Mapping[str, str] = field(default_factory=dict)
    epsilon: float | None = None
    ignored: tuple[str, ...] = ()
    variants: str = "*"

    def source_name(self, layer: str) -> str | None:
        """The publisher's name for one of our layers; None where no rule matches."""
        for pattern, target in self.rules:
            if match := re.fullmatch(pattern, layer):
                return target(match) if callable(target) else match.expand(target)
        return None

    def folded_into(self, layer: str) -> str | None:
        """The batch normalisation that takes the publisher's bias of one of our convolutions."""
        for pattern, target in self.folded.items():
            if match := re.fullmatch(pattern, layer):
                return match.expand(target)
        return None

    def ignores(self, name: str) -> bool:
        """Whether a name of the publisher is passed over."""
        return name.endswith("num_batches_tracked") or any(re.fullmatch(pattern, name) for pattern in self.ignored)


@dataclass(frozen=True)
class Recorded:
    """A reference whose outputs are stored, and how to make it.

    Attributes:
        builder: the model's name in `torchvision.models` (or `.segmentation`), or for `timm.create_model`.
        arguments: of the builder, besides "no pretrained weights".
        input_sizes: (height, width) of each recording; the first is the default.
        channels: of the input image.
        features: our feature -> the reference's submodule whose output it is.
        output: the key of the reference's output where it gives several, e.g. `"out"`; others are `auxiliary`.
        auxiliary: our auxiliary output -> the reference's key or attribute; compared in training form.
    """

    builder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    input_sizes: tuple[tuple[int, int], ...] = ((224, 224),)
    channels: int = 3
    features: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None
    auxiliary: Mapping[str, str] = field(default_factory=dict)


def family(module: str) -> Any:
    """The key maps beside an architecture's module (`kapps.architectures.convolutional.vgg`); None if it has none."""
    name = f"kapps.weights.key_maps.{module.rpartition('.')[2]}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def key_maps(module: str, variant: str) -> dict[str, KeyMap]:
    """Publisher -> key map for one variant, as `KEY_MAPS` of its family has them.

    A publisher with several maps (for several variants) is written `{"torchvision": ..., "torchvision:bn": ...}`.
    """
    found: dict[str, KeyMap] = {}
    maps: Mapping[str, KeyMap] = getattr(family(module), "KEY_MAPS", {})
    for publisher, key_map in maps.items():
        if fnmatch.fnmatchcase(variant, key_map.variants):
            found.setdefault(publisher.partition(":")[0], key_map)
    return found

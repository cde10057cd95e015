"""The proof that an architecture is the one it names: the same weights and image give the reference's numbers.

The weights are drawn by the names of the reference's tensors (`seeded.py`) and go through the same key map and
conversion as real ones, so a wrong name, layout, stride or padding shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kapps import catalog
from kapps.errors import UnknownNameError, WeightsError
from kapps.weights.conversion import assign_tensors
from kapps.weights.keras_file import renumbered
from kapps.weights.key_map import family, key_maps
from kapps.weights.seeded import seeded_image, seeded_positions, seeded_tensor

RECORDED = Path(__file__).parent / "recorded"

# Float32 rounding grows with depth: the bars of `Parity.passed`.
_BAR, _BAR_DEEP, _DEEP = 1e-4, 1e-3, 100


@dataclass(frozen=True)
class Parity:
    """How far our outputs are from a reference's.

    Attributes:
        name: of our variant.
        reference: whose numbers, with version.
        input_shape: of the image, without the batch.
        output: largest absolute difference of the outputs, in standard deviations of the reference's.
        features: the same for each named feature that the reference has, too.
        bar: what all must stay under.
    """

    name: str
    reference: str
    input_shape: tuple[int, int, int]
    output: float
    features: Mapping[str, float]
    bar: float

    @property
    def passed(self) -> bool:
        """Whether the output and every feature are under the bar."""
        return max(self.output, *self.features.values(), 0.0) < self.bar

    def __str__(self) -> str:
        size = "x".join(map(str, self.input_shape))
        features = "".join(f", {name} {value:.1e}" for name, value in self.features.items())
        return f"{self.name} against {self.reference} at {size}: output {self.output:.1e}{features} (bar {self.bar:g})"


def publishers(name: str) -> list[str]:
    """The references that a variant can be checked against: `"keras"`, `"torchvision"`, `"timm"`."""
    tables = family(catalog.info(name).module)
    found = ["keras"] if name in getattr(tables, "KERAS", {}) else []
    return found + [publisher for variant, publisher in getattr(tables, "RECORDED", {}) if variant == name]


def recorded_sizes(name: str, publisher: str) -> tuple[tuple[int, int], ...]:
    """(height, width) of each recording of a reference, the default first."""
    return family(catalog.info(name).module).RECORDED[name, publisher].input_sizes


def against_keras(model: keras.Model, input_shape: Sequence[int] | None = None) -> Parity:
    """Compare with `keras.applications`, built here with the same seeded weights.

    Args:
        model: our variant under its own name, with its head and without the activation of the classifier; its weights
            are replaced.
        input_shape: of the reference's image; None = the model's own.

    Raises:
        UnknownNameError: Keras has no counterpart.
    """
    name = model.name
    references = getattr(family(catalog.info(name).module), "KERAS", {})
    if name not in references:
        raise UnknownNameError("counterpart in keras.applications", name, references)
    application, layers = references[name]
    shape = tuple(input_shape or model.input_shape[1:])
    classes = model.output_shape[-1]
    build = getattr(keras.applications, application)
    options = {"input_shape": shape, "classes": classes, "classifier_activation": None}
    reference = build(weights=None, include_top=True, **options)
    fresh = renumbered(layer.name for layer in reference.layers)
    places = {fresh[layer.name]: layer.name for layer in reference.layers}
    tensors = {}
    for layer in reference.layers:
        for variable in layer.weights:
            key = f"{fresh[layer.name]}/{variable.name}"
            tensors[key] = seeded_tensor(key, variable.shape, channels_last=True)
            variable.assign(tensors[key])
    assign_tensors(model, tensors, _key_map(name, "keras"), layout="keras", source="keras.applications")

    image = seeded_image((1, *shape))
    layers = {feature: places[layer] for feature, layer in layers.items()}
    expected = _outputs(reference, layers.values(), image)
    ours = _outputs(model, layers.keys(), image)
    features = {
        feature: _distance(ours[feature], expected[layer].reshape(-1), expected[layer].std())
        for feature, layer in layers.items()
    }
    output = _distance(ours[""], expected[""].reshape(-1), expected[""].std())
    return Parity(name, f"keras.applications {keras.__version__}", shape, output, features, _bar(model))


def against_recording(
    model: keras.Model, publisher: str, input_size: tuple[int, int] | None = None, *, auxiliary: bool = False
) -> Parity:
    """Compare with the stored outputs of a torch implementation.

    Args:
        model: our variant under its own name, without the activation of the classifier; its weights are replaced.
            With `auxiliary`, its outputs are a dict.
        publisher: `"torchvision"` or `"timm"`.
        input_size: (height, width) of the recording; None = the default one.
        auxiliary: compare the auxiliary classifiers, too.

    Raises:
        UnknownNameError: there is no such recording.
    """
    name = model.name
    table = getattr(family(catalog.info(name).module), "RECORDED", {})
    if (name, publisher) not in table:
        raise UnknownNameError("recording", f"{name} {publisher}", [" ".join(key) for key in table])
    spec = table[name, publisher]
    height, width = input_size or spec.input_sizes[0]
    with np.load(recording_path(name, publisher, (height, width)), allow_pickle=False) as file:
        stored = dict(file)
    tensors = {
        key: seeded_tensor(key, tuple(int(size) for size in shape.split("x") if size))
        for key, shape in zip(stored["tensors"].tolist(), stored["shapes"].tolist(), strict=True)
    }
    key_map = _key_map(name, publisher)
    partial = bool(spec.auxiliary) and not auxiliary
    assign_tensors(model, tensors, key_map, layout="torch", source=f"{publisher} {name}", partial=partial)

    # The image is drawn channels first, as the reference took it.
    image = seeded_image((1, spec.channels, height, width)).transpose(0, 2, 3, 1)
    ours = _outputs(model, spec.features.keys(), image)
    features = {
        feature: _distance_at(ours[feature], stored[f"feature/{feature}"], float(stored[f"std/{feature}"]))
        for feature in spec.features
    }
    if auxiliary:
        for output in spec.auxiliary:
            expected = stored[f"auxiliary/{output}"]
            features[output] = _distance_at(ours[output], expected, float(stored[f"std/{output}"]))
    main = ours["predictions"] if auxiliary else ours[""]
    output = _distance_at(main, stored["output"], float(stored["std"]))
    reference = str(stored["reference"])
    return Parity(name, reference, (height, width, spec.channels), output, features, _bar(model))


def recording_path(name: str, publisher: str, input_size: tuple[int, int]) -> Path:
    """Where the outputs of a reference for one input size are stored."""
    return RECORDED / f"{name}.{publisher}.{input_size[0]}x{input_size[1]}.npz"


def _key_map(name: str, publisher: str):
    maps = key_maps(catalog.info(name).module, name)
    if publisher not in maps:
        raise WeightsError(f"{name} has no key map for {publisher}: known are {', '.join(maps) or 'none'}")
    return maps[publisher]


def _outputs(model: keras.Model, names, image: np.ndarray) -> dict[str, np.ndarray]:
    """The named layers' outputs and the model's own: under its keys, or under ""."""
    layers = {name: model.get_layer(name).output for name in names}
    own = model.output if isinstance(model.output, dict) else {"": model.output}
    outputs = keras.Model(model.inputs[0], {**layers, **own})(image, training=False)
    return {name: np.asarray(value) for name, value in outputs.items()}


def _distance_at(ours: np.ndarray, expected: np.ndarray, std: float) -> float:
    """`_distance` to what a recording keeps of a tensor [B, C, H, W] or [B, C]; ours is channels last."""
    if ours.ndim == 4:
        ours = ours.transpose(0, 3, 1, 2)
    flat = ours.reshape(-1)
    positions = seeded_positions(flat.size, expected.size) if expected.size < flat.size else slice(None)
    return _distance(flat[positions], expected, std)


def _distance(ours: np.ndarray, expected: np.ndarray, std: float) -> float:
    ours = ours.reshape(-1)
    if ours.shape != expected.shape:
        return float("inf")
    return float(np.abs(ours - expected).max() / std)


def _bar(model: keras.Model) -> float:
    """By the number of layers with kernels, as the papers count them."""
    kernels = keras.layers.Conv2D, keras.layers.Dense, keras.layers.SeparableConv2D, keras.layers.DepthwiseConv2D
    depth = sum(isinstance(layer, kernels) for layer in model.layers)
    return _BAR_DEEP if depth > _DEEP else _BAR

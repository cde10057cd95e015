"""A detector in parts: networks, which any runtime can compute, and what lies between them, which TensorFlow does.

    part         of Faster R-CNN on a pyramid it takes          and gives
    trunk        image                                          map2 ... map6: backbone and pyramid
    rpn          map2 ... map6                                  rpn_scores2 ..., rpn_deltas2 ...
    proposals    rpn_scores..., rpn_deltas..., image, sizes     boxes, objectness, counts
    regions      boxes, map2 ... map5                           regions: RoI align
    box_head     regions                                        box_scores, box_deltas
    detections   box_scores, box_deltas, boxes, counts, sizes   the answer

A detector with a single network has a `trunk` and `detections` only. Every part becomes a signature of the SavedModel,
so that `kapps.engines.DetectorSteps` can take them one by one: with the networks in another runtime, or to measure
where the time goes. For other runtimes the trunk and the RPN are one network.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.engines import files_of, open_engine
from kapps.errors import RecipeError, SavedModelError
from kapps.exporting import optimise
from kapps.exporting.formats import check_formats, write_network

# What the last part gives, as `kapps.layers.detections.Detections` does: boxes are "xyxy" in pixels of the prepared
# image.
DETECTED = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")

# Rounding moves what a network gives by less than this many of its standard deviations; anything more is a fault.
_BAR = 1e-3


@dataclass(frozen=True)
class Part:
    """One part of what happens between an image and its detections.

    Attributes:
        name: of its signature, one of `kapps.engines.STEPS`.
        takes: the names of the tensors that it needs.
        gives: the names of those that it makes.
        function: from the tensors that it needs, in this order, to those that it makes, in this order.
        network: the Keras model that the function is, where it has weights, else None.
    """

    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    function: Callable[..., Sequence[tf.Tensor]]
    network: keras.Model | None = None

    def __call__(self, tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return dict(zip(self.gives, self.function(*(tensors[name] for name in self.takes)), strict=True))


@dataclass(frozen=True)
class DetectorParts:
    """A detector as a whole.

    Attributes:
        chain: the parts in their order. The first takes what the image was prepared to, the last gives `DETECTED`.
        networks: what other runtimes compute, named by `kapps.engines.NETWORKS`; each takes one tensor. () = nothing.
    """

    chain: tuple[Part, ...]
    networks: tuple[Part, ...] = ()


def network_part(name: str, takes: Mapping[str, keras.KerasTensor], gives: Mapping[str, keras.KerasTensor]) -> Part:
    """The part of a functional model between some of its tensors.

    Args:
        name: of the part.
        takes: name -> tensor that it starts from, an input of the model or one inside.
        gives: name -> tensor that it ends with.
    """
    inputs, outputs = list(takes.values()), list(gives.values())
    network = keras.Model(*(each if len(each) > 1 else each[0] for each in (inputs, outputs)), name=name)

    def function(*tensors: tf.Tensor) -> Sequence[tf.Tensor]:
        given = network(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return given if len(outputs) > 1 else [given]

    return Part(name, tuple(takes), tuple(gives), function, network)


def frozen(part: Part) -> Part:
    """The same with constants for weights; as it is where it has none."""
    if part.network is None:
        return part
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in part.network.inputs]
    constant = optimise.freeze(tf.function(part.function, autograph=False).get_concrete_function(*specs))
    shapes = [x.shape for x in part.network.outputs]

    def function(*tensors: tf.Tensor) -> Sequence[tf.Tensor]:
        given = constant(*tensors)
        for x, shape in zip(given, shapes, strict=True):
            x.set_shape(shape)  # it is lost on the way
        return given

    return dataclasses.replace(part, function=function)


def traced(chain: Iterable[Part], specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    """The name of each part -> its concrete function, which takes tensors by name and gives a dict of them.

    Args:
        chain: of `DetectorParts`.
        specs: of what the parts are given from outside, by name.
    """
    known, functions = dict(specs), {}
    for part in chain:
        # by name in the order of the alphabet, in which TensorFlow puts them itself
        signature = {name: tf.TensorSpec(known[name].shape, known[name].dtype, name) for name in sorted(part.takes)}
        functions[part.name] = tf.function(_by_name(part), autograph=False).get_concrete_function(**signature)
        known |= functions[part.name].structured_outputs
    return functions


def _by_name(part: Part) -> Callable[..., dict[str, tf.Tensor]]:
    def function(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return part(tensors)

    return function


def run(chain: Iterable[Part], tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """All tensors: the given ones and those of every part."""
    known = dict(tensors)
    for part in chain:
        known |= part(known)
    return known


def check_same(chain: Iterable[Part], tensors: Mapping[str, tf.Tensor]) -> float:
    """How far the networks of a chain are from what they should give, in standard deviations of each tensor.

    Between the networks boxes are chosen, and where two are as good but for rounding, either choice is right. So every
    network is given what it was given by the model itself.

    Args:
        chain: of the model after folding and freezing.
        tensors: what `run` gave with the chain of the model itself.

    Raises:
        SavedModelError: a network gives other numbers.
    """
    moved = max(
        optimise.distance(value, tensors[name])
        for part in chain
        if part.network is not None
        for name, value in part(tensors).items()
    )
    if not moved < _BAR:
        raise SavedModelError(
            f"the optimised detector answers otherwise (by {moved:.2g} of its networks' spread, at most {_BAR:g} may "
            "be rounding): export it without optimize"
        )
    return moved


# For other runtimes --------------------------------------------------------------------------------------------------


def check_detector_formats(formats: Sequence[str], networks: Sequence[Part], name: str) -> tuple[str, ...]:
    """The formats, each once, if the networks of the detector of this name can be written in them.

    Raises:
        RecipeError: not a list of names, a format for images of one size only, or no network to write.
        UnknownNameError, MissingExtraError: as `check_formats`.
    """
    checked = check_formats(formats)
    if "litert" in checked:
        raise RecipeError("expected the formats onnx or openvino for a detector, got litert: it takes one size only")
    if checked and not networks:
        raise RecipeError(f"{name} has no network that other runtimes could compute: leave --format out")
    return checked


def write_networks(
    networks: Sequence[Part], folder: Path, formats: Sequence[str], tensors: Mapping[str, tf.Tensor]
) -> dict[str, dict[str, Any]]:
    """Write the networks beside the SavedModel and let each runtime answer once.

    Args:
        networks: of `DetectorParts`.
        folder: of the version.
        formats: as `check_detector_formats` gives them.
        tensors: what `run` gave with the model itself: what to ask with, and what to compare with.

    Returns:
        Format -> {"networks": {name: {"file", "takes": name of a tensor, "gives": {name of a tensor: its place among
        the outputs}}}, "difference": the largest of any tensor, in its standard deviations}.

    Raises:
        SavedModelError: an exporter or a runtime cannot do a network, or the answers are not the model's.
    """
    written = {}
    for runtime in formats:
        parts, moved = {}, [0.0]
        for part in networks:
            assert part.network is not None
            file = files_of(runtime, part.name)[0]
            (taken,), (entry,) = part.takes, part.network.inputs
            signature = keras.InputSpec("float32", shape=(None, *entry.shape[1:]), name=taken)
            ask = functools.partial(_ask, runtime, folder, part.name, np.asarray(tensors[taken]))
            answers = write_network(part.network, folder / file, runtime, [signature], ask)
            gives, far = _recognised(answers, {name: np.asarray(tensors[name]) for name in part.gives})
            if not far < _BAR:
                raise SavedModelError(
                    f"{file} answers otherwise than the detector's {part.name} (by {far:.2g} of a tensor's spread, at "
                    f"most {_BAR:g} may be rounding): leave the format {runtime} out"
                )
            parts[part.name] = {"file": file, "takes": taken, "gives": gives}
            moved.append(far)
        written[runtime] = {"networks": parts, "difference": max(moved)}
    return written


def _ask(runtime: str, folder: Path, part: str, tensor: np.ndarray) -> list[np.ndarray]:
    return open_engine(runtime, folder, part=part).run([tensor])


def _recognised(answers: Sequence[np.ndarray], expected: Mapping[str, np.ndarray]) -> tuple[dict[str, int], float]:
    """The place of each output among the answers, and the largest distance of one.

    Converters need not keep the order of outputs, and OpenVINO's adds some of its own.
    """
    places: dict[str, int] = {}
    distances = []
    for name, value in expected.items():
        near = {
            place: optimise.distance(answer, value)
            for place, answer in enumerate(answers)
            if place not in places.values() and answer.shape == value.shape
        }
        if not near:
            return places, float("inf")
        places[name] = min(near, key=lambda place: near[place])
        distances.append(near[places[name]])
    return places, max(distances)

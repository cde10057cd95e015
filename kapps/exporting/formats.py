"""The network of an exported version in the formats of other runtimes, through Keras' own exporters.

Each file takes float32 [B, h, w, c], preprocessed already, for any B, and gives the model's scores, those of
`serving_tensors`: float32 [B, N], of a segmentation [B, h', w', N]. See `kapps.engines` for what runs them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from kapps.engines import RUNTIMES, is_installed, open_engine
from kapps.errors import MissingExtraError, RecipeError, SavedModelError, UnknownNameError
from kapps.exporting.optimise import distance

_Answers = TypeVar("_Answers")

# Format -> the packages that write and check it; `kapps.engines.RUNTIMES` knows its files and its extra.
_PACKAGES = {
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
}

# From so many weights on tf2onnx keeps no copies of the graph to go back to; in float32 each would hold 128 MB.
_MANY_WEIGHTS = 2**25

# Rounding moves the scores by less than this many of their standard deviations; anything more is a fault.
_BAR = 1e-3


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats, each once, if they can be written here.

    Raises:
        RecipeError: not a list of names.
        UnknownNameError: no such format.
        MissingExtraError: a package that it needs is not installed.
    """
    if isinstance(formats, str):
        raise RecipeError(f"formats should be a list of names, got {formats!r}: write ({formats!r},)")
    for name in formats:
        if name not in _PACKAGES:
            raise UnknownNameError("format", name, _PACKAGES)
        for package in _PACKAGES[name]:
            if not is_installed(package):
                raise MissingExtraError(package, name)
    return tuple(dict.fromkeys(formats))


def write_formats(
    model: keras.Model,
    folder: Path,
    formats: Sequence[str],
    *,
    activation: str,
    probes: np.ndarray,
    expected: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Write the network beside the SavedModel and let each runtime answer once.

    Args:
        model: from one image to one output.
        folder: of the version.
        formats: as `check_formats` gives them.
        activation: put behind the model; `"linear"` for none.
        probes: images float32 [B, h, w, c] to ask.
        expected: scores [B, ..., N] that the model gives for them, after the activation.

    Returns:
        Format -> {"file": name, "difference": of the answers, in standard deviations of the scores}.

    Raises:
        SavedModelError: an exporter or a runtime cannot do this network, or the answers are not the model's.
    """
    if not formats:
        return {}
    # A model of its own around the model: of fixed size, under a fixed name, float32 at both ends.
    image = keras.Input(probes.shape[1:], name="image")
    scores = keras.layers.Activation(activation, dtype="float32", name="probabilities")(model(image))
    network = keras.Model(image, scores, name=model.name)
    signature = [keras.InputSpec("float32", shape=(None, *probes.shape[1:]), name="image")]
    written = {}
    for name in formats:
        file = RUNTIMES[name].files[0]
        ask = functools.partial(_ask, name, folder, probes)
        answers = write_network(network, folder / file, name, signature, ask, inside=model)
        moved = distance(answers, expected) if answers.shape == expected.shape else float("nan")
        if not moved < _BAR:
            raise SavedModelError(
                f"{file} answers otherwise than the model (by {moved:.2g} of the scores' spread, at most {_BAR:g} may "
                f"be rounding): leave the format {name} out"
            )
        written[name] = {"file": file, "difference": moved}
    return written


def write_network(
    network: keras.Model,
    file: Path,
    name: str,
    signature: Sequence[keras.InputSpec],
    ask: Callable[[], _Answers],
    *,
    inside: keras.Model | None = None,
) -> _Answers:
    """Write one network for a runtime, and let the runtime answer.

    Args:
        network: functional.
        file: to write.
        name: of the format.
        signature: of its inputs.
        ask: opens the file and gives answers.
        inside: the model that an error is to name; None = the network.

    Returns:
        What `ask` gave.

    Raises:
        SavedModelError: the exporter or the runtime cannot do this network.
        OSError: the file cannot be written.
    """
    model = inside or network
    try:
        with _quiet(), _in_place(network) if name == "onnx" else contextlib.nullcontext():
            network.export(str(file), format=name, verbose=False, input_signature=list(signature))
        return ask()
    except OSError:
        raise
    except Exception as error:  # what a converter raises where it does not know an operation is its own affair
        reason = " ".join(str(error).split())[:200]
        raise SavedModelError(
            f"{model.name!r} cannot be written as {name}{_at_layers(model, str(error))} "
            f"({type(error).__name__}: {reason}): leave this format out"
        ) from error


def _ask(name: str, folder: Path, probes: np.ndarray) -> np.ndarray:
    return open_engine(name, folder).network(probes)


def _at_layers(model: keras.Model, message: str) -> str:
    """Which layers an exporter's message names, as parts of the paths of operations; most often it is one."""
    places = set(re.findall(r"[^/\s\"'{}]+(?=/)", message))
    layers = [layer for layer in model.layers if places & {layer.name, f"{layer.name}_1"}]
    named = ", ".join(f"{layer.name!r} ({type(layer).__name__})" for layer in layers)
    return f" because of its layer {named}" if named else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' notes: what goes wrong is an exception or shows in the answers."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _in_place(network: keras.Model) -> Iterator[None]:
    """Let tf2onnx simplify the graph of a large network in place, and write its nodes once.

    It copies the graph before each of its many steps, so that one that fails can be left out, and writes all nodes anew
    behind it, whose protocol buffers keep every former version: VGG-16 would not fit into 24 GB.
    """
    variable = "TF2ONNX_CATCH_ERRORS"
    if network.count_params() < _MANY_WEIGHTS or variable in os.environ:
        yield
        return
    from tf2onnx.graph import Graph

    update = Graph.update_proto

    def update_at_the_end(graph: Graph, *storage: Any) -> None:
        if storage:  # the last call alone says where to put large tensors, if only nowhere
            update(graph, *storage)

    os.environ[variable] = "FALSE"
    Graph.update_proto = update_at_the_end
    try:
        yield
    finally:
        Graph.update_proto = update
        del os.environ[variable]

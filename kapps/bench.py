"""How long one answer takes: the exported model from PNG bytes, its network alone, and Keras' own `predict`.

The three take turns within one run, so that whatever else the machine does falls on all of them alike; their ratios are
steadier than their times.
"""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from kapps.errors import RecipeError
from kapps.predict import Predictor, load

_ROUNDS = 20
_WARM_UP = 10


class Latency(TypedDict):
    """Milliseconds of single calls."""

    median: float
    p90: float
    p99: float
    calls: int


class Bench(TypedDict):
    """What `bench` measured.

    Attributes:
        image: what was asked, in words.
        predictor: `predictor(png_bytes)`: decoding, preprocessing, network, labels, to plain Python.
        network: the signature `serving_tensors` on the preprocessed image.
        keras_predict: `keras.Model.predict` on the preprocessed image; None if there is no Keras model to compare with.
        network_share: the network's median as a part of the predictor's.
        times_faster_than_keras: Keras' median in units of the predictor's; None like `keras_predict`.
        cpus: how many processors this process may use. machine: what kind they are.
    """

    model: str
    version: int
    image: str
    predictor: Latency
    network: Latency
    keras_predict: Latency | None
    network_share: float
    times_faster_than_keras: float | None
    cpus: int
    machine: str


def bench(
    model: Predictor | str | os.PathLike[str],
    image: bytes | None = None,
    *,
    calls: int = 1000,
    keras_calls: int = 100,
) -> Bench:
    """Measure the latency of single answers.

    Args:
        model: a predictor or the path of an exported model.
        image: an encoded image; a made-up PNG of the network's input size unless given.
        calls: of the predictor and of the network.
        keras_calls: of `keras.Model.predict`, on the `model.keras` beside the graph; 0 leaves it out.

    Raises:
        RecipeError: fewer calls than one, or a negative number.
        SavedModelError: the path holds no model that can be loaded.
        ImageError: the image cannot be decoded.
    """
    if calls < 1 or keras_calls < 0:
        raise RecipeError(f"expected at least 1 call and at least 0 of Keras, got {calls} and {keras_calls}")
    predictor = model if isinstance(model, Predictor) else load(model)
    words = "the given image"
    if image is None:
        image, words = _made_up_png(predictor)
    tensor = predictor.preprocess(image)
    keras_model = _keras_model(predictor) if keras_calls else None

    import tensorflow as tf

    constant = tf.constant(tensor)
    # Keras gives plain numbers; the network has to hand its numbers over as well to be compared.
    contenders: list[tuple[Callable[[], Any], int]] = [
        (lambda: predictor(image), calls),
        (lambda: predictor.tensor_function(image=constant)["probabilities"].numpy(), calls),
    ]
    if keras_model is not None:
        contenders.append((lambda: keras_model.predict(tensor, verbose=0), keras_calls))
    times = _take_turns(contenders)
    whole, network = _latency(times[0]), _latency(times[1])
    keras = _latency(times[2]) if keras_model is not None else None
    return {
        "model": predictor.card.name,
        "version": predictor.card.version,
        "image": words,
        "predictor": whole,
        "network": network,
        "keras_predict": keras,
        "network_share": network["median"] / whole["median"],
        "times_faster_than_keras": keras["median"] / whole["median"] if keras else None,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _take_turns(contenders: list[tuple[Callable[[], Any], int]]) -> list[list[float]]:
    """The seconds of each call, for every contender; the calls are spread over rounds in which all have their turn."""
    for function, calls in contenders:
        for _ in range(min(_WARM_UP, calls)):
            function()
    times: list[list[float]] = [[] for _ in contenders]
    for done in range(1, _ROUNDS + 1):
        for (function, calls), taken in zip(contenders, times, strict=True):
            while len(taken) < calls * done // _ROUNDS:
                begin = time.perf_counter()
                function()
                taken.append(time.perf_counter() - begin)
    return times


def _latency(seconds: list[float]) -> Latency:
    median, p90, p99 = (float(value) for value in 1000 * np.quantile(seconds, [0.5, 0.9, 0.99]))
    return {"median": median, "p90": p90, "p99": p99, "calls": len(seconds)}


def _made_up_png(predictor: Predictor) -> tuple[bytes, str]:
    """A bright bar on black: to a reader of digits, a one."""
    from PIL import Image

    height, width, channels = predictor.card.input["shape"]
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 5 : height - height // 5, width // 2 - width // 14 - 1 : width // 2 + width // 14 + 1] = 255
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 1 else np.repeat(pixels[..., np.newaxis], 3, axis=2)).save(file, format="PNG")
    return file.getvalue(), f"a made-up PNG of {width}x{height} pixels, {'grey' if channels == 1 else 'RGB'}"


def _keras_model(predictor: Predictor) -> Any:
    file = Path(predictor.path, "model.keras")
    if not file.is_file():
        return None

    from kapps.create import load_keras

    return load_keras(file)

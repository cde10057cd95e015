"""How long an answer takes: an exported model beside Keras' own `predict` (`bench`), or beside others (`compare`).

All that is measured takes turns within one run, so that whatever else the machine does falls on all alike; the ratios
are steadier than the times.
"""

from __future__ import annotations

import functools
import importlib.metadata
import io
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np

from kapps import catalog, engines
from kapps.errors import MissingExtraError, RecipeError, SavedModelError, UnknownNameError
from kapps.predict import Predictor, load
from kapps.weights.seeded import seeded_image, seeded_tensor

_ROUNDS = 20
_WARM_UP = 10

# Seconds before a call in `compare`: the threads of the one before go on spinning for a while, and have to be gone.
_PAUSE = 0.02


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
        engine: what computed the scores.
        network: that engine on the preprocessed image.
        keras_predict: `keras.Model.predict` on the preprocessed image; None if there is no Keras model to compare with.
        network_share: the network's median as a part of the predictor's.
        times_faster_than_keras: Keras' median in units of the predictor's; None like `keras_predict`.
        cpus: how many processors this process may use. machine: what kind they are.
    """

    model: str
    version: int
    image: str
    engine: str
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

    # Keras gives plain numbers; the network has to hand its numbers over as well to be compared.
    contenders: list[tuple[Callable[[], Any], int]] = [
        (lambda: predictor(image), calls),
        (lambda: predictor.predict_tensors(tensor), calls),
    ]
    if keras_model is not None:
        contenders.append((lambda: keras_model.predict(tensor, verbose=0), keras_calls))
    times = take_turns(contenders)
    whole, network = _latency(times[0]), _latency(times[1])
    keras = _latency(times[2]) if keras_model is not None else None
    return {
        "model": predictor.card.name,
        "version": predictor.card.version,
        "image": words,
        "engine": predictor.engine,
        "predictor": whole,
        "network": network,
        "keras_predict": keras,
        "network_share": network["median"] / whole["median"],
        "times_faster_than_keras": keras["median"] / whole["median"] if keras else None,
        "cpus": engines.processors(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


# `compare` -----------------------------------------------------------------------------------------------------------

OURS = "kapps"

# What `kapps bench --against` takes -> the engine of ours that is the same runtime.
AGAINST: dict[str, str | None] = {
    "keras": None,
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "litert": "litert",
    "onnxruntime-int8": "onnx-int8",
    "torchvision": None,
}

# Given a batch, what has to be called to get its scores: laying out the batch as one likes it is not timed.
_Network: TypeAlias = Callable[[np.ndarray], Callable[[], np.ndarray]]


class Row(TypedDict):
    """One contender at one batch size.

    Attributes:
        contender: `"kapps"`, the optimised export in TensorFlow, or a name of `AGAINST`.
        batch: images in one call.
        median: milliseconds a call. p25, p75: half of the calls lie between these.
        calls: how many were measured.
        ratio: the median in units of ours at the same batch size.
        difference: largest one of the scores from ours, in their standard deviations.
    """

    contender: str
    batch: int
    median: float
    p25: float
    p75: float
    calls: int
    ratio: float
    difference: float


class Comparison(TypedDict):
    """What `compare` measured.

    Attributes:
        model: name or path. weights: where they come from, in words.
        input_shape: [h, w, c] of one image; all compute in float32 but `"onnxruntime-int8"`.
        rows: ours first, at each batch size.
        fastest: batch size, as text -> the contender with the lowest median.
        threads: that each contender was given. cpus: processors that this process may use. machine: what kind they are.
        versions: package -> version.
    """

    model: str
    weights: str
    input_shape: list[int]
    rows: list[Row]
    fastest: dict[str, str]
    threads: int
    cpus: int
    machine: str
    versions: dict[str, str]


def compare(
    model: str | os.PathLike[str],
    against: Sequence[str],
    *,
    threads: int | None = None,
    calls: int = 20,
    batches: Sequence[int] = (1, 8),
) -> Comparison:
    """Measure the network of an export beside other runtimes and libraries with the same weights.

    Args:
        model: an exported model, or a name of the catalogue: it is then built with seeded weights and exported
            optimised (and for the runtimes in `against`) into a temporary folder.
        against: names of `AGAINST`. `"keras"` is the SavedModel that `keras.Model.export` writes. `"torchvision"` is
            for names of the catalogue only. An exported model has the runtimes that it was exported for. With seeded
            weights, `"onnxruntime-int8"` is calibrated on seeded images: its time counts, its scores say nothing.
        threads: for each contender; None for one a processor. TensorFlow takes them once a process.
        calls: of each contender, at each batch size.
        batches: the batch sizes.

    Raises:
        UnknownNameError: neither a path nor a name of the catalogue, or a name that is not in `AGAINST`.
        MissingExtraError: a runtime that is not installed.
        RecipeError: numbers below 1; torchvision where it has no such model; TensorFlow runs with other threads.
        SavedModelError: a model that cannot be loaded or exported, or was not exported for a runtime.
    """
    if not batches or min(batches) < 1:
        raise RecipeError(f"expected at least 1 image, got batches {list(batches)}")
    against, threads = check_contenders(against, calls, threads)
    if not os.path.exists(model):
        catalog.info(str(model))  # an unknown name is answered with the nearest
    set_tensorflow_threads(threads)

    with tempfile.TemporaryDirectory(prefix="kapps-bench-") as folder:
        ours, others = (_exported if os.path.exists(model) else _built)(str(model), against, Path(folder))
        networks: dict[str, _Network] = {OURS: _calling(ours.predict_tensors)}
        for name in against:
            engine = AGAINST[name]
            if engine is None:
                networks[name] = others[name](threads)
            else:
                networks[name] = _calling(engines.open_engine(engine, ours.path, threads).network)
        rows: list[Row] = []
        for batch in batches:
            rows += _rows(networks, batch, tuple(ours.card.input["shape"]), calls)
    return {
        "model": str(model),
        "weights": "of the export" if os.path.exists(model) else "seeded",
        "input_shape": list(ours.card.input["shape"]),
        "rows": rows,
        "fastest": {
            str(batch): min((row for row in rows if row["batch"] == batch), key=lambda row: row["median"])["contender"]
            for batch in batches
        },
        "threads": threads,
        "cpus": engines.processors(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": package_versions(against),
    }


def check_contenders(against: Sequence[str], calls: int, threads: int | None) -> tuple[list[str], int]:
    """The contenders, each once, and the threads of each; None = one a processor.

    Raises:
        RecipeError: numbers below 1.
        UnknownNameError: a name that is not in `AGAINST`.
        MissingExtraError: torchvision is not installed.
    """
    if calls < 1 or (threads is not None and threads < 1):
        raise RecipeError(f"expected at least 1 call and thread, got {calls} calls, {threads} threads")
    for name in against:
        if name not in AGAINST:
            raise UnknownNameError("contender", name, AGAINST)
    if "torchvision" in against and not engines.is_installed("torchvision"):
        raise MissingExtraError("torchvision", "torch")
    return list(dict.fromkeys(against)), threads or engines.processors()


def _rows(networks: dict[str, _Network], batch: int, shape: tuple[int, ...], calls: int) -> list[Row]:
    from kapps.exporting.optimise import distance
    from kapps.weights.seeded import seeded_image

    image = seeded_image((batch, *shape))
    functions = {name: network(image) for name, network in networks.items()}
    scores = {name: function() for name, function in functions.items()}
    times = take_turns([(function, calls) for function in functions.values()], warm_up=3, pause=_PAUSE)
    medians = [float(np.median(taken)) for taken in times]
    rows: list[Row] = []
    for name, taken, median in zip(networks, times, medians, strict=True):
        p25, p75 = (float(value) for value in 1000 * np.quantile(taken, [0.25, 0.75]))
        rows.append(
            {
                "contender": name,
                "batch": batch,
                "median": 1000 * median,
                "p25": p25,
                "p75": p75,
                "calls": calls,
                "ratio": median / medians[0],
                "difference": distance(scores[name], scores[OURS]),
            }
        )
    return rows


def _exported(
    path: str, against: Sequence[str], folder: Path
) -> tuple[Predictor, dict[str, Callable[[int], _Network]]]:
    """An exported model in TensorFlow, and what makes the contenders that are no engines of it."""
    if "torchvision" in against:
        raise RecipeError(
            f"torchvision can only be measured beside a name of the catalogue, such as resnet50, not beside {path}"
        )
    ours = load(path, engine="tensorflow")
    for name in against:
        if AGAINST[name] is not None:
            engines.choose(ours.path, AGAINST[name])  # refuses what is not there
    if "keras" not in against:
        return ours, {}
    model = _keras_model(ours)
    if model is None:
        raise SavedModelError(f"{ours.path} has no model.keras, which Keras' own export is made of: export it again")
    return ours, {"keras": functools.partial(_keras_export, _with_scores(model, ours), folder)}


def _built(name: str, against: Sequence[str], folder: Path) -> tuple[Predictor, dict[str, Callable[[int], _Network]]]:
    """The same for a name of the catalogue, with seeded weights that torchvision can have, too."""
    from kapps.exporting import quantize
    from kapps.exporting.formats import check_formats

    wanted = [engine for engine in map(AGAINST.get, against) if engine is not None]
    formats = check_formats(["onnx" if engine == quantize.ENGINE else engine for engine in wanted])
    shape = catalog.info(name).input_shape
    if len(shape) != 3:
        raise RecipeError(
            f"expected the name of a network that takes one image, got {name!r}, which takes {list(shape)}"
        )
    others: dict[str, Callable[[int], _Network]] = {}
    if "torchvision" in against:
        _torchvision_recorded(name)  # refuses what torchvision does not have, before the work
        others["torchvision"] = lambda threads: _torch_network(_torchvision_model(name)[0], threads)
    if "keras" in against:
        others["keras"] = functools.partial(_loaded_keras_export, folder)
    # In a process of its own: what an export leaves in memory, several times the weights, is gone before the measuring.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            version = pool.submit(_export_seeded, name, against, formats, folder).result()
        except BrokenProcessPool as error:
            raise RecipeError(
                f"the process that exported {name} was ended from outside, for want of memory perhaps"
            ) from error
    if quantize.ENGINE in wanted:
        source, target = (version / engines.RUNTIMES[engine].files[0] for engine in ("onnx", quantize.ENGINE))
        quantize.quantize(source, target, seeded_image((quantize.FEWEST, *shape)), shape=shape)
    return load(version, engine="tensorflow", verify=False), others


def _export_seeded(name: str, against: Sequence[str], formats: Sequence[str], folder: Path) -> Path:
    """Export a model of the catalogue with the weights that `_torchvision_model` has; by Keras, too, if it is asked."""
    from kapps.create import create_model
    from kapps.data.preprocessing import Preprocessing
    from kapps.exporting.saved_model import export
    from kapps.weights.conversion import assign_tensors
    from kapps.weights.key_map import key_maps

    model = create_model(name)
    if "torchvision" in against:
        key_map = key_maps(catalog.info(name).module, name)["torchvision"]
        assign_tensors(model, _torchvision_model(name)[1], key_map, layout="torch", source="torchvision")
    else:
        for variable in model.weights:
            variable.assign(seeded_tensor(variable.path, variable.shape, channels_last=True))
    if "keras" in against:
        model.export(str(folder / "keras"), verbose=False)
    height, width, channels = catalog.info(name).input_shape
    return export(
        model,
        folder / name,
        preprocessing=Preprocessing((height, width), channels=channels),
        labels=[]
        if catalog.info(name).task == "embedding"
        else [f"class {number}" for number in range(model.output_shape[-1])],
        optimize=True,
        formats=formats,
    )


def _calling(function: Callable[[np.ndarray], np.ndarray]) -> _Network:
    return lambda image: lambda: function(image)


def _keras_export(model: Any, folder: Path, threads: int) -> _Network:
    """What `keras.Model.export` writes, loaded again."""
    model.export(str(folder / "keras"), verbose=False)
    return _loaded_keras_export(folder, threads)


def _loaded_keras_export(folder: Path, _threads: int) -> _Network:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "keras"))
    return lambda image: lambda: loaded.serve(tf.constant(image)).numpy()


def _with_scores(model: Any, exported: Predictor) -> Any:
    """The Keras model with the activation that the export put behind it, if it did."""
    import keras

    outputs = np.asarray(model(np.zeros((1, *exported.card.input["shape"]), np.float32), training=False))
    if exported.card.scores in ("unnormalised", "embedding") or np.allclose(outputs.sum(axis=-1), 1, atol=1e-2):
        return model
    if exported.card.scores == "sigmoid" and ((outputs >= 0) & (outputs <= 1)).all():
        return model
    activation = keras.layers.Activation(exported.card.scores, dtype="float32")
    return keras.Model(model.inputs[0], activation(model.outputs[0]))


def _torchvision_recorded(name: str) -> Any:
    """How torchvision's counterpart of a model of the catalogue is made: `kapps.weights.key_map.Recorded`."""
    # Triton, torch's compiler for GPUs, and TensorFlow each bring an LLVM; both in one process crash it.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # torch takes it for not installed
    import torchvision

    from kapps.weights.key_map import family

    relatives = {
        variant: recorded
        for (variant, source), recorded in getattr(family(catalog.info(name).module), "RECORDED", {}).items()
        if source == "torchvision" and hasattr(torchvision.models, recorded.builder)
    }
    if name not in relatives:
        instead = f", or measure {', '.join(relatives)}" if relatives else ""
        raise RecipeError(f"torchvision has no classifier like {name!r}: leave it out of --against{instead}")
    return relatives[name]


def _torchvision_model(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """torchvision's counterpart of a model of the catalogue, seeded, and its tensors by torchvision's names."""
    recorded = _torchvision_recorded(name)
    import torch
    import torchvision

    reference = getattr(torchvision.models, recorded.builder)(**{"weights": None, **recorded.arguments}).eval()
    tensors = {
        key: seeded_tensor(key, tensor.shape)
        for key, tensor in reference.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    reference.load_state_dict({key: torch.from_numpy(array) for key, array in tensors.items()}, strict=False)
    return reference, tensors


def _torch_network(model: Any, threads: int) -> _Network:
    import torch

    torch.set_num_threads(threads)

    def network(image: np.ndarray) -> Callable[[], np.ndarray]:
        channels_first = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))

        def call() -> np.ndarray:
            with torch.inference_mode():
                return model(channels_first).softmax(1).numpy()

        return call

    return network


def set_tensorflow_threads(threads: int) -> None:
    """Let TensorFlow use so many threads; it takes them once a process.

    Raises:
        RecipeError: it runs with another number already.
    """
    import tensorflow as tf

    settings = tf.config.threading
    try:
        settings.set_intra_op_parallelism_threads(threads)
        settings.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # it runs already; 0 stands for one a processor
        running = settings.get_intra_op_parallelism_threads() or engines.processors()
        if running != threads:
            raise RecipeError(
                f"TensorFlow runs with {running} threads in this process already, not with {threads}: start a new one"
            ) from None


def package_versions(against: Sequence[str]) -> dict[str, str]:
    """The versions of TensorFlow and of the packages behind contenders, by the packages' names."""
    packages = {"litert": "ai-edge-litert", "onnxruntime-int8": "onnxruntime", "torchvision": "torch"}
    wanted = ["tensorflow", *(packages.get(name, name) for name in against)]
    return {package: importlib.metadata.version(package) for package in wanted}


# Measuring -----------------------------------------------------------------------------------------------------------


def take_turns(
    contenders: list[tuple[Callable[[], Any], int]], *, warm_up: int = _WARM_UP, pause: float = 0.0
) -> list[list[float]]:
    """The seconds of each call, for every contender; the calls are spread over rounds in which all have their turn."""
    for function, calls in contenders:
        for _ in range(min(warm_up, calls)):
            function()
    times: list[list[float]] = [[] for _ in contenders]
    for done in range(1, _ROUNDS + 1):
        for (function, calls), taken in zip(contenders, times, strict=True):
            while len(taken) < calls * done // _ROUNDS:
                time.sleep(pause)
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

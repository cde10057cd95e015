"""The runtimes that can compute an exported network: preprocessed images in, scores out, the same in each of them.

    engine      file of the version     runtime
    openvino    model.xml, model.bin    OpenVINO, on the processor
    onnx        model.onnx              ONNX Runtime, on the processor
    litert      model.tflite            LiteRT (TensorFlow Lite) with XNNPACK
    tensorflow  saved_model.pb          TensorFlow, always there
    onnx-int8   model.int8.onnx         ONNX Runtime in 8 bits: other answers, so only where it is asked for

In the order in which `kapps.load` prefers them; all but the last compute in float32. Which is the fastest depends on
the network and on what else the machine does: `kapps bench resnet50 --against onnxruntime,openvino,litert` measures it.

A detector has two networks with TensorFlow between them, `trunk.onnx` and `box_head.onnx` in place of `model.onnx`, or
the first alone; the formats for images of one size, LiteRT and 8 bits, it does not have. See `DetectorSteps`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kapps.errors import MissingExtraError, SavedModelError, UnknownNameError


class Engine(Protocol):
    """A network in a runtime.

    Attributes:
        name: of the runtime, a key of `RUNTIMES`.
    """

    name: str

    def network(self, image: np.ndarray) -> np.ndarray:
        """Scores float32 [B, ..., N] of preprocessed images float32 [B, h, w, c]. Thread-safe."""


class TensorFlow:
    """The signature `serving_tensors` of a loaded SavedModel, and its output that holds the scores."""

    name = "tensorflow"

    def __init__(self, function: Callable[..., Any], output: str = "probabilities"):
        import tensorflow as tf

        self._function, self._output, self._constant = function, output, tf.constant

    def network(self, image: np.ndarray) -> np.ndarray:
        return self._function(image=self._constant(image))[self._output].numpy()


class OpenVINO:
    """`model.xml` on the processor."""

    name = "openvino"

    def __init__(self, file: Path, threads: int):
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Where the processor can, it would compute in bfloat16 by itself: other answers, in the third digit.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled = openvino.Core().compile_model(file, "CPU", settings)
        self._of_this_thread = threading.local()  # a request serves one caller at a time

    def network(self, image: np.ndarray) -> np.ndarray:
        return self._request().infer([np.ascontiguousarray(image)], share_inputs=True)[0]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All outputs; they are good until this thread asks again."""
        arrays = [np.ascontiguousarray(each) for each in inputs]
        found = self._request().infer(arrays, share_inputs=True, share_outputs=True)
        return [found[place] for place in range(len(self._compiled.outputs))]

    def _request(self) -> Any:
        if not hasattr(self._of_this_thread, "request"):
            self._of_this_thread.request = self._compiled.create_infer_request()
        return self._of_this_thread.request


class Onnx:
    """`model.onnx` in ONNX Runtime, on the processor."""

    name = "onnx"

    def __init__(self, file: Path, threads: int, **settings: str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Its threads wait for the next operation by spinning; after the last one they should leave the processor.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        for setting, value in settings.items():
            options.add_session_config_entry(f"session.{setting}", value)
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]

    def network(self, image: np.ndarray) -> np.ndarray:
        return self.run([image])[0]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All outputs."""
        return self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))


class OnnxInt8(Onnx):
    """`model.int8.onnx`: weights and activations in 8 bits, as `kapps.exporting.quantize` writes them."""

    name = "onnx-int8"

    def __init__(self, file: Path, threads: int):
        # An x86 processor without VNNI adds products of uint8 and int8 in 16 bits, which overflow: other answers than
        # those that were measured. ONNX Runtime can go around that with uint8 weights, but takes twice the time then,
        # and does so with VNNI, too.
        super().__init__(file, threads, **({} if has_vnni() else {"x64quantprecision": "1"}))


class LiteRT:
    """`model.tflite`; its memory is laid out anew where the number of images changes."""

    name = "litert"

    def __init__(self, file: Path, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(file), num_threads=threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()
        self._lock = threading.Lock()  # one memory, so one caller at a time

    def network(self, image: np.ndarray) -> np.ndarray:
        with self._lock:
            if image.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, image.shape)
                self._interpreter.allocate_tensors()
                self._shape = image.shape
            self._interpreter.set_tensor(self._input, image)
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output)


@dataclass(frozen=True)
class Runtime:
    """What an engine needs.

    Attributes:
        files: that a version must hold; the first is the one that is opened.
        package: the module to import.
        extra: of kapps, which installs the package; None where it is always there.
        engine: makes an `Engine` of the file and a number of threads; None for TensorFlow's, which needs a signature.
        exact: whether its scores are the model's but for rounding. If not, it is used only where it is asked for.
    """

    files: tuple[str, ...]
    package: str
    extra: str | None = None
    engine: Callable[[Path, int], Engine] | None = None
    exact: bool = True


RUNTIMES = {
    "openvino": Runtime(("model.xml", "model.bin"), "openvino", "openvino", OpenVINO),
    "onnx": Runtime(("model.onnx",), "onnxruntime", "onnx", Onnx),
    "litert": Runtime(("model.tflite",), "ai_edge_litert", "litert", LiteRT),
    "tensorflow": Runtime(("saved_model.pb",), "tensorflow"),
    "onnx-int8": Runtime(("model.int8.onnx",), "onnxruntime", "onnx", OnnxInt8, exact=False),
}


# A detector: what happens to an image, each the name of a signature; and those that runtimes have files for.
STEPS = ("decode", "prepare", "trunk", "rpn", "proposals", "regions", "box_head", "detections")
NETWORKS = ("trunk", "box_head")


class DetectorSteps:
    """A detector step by step, in the order of `STEPS`, by the signatures of its SavedModel.

    Args:
        signatures: of the loaded SavedModel.
        networks: name of a step -> the engine that computes it, the name of what it takes, and of what it gives the
            names and the places among the outputs. A step is left out where all that it would give is there.
    """

    def __init__(
        self, signatures: Mapping[str, Any], networks: Mapping[str, tuple[Any, str, Mapping[str, int]]] | None = None
    ):
        import tensorflow as tf

        self._functions = {name: signatures[name] for name in STEPS if name in signatures}
        self._networks = networks or {}
        self._tensor = tf.convert_to_tensor

    def __call__(
        self, given: Mapping[str, Any], watch: Callable[[str, float], None] | None = None
    ) -> dict[str, np.ndarray]:
        """The answer for one image.

        Args:
            given: `{"image_bytes": encoded}` or `{"pixels": uint8 [H, W, 3]}`.
            watch: called behind each step with its name and the seconds that it took.

        Returns:
            What `kapps.exporting.detection` calls the answer, B = 1.
        """
        tensors = {name: self._tensor(value) for name, value in given.items()}
        answer = dict[str, Any]()
        for name, function in self._functions.items():
            if set(function.structured_outputs) <= set(tensors):
                continue
            started = time.perf_counter()
            if name in self._networks:
                engine, takes, gives = self._networks[name]
                outputs = engine.run([tensors[takes].numpy()])
                answer = {key: self._tensor(outputs[place]) for key, place in gives.items()}
            else:
                _, inputs = function.structured_input_signature
                answer = function(**{key: tensors[key] for key in inputs})
            tensors |= answer
            if watch is not None:
                watch(name, time.perf_counter() - started)
        return {name: value.numpy() for name, value in answer.items()}


def open_detector(
    engine: str,
    folder: Path,
    networks: Mapping[str, Mapping[str, Any]],
    signatures: Mapping[str, Any],
    threads: int | None = None,
) -> DetectorSteps:
    """A detector whose networks are in a runtime other than TensorFlow.

    Args:
        engine: what `choose` gave, not `"tensorflow"`.
        folder: of the version.
        networks: as the card says: name -> {"takes": name, "gives": {name: place}}.
        signatures: of the loaded SavedModel.
        threads: how many compute one answer; None for one a processor.

    Raises:
        SavedModelError: the runtime cannot read a file.
    """
    opened = {
        name: (open_engine(engine, folder, threads, part=name), facts["takes"], facts["gives"])
        for name, facts in networks.items()
    }
    return DetectorSteps(signatures, opened)


def choose(folder: Path, engine: str | None, parts: Sequence[str] = ("model",)) -> str:
    """The engine to use for a version.

    Args:
        folder: of the version.
        engine: a key of `RUNTIMES`; None for the first that is exact, is installed and whose files are there.
        parts: the networks that it is to compute: `"model"`, or some of `NETWORKS`.

    Raises:
        UnknownNameError: no such engine.
        MissingExtraError: it is not installed.
        SavedModelError: the version was exported without its files.
    """
    if engine is None:
        return next(
            name
            for name, runtime in RUNTIMES.items()
            if runtime.exact and is_installed(runtime.package) and not _absent(folder, name, parts)
        )
    if engine not in RUNTIMES:
        raise UnknownNameError("engine", engine, RUNTIMES)
    runtime = RUNTIMES[engine]
    if runtime.extra is not None and not is_installed(runtime.package):
        raise MissingExtraError(runtime.package, runtime.extra)
    if absent := _absent(folder, engine, parts):
        option = (f"formats=({engine!r},)", f"--format {engine}")
        in_python, in_words = option if runtime.exact else ("quantize=Quantization(...)", "--quantize")
        raise SavedModelError(
            f"{folder} has no {absent[0]}, which the engine {engine!r} needs: export it with {in_python}, "
            f"or `kapps export ... {in_words}`"
        )
    return engine


def open_engine(engine: str, folder: Path, threads: int | None = None, *, part: str = "model") -> Any:
    """A network in a runtime other than TensorFlow.

    Args:
        engine: what `choose` gave, not `"tensorflow"`.
        folder: of the version.
        threads: how many compute one answer; None for one a processor.
        part: which network, `"model"` or one of `NETWORKS`.

    Returns:
        An `Engine`; those that can compute a part of a detector also have `run`.

    Raises:
        SavedModelError: the runtime cannot read the file.
    """
    runtime, file = RUNTIMES[engine], folder / files_of(engine, part)[0]
    assert runtime.engine is not None
    try:
        return runtime.engine(file, threads or processors())
    except Exception as error:  # each runtime has exceptions of its own
        reason = " ".join(str(error).split())[:200]
        raise SavedModelError(f"{file} cannot be loaded ({reason}): export the model again") from error


def files_of(engine: str, part: str = "model") -> list[str]:
    """The files that hold a network for an engine; of TensorFlow all are in one."""
    return [part + file.removeprefix("model") if file.startswith("model.") else file for file in RUNTIMES[engine].files]


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def has_vnni() -> bool:
    """Whether this processor is known to have x86's instructions for 8-bit sums; no other system but Linux tells."""
    try:
        return re.search(r"\bavx(512)?_vnni\b", Path("/proc/cpuinfo").read_text(encoding="utf-8")) is not None
    except OSError:
        return False


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _absent(folder: Path, engine: str, parts: Sequence[str]) -> list[str]:
    return [file for part in parts for file in files_of(engine, part) if not (folder / file).is_file()]

"""The network runs where it was asked to, on the images that the graph preprocessed; what is not there is named.

The runtimes themselves are in `exporting/test_formats.py`; here a stand-in takes the place of one, so that no extra is
needed.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps import engines
from kapps.data.preprocessing import Preprocessing
from kapps.errors import MissingExtraError, SavedModelError, UnknownNameError
from kapps.exporting import integrity


class HalvedScores:
    """Gives scores that tell that they are its own: the mean of each channel, halved."""

    name = "onnx"

    def __init__(self, file, threads):
        self.opened, self.threads = file, threads
        if file.read_bytes() == b"damaged":
            raise RuntimeError("bad\nfile")

    def network(self, image):
        return image.mean(axis=(1, 2)) / 2


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """Its scores are the mean of each channel. A file `model.onnx` lies beside it."""
    image = keras.Input((6, 5, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="mean")(image), name="means")
    with pytest.MonkeyPatch.context() as patch:
        # tracing the safe decoder takes seconds, and here it does not matter
        patch.setattr("kapps.exporting.saved_model.decode_image", lambda data: tf.io.decode_png(data, channels=3))
        path = tmp_path_factory.mktemp("models") / "means"
        folder = kapps.export(
            model,
            path,
            preprocessing=Preprocessing((6, 5)),
            labels=["r", "g", "b"],
            activation="linear",
            top_k=2,
            features=["mean"],
        )
    (folder / "model.onnx").write_bytes(b"a network")
    card = json.loads((folder / "card.json").read_text())
    card["sha256"] = integrity.sha256_of_files(folder)
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def installed(monkeypatch):
    """Only TensorFlow and a stand-in for ONNX Runtime are installed."""
    runtime = dataclasses.replace(engines.RUNTIMES["onnx"], engine=HalvedScores)
    monkeypatch.setitem(engines.RUNTIMES, "onnx", runtime)
    found = {"onnxruntime", "tensorflow"}
    monkeypatch.setattr(engines, "is_installed", found.__contains__)
    return found


PHOTO = np.dstack([np.full((9, 7), value, np.uint8) for value in (51, 204, 102)])


def test_the_network_runs_in_the_engine_and_all_else_in_the_graph(version, installed):
    predictor = kapps.load(version, engine="onnx")
    assert predictor.engine == "onnx"
    assert predictor(PHOTO)["probabilities"] == pytest.approx({"r": 0.1, "g": 0.4, "b": 0.2}, rel=1e-5)
    answers = predictor([PHOTO, PHOTO[..., ::-1]])
    assert [[place["label"] for place in answer["top_k"]] for answer in answers] == [["g", "b"], ["g", "r"]]
    np.testing.assert_allclose(predictor.predict_tensors(predictor.preprocess(PHOTO)), [[0.1, 0.4, 0.2]], rtol=1e-5)
    np.testing.assert_allclose(predictor.features(PHOTO)["mean"], [[0.2, 0.8, 0.4]], rtol=1e-5)
    tensor = tf.constant(predictor.preprocess(PHOTO))
    np.testing.assert_allclose(predictor.tensor_function(image=tensor)["probabilities"], [[0.2, 0.8, 0.4]], rtol=1e-5)


def test_tensorflow_can_always_be_asked_for(version, installed):
    predictor = kapps.load(version, engine="tensorflow")
    assert predictor.engine == "tensorflow"
    assert predictor(PHOTO)["probabilities"] == pytest.approx({"r": 0.2, "g": 0.8, "b": 0.4}, rel=1e-5)


def test_the_default_is_the_first_that_is_installed_and_exported(version, installed):
    assert engines.choose(version, None) == "onnx"
    assert kapps.load(version).engine == "onnx"
    installed.remove("onnxruntime")
    installed |= {"openvino", "ai_edge_litert"}  # for which there is no file
    assert engines.choose(version, None) == "tensorflow"


def test_the_8_bit_network_is_used_only_where_it_is_asked_for(version, installed, monkeypatch):
    with pytest.raises(
        SavedModelError, match=r"no model.int8.onnx, .* with quantize=Quant.*, or `kapps .* --quantize`"
    ):
        engines.choose(version, "onnx-int8")
    monkeypatch.setattr(engines, "_absent", lambda folder, engine, parts: [] if engine == "onnx-int8" else ["a file"])
    assert engines.choose(version, "onnx-int8") == "onnx-int8"
    with pytest.raises(StopIteration):  # not even where it is the only one
        engines.choose(version, None)
    installed.remove("onnxruntime")
    with pytest.raises(MissingExtraError, match=r"pip install 'kapps\[onnx\]'"):
        engines.choose(version, "onnx-int8")


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("flags : avx2 avx512_vnni", {"session.force_spinning_stop": "1"}),
        ("flags : avx2 avx_vnni fma", {"session.force_spinning_stop": "1"}),
        ("flags : avx2 avx512f", {"session.force_spinning_stop": "1", "session.x64quantprecision": "1"}),
        (None, {"session.force_spinning_stop": "1", "session.x64quantprecision": "1"}),
    ],
)
def test_8_bit_sums_must_not_overflow(flags, settings, monkeypatch, tmp_path):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    real = pathlib.Path
    monkeypatch.setattr(engines, "Path", lambda name: tmp_path / "cpuinfo" if name == "/proc/cpuinfo" else real(name))
    given = {}
    options = SimpleNamespace(add_session_config_entry=given.__setitem__)
    session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="image")])
    runtime = SimpleNamespace(SessionOptions=lambda: options, InferenceSession=lambda *_, **__: session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    engines.OnnxInt8(tmp_path / "model.int8.onnx", 2)
    assert given == settings
    assert options.intra_op_num_threads == 2


def test_what_is_not_there_is_named(version, installed):
    with pytest.raises(UnknownNameError, match="no engine is named 'openvin': did you mean 'openvino'"):
        kapps.load(version, engine="openvin")
    with pytest.raises(MissingExtraError, match=r"openvino is needed .* pip install 'kapps\[openvino\]'"):
        kapps.load(version, engine="openvino")
    installed.add("openvino")
    message = (
        "has no model.xml, which the engine 'openvino' needs: export it with .* `kapps export ... --format openvino`"
    )
    with pytest.raises(SavedModelError, match=message):
        kapps.load(version, engine="openvino")


def test_a_file_that_the_runtime_cannot_read_is_told_in_one_line(tmp_path, installed):
    (tmp_path / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(SavedModelError, match=r"model.onnx cannot be loaded \(bad file\): export the model again"):
        engines.open_engine("onnx", tmp_path)


def test_threads_are_as_many_as_said(version, installed):
    assert engines.open_engine("onnx", version, threads=3).threads == 3
    assert engines.open_engine("onnx", version).threads == engines.processors() >= 1


def test_a_detector_has_a_file_for_each_network(tmp_path, installed):
    assert engines.files_of("openvino", "trunk") == ["trunk.xml", "trunk.bin"]
    assert engines.files_of("tensorflow", "trunk") == ["saved_model.pb"]
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "trunk.onnx").touch()
    assert engines.choose(tmp_path, None, ["trunk"]) == "onnx"
    assert engines.choose(tmp_path, None, engines.NETWORKS) == "tensorflow"
    with pytest.raises(SavedModelError, match=r"has no box_head.onnx, which the engine 'onnx' needs"):
        engines.choose(tmp_path, "onnx", engines.NETWORKS)


class Signature:
    """Stands for a signature: names of what it takes, and what it gives."""

    def __init__(self, function, takes, gives):
        self.function, self.structured_outputs = function, dict.fromkeys(gives)
        self.structured_input_signature = ((), dict.fromkeys(takes))

    def __call__(self, **tensors):
        assert set(tensors) == set(self.structured_input_signature[1])
        return self.function(**tensors)


class Doubling:
    """An engine with two outputs that nobody asked for around the right one, which is twice the image."""

    def run(self, inputs):
        return [np.float32(0), 2 * inputs[0], np.float32(1)]


def test_a_detector_step_by_step():
    signatures = {
        "detections": Signature(lambda scores, image: {"answer": scores + image}, ["scores", "image"], ["answer"]),
        "rpn": Signature(lambda map: {"scores": -map}, ["map"], ["scores"]),
        "trunk": Signature(lambda image: {"map": image + 1}, ["image"], ["map"]),
        "prepare": Signature(lambda pixels: {"image": pixels / 2}, ["pixels"], ["image"]),
        "decode": Signature(
            lambda image_bytes: {"pixels": tf.strings.to_number(image_bytes)}, ["image_bytes"], ["pixels"]
        ),
        "serving_default": None,
    }
    seen = []
    steps = engines.DetectorSteps(signatures)
    assert steps({"image_bytes": b"8"}, lambda name, seconds: seen.append(name))["answer"] == -1  # -(4 + 1) + 4
    assert seen == ["decode", "prepare", "trunk", "rpn", "detections"]
    # the engine's trunk gives what the next step would: it is left out, as is decoding of what is decoded
    steps = engines.DetectorSteps(signatures, {"trunk": (Doubling(), "image", {"scores": 1})})
    seen.clear()
    assert steps({"pixels": np.float32(8)}, lambda name, seconds: seen.append(name))["answer"] == 12
    assert seen == ["prepare", "trunk", "detections"]


@pytest.mark.parametrize("name", [name for name in engines.RUNTIMES if name not in ("tensorflow", "onnx-int8")])
def test_every_engine_has_an_extra_of_the_same_name_as_its_format(name):
    from kapps.exporting import formats

    assert engines.RUNTIMES[name].extra == name
    assert engines.RUNTIMES[name].package in formats._PACKAGES[name]

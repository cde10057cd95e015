"""Each runtime gives the model's scores, from files that belong to the version; what is off or unknown is refused."""

from __future__ import annotations

import os
import threading

import keras
import numpy as np
import pytest
from keras import layers

import kapps
from kapps import engines
from kapps.cli.main import main
from kapps.create import create_model
from kapps.data.preprocessing import Preprocessing
from kapps.errors import MissingExtraError, RecipeError, SavedModelError, UnknownNameError
from kapps.exporting import formats, optimise
from kapps.weights.seeded import seeded_image, seeded_tensor

INSTALLED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not all(map(engines.is_installed, packages)), reason=f"needs the extra: pip install 'kapps[{name}]'"
        ),
    )
    for name, packages in formats._PACKAGES.items()
]
LABELS = ["a", "b", "c"]


def seed(model: keras.Model) -> keras.Model:
    for variable in model.weights:
        variable.assign(seeded_tensor(variable.path, variable.shape, channels_last=True))
    return model


@pytest.fixture(scope="module")
def classifier():
    """Takes images of any size and ends in logits: the export fixes the size and puts a softmax behind it."""
    image = keras.Input((None, None, 3), name="photo")
    x = layers.Conv2D(6, 3, use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.DepthwiseConv2D(3, name="depthwise")(x))
    return seed(keras.Model(image, layers.Dense(3, name="predictions")(x), name="tiny"))


@pytest.fixture
def exporting(classifier, tmp_path, light_decoding):
    def export(*names, **options):
        return kapps.export(
            classifier,
            tmp_path / "tiny",
            preprocessing=Preprocessing((8, 9)),
            labels=LABELS,
            activation="softmax",
            formats=names,
            **options,
        )

    return export


def scores_of(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return keras.ops.softmax(model(image, training=False)).numpy()


@pytest.mark.parametrize("name", INSTALLED)
def test_the_runtime_gives_the_models_scores(name, classifier, exporting):
    folder = exporting(name, optimize=True)
    predictor = kapps.load(folder)  # which checks the sums of all files
    assert predictor.engine == name, "it is preferred to TensorFlow"
    assert {*engines.RUNTIMES[name].files} <= {*predictor.card.sha256}
    assert predictor.card.engines[name]["difference"] < 1e-4
    assert f"for the engine `{name}`" in (folder.parent / "card.md").read_text(encoding="utf-8")
    for count in (1, 5, 2):
        image = seeded_image((count, 8, 9, 3), seed=count)
        found, expected = predictor.predict_tensors(image), scores_of(classifier, image)
        assert found.dtype == np.float32
        assert optimise.distance(found, expected) < 1e-4
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    answer, reference = predictor(photo), kapps.load(folder, engine="tensorflow")(photo)
    assert answer["probabilities"] == pytest.approx(reference["probabilities"], abs=1e-5)

    wrong = []

    def ask(count):  # callers with batches of different sizes at the same time
        image = seeded_image((count, 8, 9, 3), seed=count)
        expected = scores_of(classifier, image)
        wrong.extend(count for _ in range(10) if optimise.distance(predictor.predict_tensors(image), expected) > 1e-4)

    threads = [threading.Thread(target=ask, args=(count,)) for count in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("architecture", ["squeezenet1_1", "resnet18", "googlenet", "inception_v3"])
def test_real_architectures(architecture, name, tmp_path, light_decoding):
    model = seed(create_model(architecture))
    height, width, _ = model.input_shape[1:]
    labels = [f"class {number}" for number in range(model.output_shape[-1])]
    steps = Preprocessing((height, width))
    folder = kapps.export(model, tmp_path / "m", preprocessing=steps, labels=labels, formats=[name], optimize=True)
    image = seeded_image((2, height, width, 3), seed=1)
    scores = kapps.load(folder, engine=name).predict_tensors(image)
    assert optimise.distance(scores, model(image, training=False)) < 1e-3


class Off:
    """A runtime whose scores do not depend on the image."""

    def network(self, image):
        return np.tile([0.34, 0.33, 0.33], (len(image), 1))


@pytest.mark.skipif(not engines.is_installed("tf2onnx"), reason="needs the extra: pip install 'kapps[onnx]'")
def test_a_large_network_is_written_as_onnx_in_place(classifier, exporting, monkeypatch):
    from tf2onnx.graph import Graph, Node

    written: list[str] = []
    update, update_node = Graph.update_proto, Node.update_proto
    monkeypatch.setattr(Node, "update_proto", lambda node, *rest: (written.append(node.name), update_node(node, *rest)))
    exporting("onnx")
    usual = len(written)
    written.clear()
    monkeypatch.setattr(formats, "_MANY_WEIGHTS", 0)
    monkeypatch.delenv("TF2ONNX_CATCH_ERRORS", raising=False)
    path = exporting("onnx")

    assert len(written) == len(set(written)) < usual / 5  # each node once, not once a step
    image = seeded_image((2, 8, 9, 3))
    answers = kapps.load(path, engine="onnx").predict_tensors(image)
    np.testing.assert_allclose(answers, scores_of(classifier, image), atol=1e-6)
    assert Graph.update_proto is update
    assert "TF2ONNX_CATCH_ERRORS" not in os.environ


def test_scores_that_are_off_are_refused(exporting, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "is_installed", lambda package: True)
    monkeypatch.setattr(keras.Model, "export", lambda *arguments, **options: None)
    monkeypatch.setattr(formats, "open_engine", lambda name, folder: Off())
    with pytest.raises(SavedModelError, match=r"model.tflite answers otherwise than the model \(by .* 0.001 may be"):
        exporting("litert")
    assert not (tmp_path / "tiny").exists()
    assert formats._BAR < 0.01


@pytest.mark.parametrize("error", [ValueError("no such\noperation"), RuntimeError("no such operation")])
def test_what_a_converter_cannot_do_is_told_in_one_line(error, exporting, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(formats, "is_installed", lambda package: True)
    monkeypatch.setattr(keras.Model, "export", fail)
    message = rf"'tiny' cannot be written as onnx \({type(error).__name__}: no such operation\): leave this format out"
    with pytest.raises(SavedModelError, match=message):
        exporting("onnx")
    assert not (tmp_path / "tiny").exists()


def test_the_layer_that_a_converter_names_is_named(exporting, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("cannot convert {{node tiny_1/norm_1/batchnorm/mul}}")

    monkeypatch.setattr(formats, "is_installed", lambda package: True)
    monkeypatch.setattr(keras.Model, "export", fail)
    message = r"cannot be written as onnx because of its layer 'norm' \(BatchNormalization\) \(RuntimeError: "
    with pytest.raises(SavedModelError, match=message):
        exporting("onnx")


def test_formats_are_checked_before_any_work(exporting, monkeypatch):
    with pytest.raises(UnknownNameError, match="no format is named 'onn': did you mean 'onnx'"):
        exporting("onn")
    with pytest.raises(RecipeError, match=r"formats should be a list of names, got 'onnx': write \('onnx',\)"):
        formats.check_formats("onnx")
    monkeypatch.setattr(formats, "is_installed", lambda package: package != "tf2onnx")
    with pytest.raises(MissingExtraError, match=r"tf2onnx is needed .* pip install 'kapps\[onnx\]'"):
        exporting("litert", "onnx")
    assert formats.check_formats(["openvino", "litert", "openvino"]) == ("openvino", "litert")


def test_without_formats_there_is_nothing_more(exporting):
    folder = exporting()
    predictor = kapps.load(folder)
    assert predictor.engine == "tensorflow"
    assert predictor.card.engines == {}


@pytest.mark.parametrize("name", ["onnx", "openvino", "litert"])
def test_every_format_has_an_engine_and_an_extra(name):
    assert engines.RUNTIMES[name].extra == name


def test_the_command_names_a_wrong_format(tmp_path, classifier, capsys):
    classifier.save(tmp_path / "tiny.keras")
    (tmp_path / "steps.json").write_text('{"size": [8, 9]}', encoding="utf-8")
    words = [
        "export",
        str(tmp_path / "tiny.keras"),
        str(tmp_path / "m"),
        "--preprocessing",
        str(tmp_path / "steps.json"),
    ]
    assert main([*words, "--labels", "a,b,c", "--activation", "softmax", "--format", "tensorrt"]) == 2
    assert "no format is named 'tensorrt'" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()

"""The figures are those of the calls that were made, in turns."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kapps
from kapps import bench as module
from kapps.bench import bench, compare
from kapps.cli.main import main
from kapps.data.preprocessing import Preprocessing
from kapps.errors import MissingExtraError, RecipeError, SavedModelError, UnknownNameError


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    image = keras.Input((6, 5, 1))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image)))
    path = tmp_path_factory.mktemp("models") / "small"
    with pytest.MonkeyPatch.context() as patch:
        # tracing the safe decoder takes seconds, and here it does not matter
        patch.setattr("kapps.exporting.saved_model.decode_image", lambda data: tf.io.decode_png(data, channels=1))
        kapps.export(model, path, preprocessing=Preprocessing((6, 5), channels=1), labels=["a", "b"])
    return path


def test_it_measures_the_three_ways_to_an_answer(exported):
    result = bench(exported, calls=40, keras_calls=20)
    assert [result[way]["calls"] for way in ("predictor", "network", "keras_predict")] == [40, 40, 20]
    for way in ("predictor", "network", "keras_predict"):
        assert 0 < result[way]["median"] <= result[way]["p90"] <= result[way]["p99"]
    assert result["network"]["median"] < result["predictor"]["median"] < result["keras_predict"]["median"]
    assert result["network_share"] == result["network"]["median"] / result["predictor"]["median"]
    assert result["times_faster_than_keras"] == result["keras_predict"]["median"] / result["predictor"]["median"]
    json.dumps(result)


def test_the_quantiles_are_of_the_milliseconds_taken():
    found = module._latency([0.001] * 50 + [0.002] * 41 + [0.010] * 10)
    assert found == pytest.approx({"median": 2, "p90": 2, "p99": 10, "calls": 101})


def test_all_calls_are_made_and_in_turns():
    order = []
    times = module.take_turns([(lambda: order.append("a"), 40), (lambda: order.append("b"), 20)])
    assert [len(taken) for taken in times] == [40, 20]
    measured = "".join(order[20:])  # ten calls of each come first, to warm up
    assert measured == "aab" * 20


def test_keras_may_be_left_out_or_absent(exported):
    result = bench(kapps.load(exported), calls=1, keras_calls=0)
    assert result["keras_predict"] is None
    assert result["times_faster_than_keras"] is None
    with pytest.raises(RecipeError, match="expected at least 1 call and at least 0 of Keras, got 0 and 5"):
        bench(exported, calls=0, keras_calls=5)


def test_the_command_prints_it(exported, capsys, tmp_path):
    assert main(["bench", str(exported), "--calls", "2", "--keras-calls", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictor"]["calls"] == 2
    file = tmp_path / "image.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(file)
    assert main(["bench", str(exported), "--image", str(file), "--calls", "2", "--keras-calls", "1"]) == 0
    table = capsys.readouterr().out
    assert "the network alone" in table
    assert "the given image" in table
    file.unlink()
    assert main(["bench", str(exported), "--image", str(file)]) == 2
    assert "cannot read" in capsys.readouterr().err


# Beside others -------------------------------------------------------------------------------------------------------


@pytest.fixture
def any_threads(monkeypatch):
    """TensorFlow runs already in this process, with as many threads as it likes."""
    monkeypatch.setattr(module, "set_tensorflow_threads", lambda threads: None)


def test_an_export_beside_keras_own(exported, any_threads):
    result = compare(exported, ["keras"], calls=3, batches=(1, 4))
    assert [(row["batch"], row["contender"]) for row in result["rows"]] == [
        (1, "kapps"),
        (1, "keras"),
        (4, "kapps"),
        (4, "keras"),
    ]
    for ours, theirs in (result["rows"][:2], result["rows"][2:]):
        assert ours["ratio"] == 1
        assert theirs["ratio"] == theirs["median"] / ours["median"]
        assert 0 < theirs["p25"] <= theirs["median"] <= theirs["p75"]
        assert theirs["difference"] < 1e-5, "the same weights give the same scores"
        assert theirs["calls"] == 3
        assert result["fastest"][str(ours["batch"])] == min(ours, theirs, key=lambda row: row["median"])["contender"]
    assert result["weights"] == "of the export"
    assert set(result["versions"]) == {"tensorflow", "keras"}
    json.dumps(result)


def test_a_name_of_the_catalogue_is_built_and_exported_optimised(any_threads, monkeypatch):
    monkeypatch.setattr("kapps.exporting.saved_model.decode_image", lambda data: tf.io.decode_png(data, channels=1))
    folders = []
    monkeypatch.setattr(module, "load", lambda path, **options: folders.append(path) or kapps.load(path, **options))
    result = compare("lenet5", ["keras"], calls=1, batches=(2,))
    assert [row["contender"] for row in result["rows"]] == ["kapps", "keras"]
    assert result["rows"][1]["difference"] < 1e-3
    assert result["weights"] == "seeded"
    assert not folders[0].exists(), "the temporary export is gone"


@pytest.mark.skipif(
    not all(map(module.engines.is_installed, ("onnx", "tf2onnx", "onnxruntime"))),
    reason="needs the extra: pip install 'kapps[onnx]'",
)
def test_seeded_networks_are_measured_in_8_bits_too(any_threads, monkeypatch):
    monkeypatch.setattr("kapps.exporting.saved_model.decode_image", lambda data: tf.io.decode_png(data, channels=1))
    result = compare("lenet5", ["onnxruntime-int8", "onnxruntime"], calls=1, batches=(2,))
    ours, rough, exact = result["rows"]
    assert [row["contender"] for row in result["rows"]] == ["kapps", "onnxruntime-int8", "onnxruntime"]
    assert ours["difference"] == 0
    assert exact["difference"] < 1e-3 < rough["difference"]
    assert set(result["versions"]) == {"tensorflow", "onnxruntime"}


def test_the_activation_of_the_export_is_put_behind_the_keras_model(exported):
    image = keras.Input((6, 5, 1))
    logits = keras.Model(image, keras.layers.Dense(2, name="sum")(keras.layers.Flatten()(image)))
    probabilities = keras.Model(image, keras.layers.Softmax()(logits.outputs[0]))
    predictor = kapps.load(exported)
    assert module._with_scores(probabilities, predictor) is probabilities
    logits.get_layer("sum").bias.assign([3.0, -1.0])
    images = np.random.default_rng(0).uniform(size=(4, 6, 5, 1)).astype("float32")
    np.testing.assert_allclose(module._with_scores(logits, predictor)(images), probabilities(images), rtol=1e-5)


def test_what_cannot_be_compared_is_named(exported, any_threads, monkeypatch):
    monkeypatch.setattr(module.engines, "is_installed", lambda package: package != "torchvision")
    with pytest.raises(UnknownNameError, match="no contender is named 'onnx': known: keras, onnxruntime, openvino"):
        compare(exported, ["onnx"])
    with pytest.raises(UnknownNameError, match="no model is named 'resnet5'"):
        compare("resnet5", ["keras"])
    with pytest.raises(MissingExtraError, match=r"torchvision is needed .* pip install 'kapps\[torch\]'"):
        compare("resnet50", ["torchvision"])
    with pytest.raises(SavedModelError, match=r"has no model.xml, .* --format openvino"):
        compare(exported, ["openvino"])
    with pytest.raises(SavedModelError, match=r"has no model.int8.onnx, .* --quantize"):
        compare(exported, ["onnxruntime-int8"])
    with pytest.raises(RecipeError, match=r"takes one image, got 'xor_net', which takes \[2\]"):
        compare("xor_net", ["keras"])
    with pytest.raises(RecipeError, match="at least 1 call and thread, got 0 calls"):
        compare(exported, ["keras"], calls=0)
    monkeypatch.setattr(module.engines, "is_installed", lambda package: True)
    with pytest.raises(RecipeError, match="torchvision can only be measured beside a name of the catalogue"):
        compare(exported, ["torchvision"])


def test_tensorflow_takes_its_threads_once():
    tf.constant(0) + 1  # from now on it runs
    running = tf.config.threading.get_intra_op_parallelism_threads() or module.engines.processors()
    module.set_tensorflow_threads(running)
    with pytest.raises(RecipeError, match=f"TensorFlow runs with {running} threads .* not with {running + 1}"):
        module.set_tensorflow_threads(running + 1)


def test_a_pause_comes_before_every_call_and_is_not_measured():
    times = module.take_turns([(lambda: None, 2)], warm_up=0, pause=0.01)
    assert max(times[0]) < 0.01


def test_the_command_compares(exported, any_threads, capsys):
    words = ["bench", str(exported), "--against", "keras", "--calls", "2"]
    assert main([*words, "--json"]) == 0
    assert {row["calls"] for row in json.loads(capsys.readouterr().out)["rows"]} == {2}
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "times kapps" in table
    assert "fastest: " in table
    assert main(["bench", str(exported), "--threads", "2"]) == 2
    assert "--threads belongs to --against" in capsys.readouterr().err
    assert main([*words, "--image", "x.png"]) == 2
    assert "--image does not go with --against" in capsys.readouterr().err

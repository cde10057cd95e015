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
from kapps.bench import bench
from kapps.cli.main import main
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError


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
    times = module._take_turns([(lambda: order.append("a"), 40), (lambda: order.append("b"), 20)])
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

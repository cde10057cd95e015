from __future__ import annotations

import logging
import zipfile
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model, features, load_keras, override
from kapps.errors import RecipeError, UnknownNameError, WeightsError


@dataclass(frozen=True)
class Settings:
    width: int = 1
    rate: float = 0.5
    name: str = "a"
    flag: bool = False
    kind: Literal["x", "y"] = "x"
    sizes: tuple[int, ...] = (1,)
    pair: tuple[int, float] = (1, 2.0)
    maybe: str | None = None


# ------------------------------------------------------------------------------------------- create_model


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="did you mean 'lenet5'"):
        create_model("lenet-5")


@pytest.mark.parametrize("classes", [-1, 2.0, "10", True])
def test_impossible_number_of_classes(classes):
    with pytest.raises(RecipeError, match="num_classes should be an integer of at least 0"):
        create_model("dlt_cnn", num_classes=classes)


@pytest.mark.parametrize(
    "shape", [(28, 28), (28, 28, 1, 1), (0, 28, 1), (28, -1, 1), ("28", 28, 1), "28", 28, (28.0, 28, 1)]
)
def test_impossible_input_shape(shape):
    with pytest.raises(RecipeError, match="input_shape should be 3 positive integers"):
        create_model("dlt_cnn", input_shape=shape)


def test_other_channels_and_sizes():
    model = create_model("mnist_convnet", input_shape=[32, 40, 3], num_classes=4)
    assert model.input_shape == (None, 32, 40, 3)
    assert model.output_shape == (None, 4)


@pytest.mark.parametrize("activation", ["sotfmax", 3])
def test_unknown_activation(activation):
    with pytest.raises(RecipeError, match="classifier_activation should be 'softmax'"):
        create_model("dlt_cnn", classifier_activation=activation)


def test_without_activation_the_outputs_are_logits():
    keras.utils.set_random_seed(0)
    probabilities = create_model("lenet5_softmax")
    logits = create_model("lenet5_softmax", classifier_activation=None)
    logits.set_weights(probabilities.get_weights())
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")
    np.testing.assert_allclose(keras.ops.softmax(logits(x)), probabilities(x), atol=1e-6)


def test_one_class_is_a_sigmoid():
    """Softmax over a single class would always be 1."""
    model = create_model("dlt_cnn", num_classes=1)
    assert model.get_layer("predictions").activation is keras.activations.sigmoid


def test_values_that_keras_refuses_are_one_line():
    with pytest.raises(RecipeError) as caught:
        create_model("mnist_convnet", config={"dropout_rate": 1.5})
    assert "\n" not in str(caught.value)
    assert "1.5" in str(caught.value)


# ------------------------------------------------------------------------------------------- config


def test_every_type_is_taken():
    values = {
        "width": 2,
        "rate": 1,
        "name": "b",
        "flag": True,
        "kind": "y",
        "sizes": [3, 4],
        "pair": [5, 6],
        "maybe": "c",
    }
    found = override(Settings(), values, "net")
    assert found == Settings(2, 1.0, "b", True, "y", (3, 4), (5, 6.0), "c")
    assert isinstance(found.rate, float)
    assert isinstance(found.sizes, tuple)
    assert override(found, {"maybe": None}, "net").maybe is None


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("width", 1.5, "int"),
        ("width", "2", "int"),
        ("width", True, "int"),
        ("rate", "high", "float"),
        ("rate", False, "float"),
        ("flag", 1, "bool"),
        ("name", None, "str"),
        ("kind", "z", "'x' or 'y'"),
        ("sizes", 3, "tuple"),
        ("sizes", (1, "2"), "tuple"),
        ("sizes", "12", "tuple"),
        ("pair", (1,), "tuple"),
        ("maybe", 3, "str | None"),
    ],
)
def test_ill_typed_values_are_refused(field, value, expected):
    with pytest.raises(RecipeError) as caught:
        override(Settings(), {field: value}, "net")
    message = str(caught.value)
    assert message.startswith(f"net: config field {field!r} should be {expected}")
    assert message.endswith(f"not {value!r}")


def test_unknown_field_names_the_nearest():
    with pytest.raises(RecipeError, match="mlp has no config field 'hiden': did you mean 'hidden'"):
        create_model("mlp", config={"hiden": (3,)})
    with pytest.raises(RecipeError, match="known: connections, pooling"):
        create_backbone("lenet5", config={"zzz": 1})


# ------------------------------------------------------------------------------------------- backbone, features


def test_features_share_the_model_s_weights():
    model = create_model("lenet5_softmax")
    x = np.random.default_rng(0).random((2, 28, 28, 1), dtype="float32")
    part = features(model, ["f6", "c1"])
    before = part(x)
    assert list(before) == ["f6", "c1"]
    assert before["c1"].shape == (2, 28, 28, 6)
    model.get_layer("c1").set_weights([w * 0 for w in model.get_layer("c1").get_weights()])
    assert np.any(before["c1"])
    assert not np.any(part(x)["c1"])


def test_one_feature_by_its_name():
    assert list(features(create_model("dlt_cnn"), "s4").output) == ["s4"]


def test_features_of_a_loaded_file(tmp_path):
    model = create_model("dlt_cnn")
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((1, 28, 28, 1), dtype="float32")
    loaded = features(load_keras(tmp_path / "model.keras"), "c3")
    np.testing.assert_array_equal(loaded(x)["c3"], features(model, "c3")(x)["c3"])


def test_features_of_a_sequential_model():
    layers = [keras.Input((3,)), keras.layers.Dense(4, name="inner"), keras.layers.Dense(2)]
    inner = features(keras.Sequential(layers), "inner")
    assert inner(np.ones((5, 3), "float32"))["inner"].shape == (5, 4)


def test_unknown_feature():
    with pytest.raises(UnknownNameError, match="no feature is named 'conv_1': did you mean 'conv1'"):
        features(create_model("mnist_convnet"), "conv_1")
    with pytest.raises(UnknownNameError):
        features(create_model("mnist_convnet"), "image")
    with pytest.raises(RecipeError, match="at least one layer"):
        features(create_model("mnist_convnet"), [])


# ------------------------------------------------------------------------------------------- weights


@pytest.fixture
def trained(tmp_path):
    model = create_model("dlt_cnn")
    model.save_weights(tmp_path / "best.weights.h5")
    model.save(tmp_path / "model.keras")
    return model


@pytest.mark.parametrize("file", ["best.weights.h5", "model.keras"])
def test_another_number_of_classes_keeps_a_fresh_head(trained, tmp_path, file, caplog):
    with caplog.at_level(logging.INFO, logger="kapps"):
        model = create_model("dlt_cnn", num_classes=3, weights=tmp_path / file)
    for name in ("c1", "c3"):
        np.testing.assert_array_equal(model.get_layer(name).kernel, trained.get_layer(name).kernel)
    assert model.output_shape == (None, 3)
    assert "predictions starts fresh" in caplog.text
    assert "expected (192, 3), (3,), found (192, 10), (10,)" in caplog.text


def test_the_same_number_of_classes_loads_the_head_silently(trained, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="kapps"):
        model = create_model("dlt_cnn", weights=tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(model.get_layer("predictions").kernel, trained.get_layer("predictions").kernel)
    assert not caplog.records


def test_weights_without_a_head_fit_a_model_with_one(tmp_path):
    backbone = create_model("dlt_cnn", num_classes=0)
    backbone.save_weights(tmp_path / "body.weights.h5")
    model = create_model("dlt_cnn", weights=tmp_path / "body.weights.h5")
    np.testing.assert_array_equal(model.get_layer("c1").kernel, backbone.get_layer("c1").kernel)


def test_backbone_takes_the_weights_of_a_whole_model(trained, tmp_path):
    backbone = create_backbone("dlt_cnn", weights=tmp_path / "model.keras")
    np.testing.assert_array_equal(backbone.get_layer("c3").kernel, trained.get_layer("c3").kernel)


def test_weights_of_another_shape_are_refused(trained, tmp_path):
    expected = r"layer 'c1' expected \(5, 5, 3, 6\), \(6,\), found \(5, 5, 1, 6\), \(6,\)"
    with pytest.raises(WeightsError, match=expected):
        create_model("dlt_cnn", input_shape=(28, 28, 3), weights=tmp_path / "best.weights.h5")


def test_weights_of_another_architecture_are_refused(trained, tmp_path):
    with pytest.raises(WeightsError, match=r"layer 'conv1' .* the file has no such layer"):
        create_model("mnist_convnet", weights=tmp_path / "model.keras")


# ------------------------------------------------------------------------------------------- load_keras


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        load_keras(tmp_path / "nothing.keras")


def test_text_file(tmp_path):
    (tmp_path / "model.keras").write_text("hello")
    with pytest.raises(WeightsError, match=r"expected a \.keras file, a zip archive"):
        load_keras(tmp_path / "model.keras")


def test_cut_off_file(trained, tmp_path):
    data = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=r"cut\.keras"):
        load_keras(tmp_path / "cut.keras")


def test_flipped_bit(trained, tmp_path):
    data = bytearray((tmp_path / "model.keras").read_bytes())
    data[data.index(b"HDF") + 5000] ^= 1
    (tmp_path / "model.keras").write_bytes(data)
    with pytest.raises(WeightsError, match=r"model.weights.h5 does not match its checksum"):
        load_keras(tmp_path / "model.keras")


def test_zip_bomb(trained, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras") as source, zipfile.ZipFile(tmp_path / "bomb.keras", "w") as bomb:
        for member in source.namelist():
            bomb.writestr(member, source.read(member))
        bomb.writestr("more.bin", b"\0" * 10_000_000, compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r"refused, .* bytes that would unpack to"):
        load_keras(tmp_path / "bomb.keras")


def test_code_in_the_file_is_refused(tmp_path):
    image = keras.Input((3,))
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save(tmp_path / "model.keras")
    with pytest.raises(WeightsError, match="Keras cannot load this model") as caught:
        load_keras(tmp_path / "model.keras")
    assert "\n" not in str(caught.value)


def test_progress_is_told_while_weights_are_fetched(tmp_path, monkeypatch):
    file, steps = tmp_path / "x.weights.h5", []
    create_model("perceptron").save_weights(file)

    def fetch(url, *, progress, **_):
        progress(3, 10)
        return file

    monkeypatch.setattr("kapps.weights.loading.fetch", fetch)
    for create in (create_model, create_backbone):
        create("perceptron", weights="hf://someone/something", progress=lambda *step: steps.append(step))
    assert steps == [(3, 10)] * 2

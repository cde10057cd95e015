"""The 8-bit network answers nearly like the float32 one, the card holds its loss, and too large a loss is refused.

The network is made in closed form: seeded convolutions, and a dense layer fitted to scikit-learn's digits by least
squares.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import weakref
from collections import Counter
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

import kapps
from kapps import engines
from kapps.create import create_model
from kapps.data import load
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, MissingExtraError, RecipeError, SavedModelError
from kapps.exporting import formats, quantize
from kapps.exporting.quantize import Quantization
from kapps.weights.seeded import seeded_tensor

STEPS = Preprocessing((8, 8), channels=1)
LABELS = [f"digit {number}" for number in range(10)]

needs_onnx = pytest.mark.skipif(
    not all(map(engines.is_installed, formats._PACKAGES["onnx"])), reason="needs the extra: pip install 'kapps[onnx]'"
)


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    batches = list(load("digits", split).batches(500, preprocessing=STEPS).as_numpy_iterator())
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return images, labels


@pytest.fixture(scope="module")
def digits():
    """Preprocessed digits and their classes: `train` (400) and `test` (360)."""
    return SimpleNamespace(train=arrays("train[:400]"), test=arrays("test"))


@pytest.fixture(scope="module")
def classifier(digits):
    """Two convolutions, one of them normalised, a maximum, a sum and a dense layer that ends in logits."""
    image = keras.Input((8, 8, 1), name="digit")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    y = layers.Conv2D(16, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(name="pool")(layers.Add(name="sum")([x, y])))
    model = keras.Model(image, layers.Dense(10, name="predictions")(x), name="tiny")
    for variable in model.weights:
        variable.assign(seeded_tensor(variable.path, variable.shape, channels_last=True))
    images, labels = digits.train
    features = np.asarray(keras.Model(image, x)(images), np.float64)
    features = np.hstack([features, np.ones((len(features), 1))])
    ridge = 1e-2 * np.trace(features.T @ features) / features.shape[1] * np.eye(features.shape[1])
    fitted = np.linalg.solve(features.T @ features + ridge, features.T @ (8 * np.eye(10)[labels]))
    model.get_layer("predictions").set_weights([fitted[:-1], fitted[-1]])
    return model


@pytest.fixture
def exporting(classifier, tmp_path, light_decoding):
    def export(quantization, **options):
        return kapps.export(
            classifier,
            tmp_path / "tiny",
            preprocessing=STEPS,
            labels=LABELS,
            activation="softmax",
            quantize=quantization,
            **options,
        )

    return export


@pytest.fixture(scope="module")
def float_network(classifier, tmp_path_factory):
    """A folder with its `model.onnx` alone."""
    folder = tmp_path_factory.mktemp("network")
    probes = np.zeros((2, 8, 8, 1), np.float32)
    expected = keras.ops.softmax(classifier(probes)).numpy()
    formats.write_formats(classifier, folder, ["onnx"], activation="softmax", probes=probes, expected=expected)
    return folder


@pytest.fixture
def quantized(float_network, tmp_path):
    """Writes the 8-bit network into a folder of its own: (folder, what the card says of it)."""

    def write(name, quantization):
        folder = tmp_path / name
        shutil.copytree(float_network, folder)
        return folder, quantize.write_int8(folder, quantization, shape=(8, 8, 1), classes=10)

    return write


@pytest.fixture
def left_behind(tmp_path, monkeypatch):
    """The folders that lie among the temporary files, none at first. (TensorFlow keeps files there until the end.)"""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return lambda: [path for path in folder.iterdir() if path.is_dir()]


@needs_onnx
def test_the_card_holds_the_loss_that_the_two_engines_show(exporting, digits, left_behind, capfd):
    quantization = Quantization(
        digits.train[0][:64], digits.test, data="digits, test", command="kapps export digits", largest_loss=0.03
    )
    folder = exporting(quantization, optimize=True)
    assert left_behind() == []
    assert capfd.readouterr() == ("", "")

    predictor = kapps.load(folder)  # which checks the sums of all files
    assert predictor.engine != "onnx-int8"
    rough, exact = (kapps.load(folder, engine=name) for name in ("onnx-int8", "onnx"))
    assert rough.engine == "onnx-int8"
    images, targets = digits.test
    scores = [each.predict_tensors(images) for each in (rough, exact)]
    answers = [each.argmax(axis=1) for each in scores]
    right = [float(np.mean(each == targets)) for each in answers]
    found = predictor.card.engines["onnx-int8"]
    assert found == {
        "file": "model.int8.onnx",
        "bytes_float32": (folder / "model.onnx").stat().st_size,
        "bytes_int8": (folder / "model.int8.onnx").stat().st_size,
        "accuracy_float32": pytest.approx(right[1]),
        "accuracy_int8": pytest.approx(right[0]),
        "loss": pytest.approx(right[1] - right[0]),
        "agreement": pytest.approx(np.mean(answers[0] == answers[1])),
        "images": 360,
        "data": "digits, test",
        "calibration_images": 64,
        "command": "kapps export digits",
    }
    assert right[1] > 0.9, "the network reads digits"
    assert abs(found["loss"]) <= 0.03
    assert found["agreement"] > 0.95
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.3, "nearly the same, in other arithmetic"
    assert len(np.unique(scores[0])) > 1000, "scores are no 8-bit numbers"

    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert rough(photo)["probabilities"] == pytest.approx(exact(photo)["probabilities"], abs=0.3)
    page = (folder.parent / "card.md").read_text(encoding="utf-8")
    assert f"It gets {right[0]:.2%} of 360 images right, in float32 {right[1]:.2%}" in page
    assert "Measured on: digits, test; by: `kapps export digits`. Calibrated on 64 other images." in page


@needs_onnx
def test_the_file_holds_int8_weights_with_a_scale_for_each_channel(quantized, digits):
    import onnx
    from onnx import TensorProto, numpy_helper

    folder, _ = quantized("int8", Quantization(digits.train[0][:32], digits.test, largest_loss=1))
    graph = onnx.load(folder / "model.int8.onnx").graph
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    sums = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert Counter(node.op_type for node in sums) == {"Conv": 2, "Gemm": 1}, "normalisation is folded, too"
    for node in sums:
        values, scale = (constants[name] for name in makers[node.input[1]].input[:2])
        assert makers[node.input[0]].op_type == makers[node.input[1]].op_type == "DequantizeLinear"
        assert values.data_type == TensorProto.INT8
        assert numpy_helper.to_array(scale).shape == ((16,) if node.op_type == "Conv" else (10,))
        zero = constants[makers[node.input[0]].input[2]]
        assert zero.data_type == TensorProto.UINT8, "activations are uint8"
    large = [constant.name for constant in graph.initializer if constant.data_type == TensorProto.FLOAT]
    assert all(np.prod(constants[name].dims) <= 16 for name in large), "no float32 weights are left beside them"
    assert (folder / "model.int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


@needs_onnx
def test_a_loss_beyond_the_limit_is_refused(exporting, quantized, digits, tmp_path, left_behind):
    faint = Quantization(digits.train[0][:64] * 0.02, digits.test)  # all activations of real digits are cut off
    message = (
        r"in 8 bits the network gets \d+\.\d\d% of 360 images right, in float32 \d+\.\d\d%: it loses \d+\.\d\d% and "
        r"may lose 2\.00%; calibrate on more images like those it will see, or allow a larger loss"
    )
    with pytest.raises(SavedModelError, match=message):
        exporting(faint)
    assert not (tmp_path / "tiny").exists()
    assert left_behind() == []
    _, found = quantized("allowed", dataclasses.replace(faint, largest_loss=1))
    assert found["loss"] > 0.02


@needs_onnx
@pytest.mark.skipif(not engines.has_vnni(), reason="needs a processor that has both ways of adding 8-bit products")
def test_the_way_around_overflow_gives_the_same_scores(quantized, digits, monkeypatch):
    folder, _ = quantized("int8", Quantization(digits.train[0][:64], digits.test, largest_loss=1))
    scores = [engines.open_engine("onnx-int8", folder).network(digits.test[0])]
    monkeypatch.setattr(engines, "has_vnni", lambda: False)
    scores.append(engines.open_engine("onnx-int8", folder).network(digits.test[0]))
    np.testing.assert_allclose(*scores, atol=1e-6)


@needs_onnx
def test_what_is_read_batch_by_batch_gives_the_same_file_and_is_not_kept(quantized, digits):
    images, targets = digits.train[0][:96], digits.test[1]
    held = weakref.WeakSet()
    most = 0

    class Batch(np.ndarray):
        """An array that can be counted: others take no weak reference from a hash."""

        __hash__ = object.__hash__

    def batches():
        nonlocal most
        for start in range(0, len(images), 12):
            batch = images[start : start + 12].copy().view(Batch)
            held.add(batch)
            most = max(most, len(held))
            yield batch, None  # pairs, as of a data set

    pairs = ((digits.test[0][start : start + 7], targets[start : start + 7]) for start in range(0, 360, 7))
    streamed, one = quantized("streamed", Quantization(batches(), pairs, largest_loss=1))
    assert most <= 2, "one in work, one on its way"
    whole, other = quantized("whole", Quantization(images, digits.test, largest_loss=1))
    assert one == other
    scores = [engines.open_engine("onnx-int8", folder).network(images) for folder in (streamed, whole)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"calibration": "few"}, DataError, "expected at least 32 images to calibrate 8 bits on, got 20: give more"),
        (
            {"calibration": "bytes"},
            RecipeError,
            r"calibration should hold .* float32 \[N, 8, 8, 1\], got uint8 \[64, 8",
        ),
        (
            {"calibration": "wide"},
            RecipeError,
            r"calibration should hold .* got float32 \[64, 8, 9, 1\]: take what Data",
        ),
        ({"calibration": "nan"}, DataError, "calibration holds NaN or infinity: leave the damaged images out"),
        ({"evaluation": "few"}, DataError, "expected at least 32 images to measure 8 bits on, got 20: give more"),
        (
            {"evaluation": "shares"},
            RecipeError,
            r"one class index, an integer, for each of 64 images, got float32 \[64",
        ),
        ({"evaluation": "short"}, RecipeError, r"one class index, an integer, for each of 64 images, got int64 \[63\]"),
        ({"evaluation": "eleven"}, RecipeError, r"class indices from 0 to 9, the model's, got 1 to 10"),
    ],
)
def test_images_that_do_not_fit_are_named_before_any_work(change, error, message, digits):
    images, targets = digits.test[0][:64], digits.test[1][:64]
    damaged = images.copy()
    damaged[5, 2, 2] = np.nan
    offers = {
        ("calibration", "few"): images[:20],
        ("calibration", "bytes"): images.astype(np.uint8),
        ("calibration", "wide"): np.zeros((64, 8, 9, 1), np.float32),
        ("calibration", "nan"): damaged,
        ("evaluation", "few"): (images[:20], targets[:20]),
        ("evaluation", "shares"): (images, targets.astype(np.float32)),
        ("evaluation", "short"): (images, targets[1:]),
        ("evaluation", "eleven"): (images, np.clip(targets + 1, 1, 10)),
    }
    values = {"calibration": images, "evaluation": (images, targets)}
    values |= {field: offers[field, kind] for field, kind in change.items()}
    with pytest.raises(error, match=message):
        quantize.check_quantization(Quantization(**values), (8, 8, 1), 10)


def test_what_is_read_in_batches_is_checked_alike(quantized, digits):
    images, targets = digits.test
    with pytest.raises(RecipeError, match=r"evaluation should be \(images, class indices\) or .* got ndarray"):
        quantized("images", Quantization(images, [images]))
    with pytest.raises(DataError, match="expected at least 32 images to measure 8 bits on, got 20: give more"):
        quantized("few", Quantization(images, [(images[:20], targets[:20])]))
    with pytest.raises(DataError, match="expected at least 32 images to calibrate 8 bits on, got 20: give more"):
        quantized("uncalibrated", Quantization([images[:20]], digits.test))


def test_what_is_no_quantization_is_refused(digits):
    with pytest.raises(RecipeError, match="largest_loss should be a part of the images from 0 to 1, got 2"):
        Quantization(digits.test[0], digits.test, largest_loss=2)
    with pytest.raises(RecipeError, match="quantize should be a Quantization or None, got bool"):
        quantize.check_quantization(True, (8, 8, 1), 10)


def test_the_runtime_must_be_installed(exporting, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "is_installed", lambda package: package != "onnxruntime")
    with pytest.raises(MissingExtraError, match=r"onnxruntime is needed .* pip install 'kapps\[onnx\]'"):
        exporting(Quantization(digits.train[0], digits.test))
    assert not (tmp_path / "tiny").exists()


@needs_onnx
def test_what_onnx_runtime_cannot_quantise_is_told_in_one_line(tmp_path, left_behind, digits):
    (tmp_path / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(SavedModelError, match=r"the network cannot be computed in 8 bits \(.*\): export it without"):
        quantize.quantize(tmp_path / "model.onnx", tmp_path / "q.onnx", digits.train[0], shape=(8, 8, 1))
    assert left_behind() == []
    assert not (tmp_path / "q.onnx").exists()


@needs_onnx
@pytest.mark.slow
def test_real_weights_on_real_photographs(shared_dir, tmp_path, light_decoding):
    """SqueezeNet keeps its accuracy: calibrated on every other photograph, measured on the others."""
    from PIL import Image

    weights = shared_dir / "weights" / "squeezenet1_0.caffe_in1k.safetensors"
    folder = shared_dir / "data" / "imagenet_samples"
    if not weights.is_file() or not folder.is_dir():
        pytest.skip(f"needs {weights.name} and {folder.name} in the shared folder")
    steps = Preprocessing(
        (227, 227), fit="crop", crop_ratio=227 / 256, scale=1, mean=(104, 117, 123), channel_order="bgr"
    )
    rows = [line.split(",") for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]]
    images = []
    for file, _, _ in rows:
        with Image.open(folder / file) as photo:
            images.append(steps(np.asarray(photo.convert("RGB"))).numpy())
    images, targets = np.stack(images), np.array([int(index) for _, _, index in rows])
    version = kapps.export(
        create_model("squeezenet1_0", input_shape=(227, 227, 3), weights=weights),
        tmp_path / "squeezenet",
        preprocessing=steps,
        labels=[f"class {number}" for number in range(1000)],
        quantize=Quantization(images[::2], (images[1::2], targets[1::2]), largest_loss=0.05),
    )
    found = json.loads((version / "card.json").read_text(encoding="utf-8"))["engines"]["onnx-int8"]
    assert found["accuracy_float32"] > 0.55
    assert found["agreement"] > 0.8
    assert found["bytes_int8"] < 0.3 * found["bytes_float32"]

"""A detector in parts gives what it gives as a whole: step by step, optimised, and with its networks elsewhere."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps import engines
from kapps.errors import MissingExtraError, RecipeError, SavedModelError
from kapps.exporting import detection, detection_parts, optimise
from kapps.exporting.detection_parts import check_same, frozen, network_part, run
from kapps.tasks.detection import fast_rcnn, faster_rcnn, overfeat_detector, yolo
from kapps.tasks.detection.fast_rcnn import FastRCNN, FastRCNNConfig
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.network_detector import NetworkDetector
from kapps.tasks.detection.overfeat_detector import OverFeatDetector, OverFeatDetectorConfig
from kapps.tasks.detection.yolo import YoloConfig
from kapps.tasks.detection.yolo_detector import YoloDetector

SMALL = FasterRCNNConfig(
    backbone="resnet20",
    features=("stage2", "stage3"),
    channels=8,
    units=16,
    anchor_sizes=((8,), (16,), (32,)),
    proposals_before=40,
    proposals_after=15,
    score_threshold=0.01,
    shorter_side=96,
    longer_side=160,
    max_detections=6,
)
CLASSES = ("cat", "dog")
FORMATS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not all(map(engines.is_installed, packages)), reason=f"needs the extra: pip install 'kapps[{name}]'"
        ),
    )
    for name, packages in (("onnx", ("onnx", "tf2onnx", "onnxruntime")), ("openvino", ("openvino",)))
]


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (60, 90, 3), dtype="uint8")


@pytest.fixture(scope="module")
def light_decoding():
    with pytest.MonkeyPatch.context() as patch:  # tracing the safe decoder takes seconds, and here it does not matter
        patch.setattr(detection, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))
        yield


def spread(network, **scales):
    """As if it had learned: scores differ, and normalisations have something to do."""
    random = np.random.default_rng(0)
    for name, scale in scales.items():
        kernel = network.get_layer(name).kernel
        kernel.assign(random.normal(scale=scale, size=kernel.shape))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(random.normal(scale=0.2, size=layer.moving_mean.shape))
            layer.moving_variance.assign(random.uniform(0.5, 2, layer.moving_variance.shape))
    return network


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    network = spread(faster_rcnn.build(SMALL, 2), rpn_scores=0.3, box_scores=0.05, box_deltas=0.05)
    network.get_layer("box_scores").bias.assign([1.0, 0.5, -5.0])  # the background is rare
    return NetworkDetector("faster_rcnn_resnet18_fpn", network, SMALL, CLASSES)


@pytest.fixture(scope="module")
def tensors(detector):
    """All that the parts give for an image."""
    pixels, sizes = faster_rcnn.prepare(SMALL, np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype="uint8"))
    return run(faster_rcnn.parts(detector.network).chain, {"image": pixels[None], "sizes": sizes[None]})


@pytest.fixture(scope="module")
def exported(detector, tmp_path_factory, light_decoding):
    """Optimised, and in all formats that can be written here."""
    path = tmp_path_factory.mktemp("models") / "found"
    formats = [each.values[0] for each in FORMATS if not each.marks[0].args[0]]
    detector.export(path, optimize=True, formats=formats)
    return path


def assert_alike(found, expected):
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    assert len(found) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)
        assert ours["box"] == pytest.approx(theirs["box"], abs=0.1)


def test_the_parts_give_what_the_whole_gives(detector, tensors):
    expected = detector.network({"image": tensors["image"], "sizes": tensors["sizes"]}, training=False)
    assert int(expected["num_detections"][0]) > 0
    for name, value in expected.items():
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=1e-5)
    heights = [tensors[f"map{level}"].shape[1] for level in (1, 2, 3)]  # of strides 2, 4 and 8
    assert heights == [48, 24, 12]
    trunk, head = faster_rcnn.parts(detector.network).networks
    for part in (trunk, head):
        for name, value in part(tensors).items():
            np.testing.assert_allclose(value, tensors[name], rtol=1e-4, atol=1e-4)


def test_folded_and_frozen_networks_are_compared(detector, tensors, monkeypatch):
    folded, count = optimise.fold_batch_normalisation(detector.network)
    assert count > 5
    chain = [frozen(part) for part in faster_rcnn.parts(folded).chain]
    assert check_same(chain, tensors) < 1e-3
    right = optimise._folded_weights
    monkeypatch.setattr(optimise, "_folded_weights", lambda *pair: [weight * 1.01 for weight in right(*pair)])
    wrong, _ = optimise.fold_batch_normalisation(detector.network)
    with pytest.raises(SavedModelError, match="the optimised detector answers otherwise"):
        check_same(faster_rcnn.parts(wrong).chain, tensors)


@pytest.mark.slow
def test_exported_optimised(detector, exported, image):
    predictor = kapps.load(exported, engine="tensorflow")
    assert_alike(predictor(image), detector(image, score=0.0))
    assert predictor.card.optimization["folded_batch_normalisations"] > 5
    assert {"decode", "prepare", "trunk", "rpn", "proposals", "regions", "box_head", "detections"} <= set(
        predictor.card.signatures
    )
    # frozen: what is left there is TensorFlow's own bookkeeping
    assert sum(file.stat().st_size for file in (predictor.path / "variables").glob("*.data*")) < 3000


@pytest.mark.slow
def test_step_by_step_in_tensorflow(detector, exported, image):
    predictor = kapps.load(exported, engine="tensorflow")
    seen = []
    answer = predictor.detector_steps("tensorflow")(
        {"pixels": image}, lambda name, seconds: seen.append((name, seconds))
    )
    assert [name for name, _ in seen] == list(engines.STEPS[1:])
    assert all(seconds > 0 for _, seconds in seen)
    whole = predictor.tensor_function(image=tf.constant(image[None]))
    for name, value in whole.items():
        if value.dtype == tf.float32:
            np.testing.assert_allclose(answer[name], value, atol=1e-5)
    assert answer["detection_class_names"].tolist() == whole["detection_class_names"].numpy().tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_the_networks_in_another_runtime(name, detector, exported, image):
    predictor = kapps.load(exported, engine=name)
    assert predictor.engine == name
    other = image[:50, :70]
    for pixels, found in zip((image, other), predictor([image, other]), strict=True):
        assert_alike(found, detector(pixels, score=0.0))
    seen = []
    predictor.detector_steps(name)({"pixels": image}, lambda step, seconds: seen.append(step))
    assert seen == ["prepare", "trunk", "proposals", "regions", "box_head", "detections"]  # the RPN is in the trunk
    entry = predictor.card.engines[name]
    assert set(entry["networks"]) == set(engines.NETWORKS)
    assert entry["difference"] < 1e-3
    assert entry["networks"]["trunk"]["file"] in predictor.card.sha256
    assert f"for the engine `{name}`" in (exported / "card.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS[:1])
def test_the_runtime_is_preferred_where_it_is_there(name, exported):
    assert kapps.load(exported).engine != "tensorflow"
    with pytest.raises(SavedModelError, match="which the engine 'litert' needs"):
        engines.choose(kapps.load(exported).path, "litert", engines.NETWORKS)


def test_answers_are_recognised_whatever_their_order():
    expected = {"a": np.float32([[1, 2]]), "b": np.float32([[5, 9]]), "c": np.float32([1, 2, 3])}
    places, far = detection_parts._recognised([np.float32(0), expected["c"], expected["b"], expected["a"]], expected)
    assert places == {"a": 3, "b": 2, "c": 1}
    assert far == 0
    assert detection_parts._recognised([expected["a"]], expected)[1] == float("inf")


def test_formats_that_detectors_do_not_have(monkeypatch):
    monkeypatch.setattr("kapps.exporting.formats.is_installed", lambda package: True)
    with pytest.raises(RecipeError, match="expected the formats onnx or openvino for a detector, got litert"):
        detection_parts.check_detector_formats(["litert"], (), "yolo")
    with pytest.raises(RecipeError, match="has no network that other runtimes could compute"):
        detection_parts.check_detector_formats(["onnx"], (), "overfeat_detector")
    monkeypatch.setattr("kapps.exporting.formats.is_installed", lambda package: False)
    with pytest.raises(MissingExtraError, match="onnx is needed"):
        detection_parts.check_detector_formats(["onnx"], (), "yolo")


def test_a_network_that_is_off_in_a_runtime_is_refused(tmp_path, monkeypatch):
    entry = keras.Input((4,), name="image")
    part = network_part("trunk", {"image": entry}, {"answers": keras.layers.Dense(3)(entry)})
    tensors = run([part], {"image": tf.ones((1, 4))})
    off = np.asarray(tensors["answers"]) * 1.1
    monkeypatch.setattr(detection_parts, "write_network", lambda *arguments: [off])
    with pytest.raises(SavedModelError, match=r"trunk.onnx answers otherwise than the detector's trunk \(by "):
        detection_parts.write_networks([part], tmp_path, ["onnx"], tensors)


# The other detectors with a network ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_yolo(tmp_path, light_decoding, image):
    config = YoloConfig(
        backbone="resnet20", feature="stem", convolutions=((8, 2), (8, 2), (8, 2)), units=0, grid=4, side=32
    )
    keras.utils.set_random_seed(0)
    network = spread(yolo.build(config, 2), answers=0.02)
    network.get_layer("answers").bias.assign([0.5, 0.5, 0.3, 0.3, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.4])
    made = YoloDetector("yolo", network, config, CLASSES)
    formats = [each.values[0] for each in FORMATS if not each.marks[0].args[0]]
    made.export(tmp_path / "yolo", optimize=True, formats=formats)
    for engine in ("tensorflow", *formats):
        predictor = kapps.load(tmp_path / "yolo", engine=engine)
        found, expected = predictor(image), made(image, score=0.0)
        assert len(found) == len(expected) > 3
        np.testing.assert_allclose(
            sorted(each["score"] for each in found), sorted(each["score"] for each in expected), atol=1e-3
        )


@pytest.mark.slow
def test_overfeat(tmp_path, light_decoding, image):
    config = OverFeatDetectorConfig(
        backbone="resnet20",
        feature="stage3",
        view=16,
        pool=2,
        window=2,
        units=(16, 16),
        box_units=(16, 16),
        scales=(1.0, 2.0),
        score_threshold=0.3,
        max_windows=40,
    )
    keras.utils.set_random_seed(0)
    network = spread(overfeat_detector.build(config, 2), class_map=0.3, boxes=0.001)
    network.get_layer("class_map").bias.assign([10.0, 10.0, -100.0])  # no background
    random = np.random.default_rng(0)
    network.get_layer("boxes").bias.assign([0.1, 0.2, 0.8, 0.9] * 2 + random.normal(scale=0.02, size=8))
    made = OverFeatDetector("overfeat_detector", network, config, CLASSES)
    made.export(tmp_path / "overfeat")
    assert_alike(kapps.load(tmp_path / "overfeat")(image), made(image, score=0.0))


@pytest.mark.slow
def test_fast_rcnn_takes_proposals(tmp_path, light_decoding, image):
    config = FastRCNNConfig(
        backbone="resnet20",
        feature="stem",
        units=16,
        region_size=4,
        shorter_side=48,
        longer_side=96,
        score_threshold=0.01,
    )
    keras.utils.set_random_seed(0)
    network = spread(fast_rcnn.build(config, 2), box_scores=0.05, box_deltas=0.05)
    boxes = np.float32([[(5, 5, 40, 40), (30, 10, 80, 50), (0, 0, 90, 60)]])
    made = FastRCNN("fast_rcnn", network, config, CLASSES, propose=lambda image: boxes[0])
    formats = [each.values[0] for each in FORMATS if not each.marks[0].args[0]]
    made.export(tmp_path / "fast", optimize=True, formats=formats)
    predictor = kapps.load(tmp_path / "fast", engine="tensorflow")
    relative = boxes[..., [1, 0, 3, 2]] / np.float32([60, 90, 60, 90])
    found = predictor.tensor_function(image=tf.constant(image[None]), proposals=tf.constant(relative))
    expected = made.find(image)
    count = int(found["num_detections"][0])
    assert count == len(expected["scores"]) > 0
    np.testing.assert_allclose(found["detection_scores"][0, :count], expected["scores"], atol=1e-3)
    in_pixels = found["detection_boxes"].numpy()[0, :count][:, [1, 0, 3, 2]] * [90, 60, 90, 60]
    np.testing.assert_allclose(in_pixels, expected["boxes"], atol=0.1)
    with pytest.raises(SavedModelError, match="is a detector that is told where to look"):
        predictor(image)

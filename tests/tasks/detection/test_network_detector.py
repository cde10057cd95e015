"""A detector from its name to its answers, its file and its SavedModel; nothing here is trained for long."""

from __future__ import annotations

import importlib
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kapps
import kapps.errors
from kapps.catalog import DETECTORS
from kapps.errors import DataError, RecipeError, UnknownNameError, WeightsError
from kapps.exporting import detection
from kapps.tasks.detection.create import load_detector
from kapps.tasks.detection.network_detector import NetworkDetector

SMALL = {
    "features": ("stage1", "stage2"),
    "frozen": "",
    "train_norms": True,
    "channels": 16,
    "units": 32,
    "anchor_sizes": ((16,), (32,), (64,)),
    "proposals_before": 50,
    "proposals_after": 20,
    "score_threshold": 0.01,
    "shorter_side": 64,
    "longer_side": 128,
    "max_detections": 6,
}


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    made = kapps.create_detector("faster_rcnn_resnet18_fpn", classes=["cat", "dog"], config=SMALL)
    for layer in ("box_scores", "box_deltas"):  # as if it had learned: scores differ
        kernel = made.network.get_layer(layer).kernel
        kernel.assign(np.random.default_rng(0).normal(scale=0.05, size=kernel.shape))
    made.network.get_layer("box_scores").bias.assign([1.0, 0.5, -5.0])  # the background is rare
    return made


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (80, 120, 3), dtype="uint8")


def test_answers_are_plain_python_best_first_and_inside_the_image(detector, image):
    found = detector(image, score=0.0)
    assert found
    assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    for each in found:
        assert each["label"] in ("cat", "dog")
        left, top, right, bottom = each["box"]
        assert 0 <= left < right <= 120 + 1e-3
        assert 0 <= top < bottom <= 80 + 1e-3
    json.dumps(found)
    best = found[0]["score"]
    assert len(detector(image, score=best)) == 1
    grey = Image.fromarray(image).convert("L")
    assert isinstance(detector(grey), list)


def test_box_format(detector, image):
    other = NetworkDetector(detector.name, detector.network, detector.config, detector.class_names, "rel_yxyx")
    for ours, theirs in zip(detector(image, score=0.0), other(image, score=0.0), strict=True):
        left, top, right, bottom = ours["box"]
        assert theirs["box"] == pytest.approx([top / 80, left / 120, bottom / 80, right / 120], abs=1e-5)


def test_saved_and_loaded_it_answers_alike(detector, image, tmp_path):
    detector.save(tmp_path / "kept")
    loaded = load_detector(tmp_path / "kept")
    assert isinstance(loaded, NetworkDetector)
    assert loaded.config == detector.config
    for ours, theirs in zip(detector(image, score=0.0), loaded(image, score=0.0), strict=True):
        assert theirs["label"] == ours["label"]
        assert theirs["box"] == pytest.approx(ours["box"], abs=1e-2)
    (tmp_path / "kept" / "detector.json").write_text('{"name": "faster_rcnn_resnet18_fpn"}')
    with pytest.raises(WeightsError, match=r"expected a trained detector, with model.keras and detector.json"):
        load_detector(tmp_path / "kept")
    with pytest.raises(WeightsError, match="expected a trained detector"):
        load_detector(tmp_path / "nothing")


@pytest.mark.slow  # the command line's tests export one, too
@pytest.mark.parametrize("optimize", [False, True])
def test_exported_it_answers_alike_and_takes_images_of_different_sizes(
    detector, image, tmp_path, optimize, monkeypatch
):
    monkeypatch.setattr(detection, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))  # speed
    folder = detector.export(tmp_path / "found", optimize=optimize)
    predictor = kapps.load(tmp_path / "found")
    assert predictor.card.kind == "detection"
    assert predictor.card.flops > 1e6
    assert "any image -> up to 6 objects of 2 classes" in repr(predictor)
    other = image[:50, :70]
    both = predictor([image, other])
    for pixels, found in ((image, predictor(image)), (image, both[0]), (other, both[1])):
        expected = detector(pixels, score=0.0)
        assert [each["label"] for each in found] == [each["label"] for each in expected]
        for ours, theirs in zip(expected, found, strict=True):
            assert theirs["score"] == pytest.approx(ours["score"], abs=1e-4)
            assert theirs["box"] == pytest.approx(ours["box"], abs=0.05)

    served = tf.saved_model.load(str(folder)).signatures["serving_tensors"](image=tf.constant(image[None]))
    assert set(served) == {
        "detection_boxes",
        "detection_scores",
        "detection_classes",
        "detection_class_names",
        "num_detections",
    }
    count = int(served["num_detections"][0])
    names = [name.decode() for name in served["detection_class_names"][0].numpy()]
    assert names[:count] == [each["label"] for each in detector(image, score=0.0)]
    assert not any(names[count:])
    with pytest.raises(kapps.errors.SavedModelError, match="is a detector"):
        predictor.preprocess(image)
    with pytest.raises(kapps.errors.KappsError, match="ends too early"):
        predictor(_png(image)[:2000])


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def test_every_detector_of_the_catalogue_has_a_variant():
    variants = {entry.module: importlib.import_module(entry.module).VARIANTS for entry in DETECTORS}
    for entry in DETECTORS:
        assert entry.name in variants[entry.module]
    assert {name for some in variants.values() for name in some} == set(kapps.list_detectors())


@pytest.mark.parametrize(
    ("name", "backbone", "config"),
    [
        ("rcnn", "resnet20", {"input_size": 32, "proposals": "windows"}),
        ("sppnet", "resnet20", {"scales": (64,), "levels": (2, 1), "proposals": "windows"}),
        ("fast_rcnn", "resnet20", {"units": 8, "shorter_side": 64, "longer_side": 96, "proposals": "windows"}),
        ("yolo", "resnet20", {"side": 64, "grid": 4, "units": 8, "convolutions": ((8, 2),)}),
    ],
)
def test_the_others_are_made_by_their_names_too(name, backbone, config):
    made = kapps.create_detector(name, classes=["a", "b"], backbone=backbone, config=config)
    assert made.name == name
    assert made.config.backbone == backbone
    assert made.class_names == ("a", "b")
    assert made.network.count_params() > 0


def test_another_backbone_brings_its_own_features():
    made = kapps.create_detector(
        "faster_rcnn_resnet50_fpn",
        classes=["a"],
        backbone="squeezenet1_1",
        config={"channels": 8, "units": 8, "shorter_side": 64, "longer_side": 96, "proposals_after": 10},
    )
    levels = [layer.name for layer in made.network.layers if layer.name.startswith("rpn_scores")]
    assert len(made.network.get_layer("proposals").anchor_sizes) == len([name for name in levels if name[-1].isdigit()])
    assert isinstance(made(np.zeros((64, 64, 3), "uint8")), list)


def test_wrong_arguments():
    with pytest.raises(UnknownNameError, match="faster_rcnn_resnet50_fpn"):
        kapps.create_detector("faster_rcnn_resnet50", classes=["a"])
    with pytest.raises(RecipeError, match="expected classes="):
        kapps.create_detector("faster_rcnn_resnet18_fpn")
    with pytest.raises(RecipeError, match="none twice"):
        kapps.create_detector("faster_rcnn_resnet18_fpn", classes=["a", "a"], config=SMALL)
    with pytest.raises(UnknownNameError, match="xyxy"):
        kapps.create_detector("faster_rcnn_resnet18_fpn", classes=["a"], box_format="xyyx", config=SMALL)
    with pytest.raises(UnknownNameError, match="stage3"):
        kapps.create_detector("faster_rcnn_resnet18_fpn", classes=["a"], config={"features": ("stage2", "stag3")})
    with pytest.raises(RecipeError, match="strides double"):
        kapps.create_detector("faster_rcnn_resnet18_fpn", classes=["a"], config={"features": ("stage1", "stage3")})
    with pytest.raises(RecipeError, match="nobody publishes weights of all of it"):
        kapps.create_detector("yolo", classes=["a"], weights="coco")
    with pytest.raises(RecipeError, match="names of two of vgg16's features"):
        kapps.create_detector("faster_rcnn_resnet50_c4", classes=["a"], backbone="vgg16")


def test_data_of_other_classes_is_refused(detector):
    with pytest.raises(DataError, match="expected data with the classes cat, dog, got dog, cat"):
        detector.check_classes(("dog", "cat"))

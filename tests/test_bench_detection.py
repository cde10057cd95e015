"""A detector is measured whole and step by step, its operations alone; what stands beside it answers the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps import bench_detection as module
from kapps.bench_detection import compare_detector, compare_operation, is_detector
from kapps.cli.main import main
from kapps.errors import MissingExtraError, RecipeError, UnknownNameError
from kapps.exporting import detection

CONFIG = {"side": 32, "grid": 4, "units": 8, "convolutions": ((8, 2),), "feature": "stage3", "max_detections": 5}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A detector that finds something everywhere."""
    made = kapps.create_detector("yolo", classes=["a", "b"], backbone="resnet20", config=CONFIG)
    path = tmp_path_factory.mktemp("models") / "yolo"
    made.network.get_layer("grid_fc2").bias.assign(np.tile([0.5, 0.5, 0.3, 0.3, 0.9] * 2 + [0.6, 0.4], 16))
    with pytest.MonkeyPatch.context() as patch:  # tracing the safe decoder takes seconds, and here it does not matter
        patch.setattr(detection, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))
        made.export(path)
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """TensorFlow runs already, with as many threads as it likes; few boxes, no pauses."""
    monkeypatch.setattr(module, "set_tensorflow_threads", lambda threads: None)
    monkeypatch.setattr(module, "_BOXES", 60)
    monkeypatch.setattr(module, "_CHANNELS", 2)
    monkeypatch.setattr(module, "_PAUSE", 0.0)


def test_an_exported_detector_is_measured_with_a_profile(exported):
    result = compare_detector(str(exported), calls=2)
    (row,) = result["rows"]
    assert row["contender"] == "kapps"
    assert row["ratio"] == row["same"] == 1
    assert 0 < row["p25"] <= row["median"] <= row["p75"]
    assert 0 < result["detections"] <= 5
    assert list(result["profile"]["kapps"]) == ["decode", "prepare", "trunk", "detections"]
    assert all(milliseconds > 0 for milliseconds in result["profile"]["kapps"].values())
    assert result["weights"] == "of the export"
    json.dumps(result)


def test_detections_that_are_the_same():
    ours = np.float32([(0, 0, 10, 10), (20, 20, 40, 40)]), np.float32([0.9, 0.8]), np.int32([0, 1])
    assert module._share(ours, tuple(each[::-1] for each in ours)) == 1  # in whatever order
    for place, change in ((0, 2.0), (1, 0.1), (2, 1)):  # boxes, scores, classes
        theirs = [each.copy() for each in ours]
        theirs[place][1] += np.asarray(change, theirs[place].dtype)
        assert module._share(ours, tuple(theirs)) == 0.5
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)
    assert module._share(nothing, nothing) == 1
    assert module._share(ours, nothing) == 0


def test_boxes_around_objects_overlap_more_than_boxes_anywhere(monkeypatch):
    from kapps.boxes.overlap import iou

    monkeypatch.setattr(module, "_BOXES", 300)
    shares = []
    for objects in (10, None):
        boxes, scores = module.seeded_boxes(objects)
        assert boxes.shape == (300, 4)
        assert len(set(scores.tolist())) == 300
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= 1088
        assert boxes[:, 3].max() <= 800
        shares.append((np.asarray(iou(boxes, boxes)) > 0.5).mean())
    assert shares[0] > 3 * shares[1]


@pytest.mark.parametrize("name", module.OPERATIONS)
def test_operations_alone(name):
    result = compare_operation(name, calls=2)
    assert [row["contender"] for row in result["rows"]] == ["kapps", "kapps"]
    assert len({row["case"] for row in result["rows"]}) == 2
    assert all(row["ratio"] == 1 and row["median"] > 0 for row in result["rows"])


@pytest.mark.skipif(
    not module.engines.is_installed("torchvision"), reason="needs the extra: pip install 'kapps[torch]'"
)
@pytest.mark.parametrize("name", module.OPERATIONS)
def test_operations_beside_torchvision_give_the_same(name):
    for row in compare_operation(name, ["torchvision"], calls=1)["rows"]:
        assert row["same"] > 0.999


def test_the_command(exported, capsys):
    assert main(["bench", str(exported), "--calls", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["detections"] > 0
    assert main(["bench", str(exported), "--calls", "1"]) == 0
    table = capsys.readouterr().out
    assert "where the time goes" in table
    assert "same detections" in table
    assert main(["bench", "nms", "--calls", "1"]) == 0
    assert "boxes around 100 objects" in capsys.readouterr().out
    assert main(["bench", str(exported), "--image", "x.png"]) == 2
    assert "detectors are measured on a seeded image" in capsys.readouterr().err


def test_what_cannot_be_measured_is_named(exported, monkeypatch):
    assert is_detector("yolo")
    assert is_detector(str(exported))
    assert not is_detector("resnet50")
    with pytest.raises(RecipeError, match="expected onnxruntime, openvino or torchvision beside a detector, got keras"):
        compare_detector("yolo", ["keras"])
    with pytest.raises(RecipeError, match="expected torchvision beside the operation nms, got keras"):
        compare_operation("nms", ["keras"])
    with pytest.raises(UnknownNameError, match="no operation is named 'nm'"):
        compare_operation("nm")
    with pytest.raises(RecipeError, match="at least 1 call and thread, got 0 calls"):
        compare_detector("yolo", calls=0)
    with pytest.raises(RecipeError, match="got rcnn, which gets proposals from outside"):
        compare_detector("rcnn", calls=1)
    monkeypatch.setattr("kapps.bench.engines.is_installed", lambda package: True)
    with pytest.raises(RecipeError, match="torchvision can only be measured beside faster_rcnn_resnet50_fpn"):
        compare_detector("yolo", ["torchvision"])
    monkeypatch.setattr("kapps.bench.engines.is_installed", lambda package: False)
    with pytest.raises(MissingExtraError, match=r"torchvision is needed .* pip install 'kapps\[torch\]'"):
        compare_operation("nms", ["torchvision"])

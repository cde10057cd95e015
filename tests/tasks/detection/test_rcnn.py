from __future__ import annotations

import dataclasses
import io
import json

import keras
import numpy as np
import pytest

from kapps.errors import DataError, RecipeError, UnknownNameError, WeightsError
from kapps.tasks.detection import rcnn
from kapps.tasks.detection.proposals import sliding_windows
from kapps.tasks.detection.rcnn import RCNN, RCNNConfig

SMALL = RCNNConfig(
    backbone="lenet5_softmax",
    box_feature="s4",
    input_size=28,
    context=2,
    proposals="windows",
    window_sizes=(16, 24),
    window_ratios=(1.0,),
    window_stride=0.3,
    svm_strength=1.0,
    regression_strength=1.0,
)
CLASSES = ("red", "blue")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return rcnn.build(SMALL, 2)


@pytest.fixture(scope="module")
def trained(network, squares, tmp_path_factory):
    detector = RCNN("rcnn", network, SMALL, CLASSES)
    folder = tmp_path_factory.mktemp("run")
    optimizer = keras.optimizers.Adam(0.002)
    rows = detector.fit(squares, epochs=3, steps=8, batch_size=64, optimizer=optimizer, folder=folder, progress=False)
    return detector, rows, folder


def test_network(network):
    found = network(np.zeros((3, 28, 28, 3), np.float32))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "features": (3, 84),
        "box_features": (3, 400),
        "scores": (3, 3),
    }
    # a backbone that ends with a map: its mean, and the whole of it for the boxes
    cifar = rcnn.build(RCNNConfig(backbone="resnet20"), 4)
    assert cifar.output["features"].shape == (None, 64)
    assert cifar.output["box_features"].shape == (None, 8 * 8 * 64)
    assert cifar.output["scores"].shape == (None, 5)


def test_the_papers_own_layers():
    config = rcnn.VARIANTS["rcnn"]
    assert (config.backbone, config.context, config.detection_iou) == ("alexnet", 16, 0.3)
    assert (config.negative_iou, config.regression_iou, config.regression_strength) == (0.3, 0.6, 1000)


def test_it_learns_to_find_squares(trained, square, found_right):
    detector, rows, folder = trained
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert (folder / "log.csv").exists()
    right = np.concatenate(
        [found_right(detector.find(image), targets) for image, targets in map(square, range(20, 28))]
    )
    assert right.mean() >= 0.8
    empty, _ = square(30, empty=True)
    assert (detector.find(empty)["scores"] < 0.5).all()


def test_answers(trained, square):
    detector, *_ = trained
    image, _ = square(3)
    found = detector.find(image)
    assert list(detector.timings) == ["proposals", "features", "classification"]
    assert all(seconds > 0 for seconds in detector.timings.values())
    assert found["boxes"].dtype == found["scores"].dtype == np.float32
    assert found["classes"].dtype == np.int32
    assert (np.diff(found["scores"]) <= 0).all()
    assert found["scores"].min() > SMALL.score_threshold
    assert found["boxes"].min() >= 0
    assert found["boxes"].max() <= 64
    json.dumps(detector(image))


def test_it_knows_what_it_mined(trained):
    detector, *_ = trained
    assert set(detector.mining) == set(CLASSES)
    for figures in detector.mining.values():
        assert figures["positives"] > 0
        assert figures["mined"] >= figures["kept"] > 0


def test_boxes_are_described_alike_alone_and_among_others(trained, square):
    detector, *_ = trained
    image, _ = square(1)
    boxes = sliding_windows(64, 64, [20], stride=0.3)
    assert len(boxes) > rcnn._AT_ONCE
    features, box_features = detector.describe(image, boxes)
    alone, box_alone = detector.describe(image, boxes[70:71])
    np.testing.assert_allclose(features[70:71], alone, atol=1e-4)
    np.testing.assert_allclose(box_features[70:71], box_alone, atol=1e-4)


def test_an_image_without_proposals(trained, square):
    detector, *_ = trained
    blind = RCNN(
        "rcnn",
        detector.network,
        SMALL,
        CLASSES,
        propose=lambda image: np.zeros((0, 4), np.float32),
        machines=detector.machines,
        regression=detector.regression,
    )
    found = blind.find(square(0)[0])
    assert {name: len(values) for name, values in found.items()} == {"boxes": 0, "scores": 0, "classes": 0}
    assert blind(square(0)[0]) == []


def test_saved_and_loaded_it_answers_alike(trained, square, tmp_path):
    detector, *_ = trained
    detector.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.json", "machines.npz", "model.keras"]
    loaded = RCNN.load(tmp_path)
    assert loaded.config == SMALL
    ours, theirs = (each.find(square(2)[0]) for each in (detector, loaded))
    for name, values in ours.items():
        np.testing.assert_allclose(theirs[name], values, atol=1e-4)

    whole = (tmp_path / "machines.npz").read_bytes()
    (tmp_path / "machines.npz").write_bytes(whole[:-30])
    with pytest.raises(WeightsError, match="expected the support vector machines of a detector"):
        RCNN.load(tmp_path)
    with np.load(io.BytesIO(whole)) as arrays:
        np.savez(tmp_path / "machines.npz", **{name: values[:1] for name, values in arrays.items()})
    with pytest.raises(WeightsError, match=r"expected arrays of the shapes \(\(2, 84\), .*found \(\(1, 84\)"):
        RCNN.load(tmp_path)
    (tmp_path / "detector.json").unlink()
    with pytest.raises(WeightsError, match="expected a trained detector"):
        RCNN.load(tmp_path)


def test_before_it_has_learned(network, square, tmp_path):
    detector = RCNN("rcnn", network, SMALL, CLASSES)
    with pytest.raises(RecipeError, match="rcnn has not learned its classes yet: call fit"):
        detector.find(square(0)[0])
    with pytest.raises(RecipeError, match="rcnn has not learned its classes yet"):
        detector.save(tmp_path)


def test_data_that_nothing_can_be_learned_from(network, dataset_of, square, squares):
    detector = RCNN("rcnn", network, SMALL, CLASSES)
    with pytest.raises(DataError, match="expected at least one true box in squares, found none"):
        detector.fit(dataset_of([square(0, empty=True)]), epochs=0, progress=False)
    with pytest.raises(DataError, match="expected data with the classes red, blue, got cat"):
        detector.fit(dataclasses.replace(squares, class_names=("cat",)), progress=False)


def test_what_is_no_network_is_not_exported(network, tmp_path):
    with pytest.raises(RecipeError, match="rcnn has support vector machines"):
        RCNN("rcnn", network, SMALL, CLASSES).export(tmp_path / "rcnn")
    assert not (tmp_path / "rcnn").exists()


def test_wrong_configurations():
    with pytest.raises(
        UnknownNameError, match="no feature of lenet5_softmax is named 'f7': known: c1, s2, c3, s4, c5, f6"
    ):
        rcnn.build(dataclasses.replace(SMALL, feature="f7"), 2)
    with pytest.raises(RecipeError, match="num_classes should be an integer of at least 1, not 0"):
        rcnn.build(SMALL, 0)

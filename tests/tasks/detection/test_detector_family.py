"""The comparison of the family: what its figures are made of, and in slow all of it, tiny."""

from __future__ import annotations

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kapps.data.scenes import make_scene
from kapps.tasks.detection import detector_family
from kapps.tasks.detection.detector_family import CASES, STAGES, Counted, Plan

TINY = Plan(
    train=6,
    test=6,
    trunk_scenes=8,
    views=1,
    trunk_epochs=1,
    tuning_steps=2,
    fast_epochs=1,
    faster_epochs=1,
    timed=2,
    timed_size=(64, 80),
    proposals=70,
)
SECONDS = {
    "proposals": 0.5,
    "features": 0.03,
    "classification": 0.02,
    "selective search": 0.45,
    "R-CNN's features": 5.0,
}


def test_ratios_are_those_of_the_seconds_by_hand():
    assert detector_family.ratios("Fast R-CNN", SECONDS) == pytest.approx(
        {"times R-CNN's speed without proposals": 5.0 / 0.05, "times R-CNN's speed": 5.45 / 0.55}
    )
    own = detector_family.ratios("Faster R-CNN", {**SECONDS, "proposals": 0.009})
    assert own["times selective search's speed"] == pytest.approx(50)
    assert own["times R-CNN's speed without proposals"] == pytest.approx(100)
    assert own["times R-CNN's speed"] == pytest.approx(5.45 / 0.059)
    assert detector_family.ratios("R-CNN", SECONDS) == {}


def test_all_files_under_a_folder_count(tmp_path):
    assert detector_family.disk_megabytes(tmp_path / "nothing") == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(bytes(250_000))
    (tmp_path / "a" / "b" / "two").write_bytes(bytes(500_000))
    assert detector_family.disk_megabytes(tmp_path) == 0.75


def test_stored_features_are_four_bytes_a_number_and_region():
    sizes = {"features": SimpleNamespace(shape=(None, 100)), "box_features": SimpleNamespace(shape=(None, 400))}
    detector = SimpleNamespace(network=SimpleNamespace(output=sizes))
    assert detector_family.stored_megabytes("R-CNN", detector, 2000) == 2000 * 500 * 4 / 1e6
    assert detector_family.stored_megabytes("SPP-net", detector, 0) == 0
    assert detector_family.stored_megabytes("Fast R-CNN", None, 2000) == 0


def test_proposals_are_counted_and_handed_on():
    counted = Counted(lambda image: np.ones((len(image), 4), np.float32))
    assert counted(np.zeros((3, 2, 3), np.uint8)).shape == (3, 4)
    counted(np.zeros((5, 2, 3), np.uint8))
    assert (counted.images, counted.boxes) == (2, 8)


@pytest.mark.parametrize("given", [0, 3, 50])
def test_boxes_by_lot_fill_up_and_lie_in_the_image(given):
    boxes = np.tile(np.float32([1, 2, 11, 12]), (given, 1))
    found = detector_family.filled(boxes, 50, (30, 60))
    assert found.shape == (50, 4)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:given], boxes)
    added = found[given:]
    assert (added >= 0).all()
    assert (added[:, [2, 3]] <= [60, 30]).all()
    assert (added[:, 2:] - added[:, :2] >= 8 - 1e-4).all()
    np.testing.assert_array_equal(found, detector_family.filled(boxes, 50, (30, 60)))


def test_pieces_show_one_object_whole(dataset_of, square):
    examples = [square(number) for number in range(3)] + [square(9, empty=True)]
    pieces, labels = detector_family.pieces_of(dataset_of(examples), views=4, seed=0)
    assert pieces.dtype == np.uint8
    assert pieces.shape[1:] == (72, 72, 3)
    assert len(pieces) == len(labels) == 4 * sum(len(targets["classes"]) for _, targets in examples)
    for piece, label in zip(pieces, labels, strict=True):
        channel = 0 if label == 0 else 2  # red or blue, on dark noise
        bright = piece[..., channel] > 170
        assert 0.12 < bright.mean() <= 1, "two fifths of each side at least"
        rows = bright.any(axis=1).mean()
        assert rows >= 0.38
    again, _ = detector_family.pieces_of(dataset_of(examples), views=4, seed=0)
    np.testing.assert_array_equal(pieces, again)
    assert (pieces != detector_family.pieces_of(dataset_of(examples), views=4, seed=1)[0]).any()


def test_images_are_drawn_once(squares):
    held = detector_family.in_memory(squares)
    assert held.decode is None
    assert held.num_examples == 8
    for (one, targets), (other, others) in zip(
        held.examples.as_numpy_iterator(), squares.examples.as_numpy_iterator(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(targets["boxes"], others["boxes"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_each_of_the_family_is_trained_and_timed(case, tmp_path):
    lines: list[str] = []
    keras.utils.set_random_seed(0)
    result = detector_family.run(case, 0, data_dir=None, folder=tmp_path, report=lines.append, plan=TINY)
    json.dumps(result)
    assert 0 <= result["value"] <= 1
    parts = result["parts"]
    assert all(parts[stage] > 0 for stage in STAGES)
    assert parts["training seconds"] > 0
    assert len(result["timings"]) == TINY.timed
    assert len(lines) == 3
    assert not list(tmp_path.iterdir()), "what training wrote is measured and gone"
    assert ("times R-CNN's speed without proposals" in parts) == (case != "R-CNN")
    assert ("times selective search's speed" in parts) == (case == "Faster R-CNN")
    assert ("features if stored, MB" in parts) == (case != "Faster R-CNN")
    if case == "R-CNN":
        assert parts["features if stored, MB"] > 0
        assert parts["disk, MB"] > 0


@pytest.mark.slow
def test_faster_rcnn_in_stages_answers_as_the_whole():
    keras.utils.set_random_seed(1)
    detector = detector_family.make("Faster R-CNN", {}, TINY)
    scores = detector.network.get_layer("box_scores")  # as if it had learned: scores differ, the background is rare
    scores.kernel.assign(np.random.default_rng(0).normal(scale=0.05, size=scores.kernel.shape))
    scores.bias.assign([0.0] * 18 + [-9.0])
    staged = detector_family.StagedFasterRCNN(detector)
    for size in ((128, 128), (90, 120)):
        image = make_scene(3, 0, size).image
        expected, found = detector.find(image), staged.find(image)
        assert len(found["boxes"]) > 0
        np.testing.assert_array_equal(found["classes"], expected["classes"])
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-2)
        assert set(staged.timings) == set(STAGES)

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import DataError, RecipeError, UnknownNameError, WeightsError
from kapps.tasks.detection import overfeat_detector
from kapps.tasks.detection.overfeat_detector import OverFeatDetector, OverFeatDetectorConfig, window_answers
from kapps.tasks.detection.overfeat_training import OverFeatTraining

CLASSES = ("red", "blue")
# Windows of 16 pixels, 4 pixels apart: maps of 4x4, pooled to 2x2.
SMALL = OverFeatDetectorConfig(
    backbone="resnet20",
    feature="stage3",
    view=16,
    pool=2,
    window=2,
    units=(16, 16),
    box_units=(16, 16),
    scales=(1.0, 2.0),
    context=(1.0, 1.8),
    objects_per_image=3,
    backgrounds_per_image=4,
    score_threshold=0.3,
    merge_threshold=0.8,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)
# Windows of 8 pixels, one pixel apart.
TINY = dataclasses.replace(SMALL, feature="stem", view=8, window=4)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return overfeat_detector.build(SMALL, 2)


class Foretold(OverFeatDetector):
    """Windows whose answers are given: at each scale the boxes and the probabilities of two classes."""

    def __init__(self, *scales, **changes):
        config = dataclasses.replace(SMALL, scales=(1.0, 2.0)[: len(scales)], **changes)
        super().__init__("overfeat_detector", None, config, CLASSES)
        self.answers = list(scales)

    def _answer(self, image):
        boxes, scores = self.answers.pop(0)
        boxes = np.repeat(np.float32([boxes])[:, :, None], 2, axis=2)  # [1, n, classes, 4]
        return tf.constant(boxes), tf.constant(np.float32([scores]))


def test_windows_of_all_scales_are_merged_class_by_class():
    # an image of 16x32 as it is, and at twice its size
    first = [(2, 2, 10, 10), (4, 2, 12, 10), (20, 0, 40, 16)], [(0.8, 0), (0.4, 0.5), (0.1, 0.9)]
    second = [(4, 4, 24, 20), (0, 0, 9, 9)], [(0.6, 0.2), (0.2, 0.3)]  # halved: (2, 2, 12, 10)
    found = Foretold(first, second).find(np.zeros((16, 32, 3), "uint8"))
    # class 0: three boxes, sum 1.8; class 1: 0.5 and 0.9 are apart; the last is cut at 32
    np.testing.assert_array_equal(found["classes"], [0, 1, 1])
    np.testing.assert_allclose(found["boxes"], [(8 / 3, 2, 34 / 3, 10), (20, 0, 32, 16), (4, 2, 12, 10)], rtol=1e-5)
    np.testing.assert_allclose(found["scores"], [1.8 / 2.8, 0.9 / 1.9, 0.5 / 1.5], rtol=1e-5)
    assert found["scores"].dtype == found["boxes"].dtype == np.float32
    assert found["classes"].dtype == np.int32


def test_limits():
    windows = [(2, 2, 10, 10), (3, 2, 11, 10), (20, 0, 30, 16)], [(0.8, 0), (0.4, 0), (0.5, 0)]
    image = np.zeros((16, 32, 3), "uint8")
    assert len(Foretold(windows).find(image)["scores"]) == 2
    np.testing.assert_allclose(Foretold(windows, max_windows=2).find(image)["scores"], [0.8 / 1.8, 0.5 / 1.5])
    assert len(Foretold(windows, max_detections=1).find(image)["scores"]) == 1
    # boxes outside of the image, and none at all
    outside = [(40, 2, 50, 10), (5, 5, 5, 9)], [(0.9, 0), (0.9, 0)]
    for windows in (outside, ([(2, 2, 10, 10)], [(0.1, 0.3)])):
        found = Foretold(windows).find(image)
        assert [found[key].shape for key in ("boxes", "scores", "classes")] == [(0, 4), (0,), (0,)]


def test_answers_of_windows(network):
    """Where all offsets of the pooling are, and where the boxes of each place lie."""
    image = np.random.default_rng(0).normal(size=(24, 36, 3)).astype("float32")
    boxes, scores = window_answers(network, SMALL)(image)
    # maps of 6x9: at offset 0 pooled to 3x4 and at offset 1 to 2x4; all get as many windows as the last has: 1x3
    assert boxes.shape == (2, 6, 2, 4)
    assert scores.shape == (2, 6, 2)
    coarse = network(image[None])[0]
    assert coarse.shape == (2, 3, 3 + 8)
    np.testing.assert_allclose(scores[0, ::2], tf.nn.softmax(coarse[0, :, :3])[:, :2], rtol=1e-3, atol=1e-5)
    places = np.reshape(coarse[0, :, 3:], (3, 2, 4)) * 16
    places += np.float32([(0, 0, 0, 0), (8, 0, 8, 0), (16, 0, 16, 0)])[:, None]  # two map pixels of 4 image pixels
    np.testing.assert_allclose(boxes[0, ::2], places, rtol=1e-3, atol=1e-3)


def test_an_image_smaller_than_a_window_is_padded(network):
    answer = window_answers(network, SMALL)
    small = np.random.default_rng(0).normal(size=(5, 11, 3)).astype("float32")
    padded = np.pad(small, ((0, 15), (0, 9), (0, 0)))
    for one, two in zip(answer(small), answer(padded), strict=True):
        assert one.shape[:2] == (2, 2)
        np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "scale", "resized"),
    [((100, 150), 1.5, (24, 36)), ((150, 100), None, (48, 32)), ((1, 3000), 1.0, (1, 64)), ((8, 8), 2.0, (32, 32))],
)
def test_images_are_resized_by_their_shorter_side(size, scale, resized):
    image, sides = overfeat_detector.prepare(SMALL, np.full((*size, 3), 255, "uint8"), scale)
    assert image.shape == (*resized, 3)
    assert tuple(sides.numpy()) == resized
    np.testing.assert_allclose(image, 1, rtol=1e-5)


def test_what_learns_in_each_stage(network):
    learned = {}
    for stage in ("classes", "boxes"):
        learner = OverFeatTraining(network, SMALL, learn=stage)
        learned[stage] = {variable.path for variable in learner.trainable_variables}
    assert learned["boxes"] == {
        f"{layer}/{kind}" for layer in ("box_fc1", "box_fc2", "boxes") for kind in ("kernel", "bias")
    }
    assert not learned["boxes"] & learned["classes"]
    assert learned["boxes"] | learned["classes"] == {variable.path for variable in network.trainable_variables}


def test_with_a_margin_a_window_is_seen_as_in_its_image():
    """The stem is a 3x3 convolution: a window's outermost pixels need one more on each side."""
    network = overfeat_detector.build(TINY, 2)
    image = np.random.default_rng(0).normal(size=(1, 20, 24, 3)).astype("float32")
    window = np.float32([[(5, 6, 13, 14)]])
    whole = keras.Model(network.input, network.get_layer("stem").output)(image)[:, 6:14, 5:13]
    for margin, same in ((0, False), (1, True), (2, True)):
        learner = OverFeatTraining(network, dataclasses.replace(TINY, margin=margin), learn="classes")
        maps = learner.maps_of(image, window, training=False)
        assert maps.shape == (1, 8, 8, 16)
        assert np.allclose(maps, whole, atol=1e-4) == same


@pytest.fixture(scope="module")
def trained(tmp_path_factory, planted):
    """A detector after a step of each stage on three images, its rows, where it is kept, and its weights before."""
    network = overfeat_detector.build(TINY, 2)
    before = {variable.path: variable.numpy() for variable in network.variables}
    detector = OverFeatDetector("overfeat_detector", network, TINY, CLASSES)
    rows = detector.fit(planted(3, sides=(10, 20)), epochs=1, batch_size=3, progress=False)
    folder = tmp_path_factory.mktemp("overfeat")
    detector.save(folder)
    return detector, rows, folder, before


def test_two_stages(trained):
    detector, rows, _, before = trained
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[0]["loss"] == pytest.approx(rows[0]["class_loss"])
    assert rows[1]["loss"] == pytest.approx(rows[1]["box_loss"])
    assert all(np.abs(variable.numpy() - before[variable.path]).max() > 0 for variable in detector.network.variables)


def test_kept_and_loaded(trained):
    detector, _, folder, _ = trained
    loaded = OverFeatDetector.load(folder)
    assert (loaded.name, loaded.class_names, loaded.config) == ("overfeat_detector", CLASSES, TINY)
    image = np.random.default_rng(1).normal(size=(24, 24, 3)).astype("float32")
    for one, two in zip(detector._answer(image), loaded._answer(image), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    facts = (folder / "detector.json").read_text()
    (folder / "detector.json").write_text(facts.replace('"view": 8', '"view": "8"'))
    with pytest.raises(WeightsError, match="config field 'view' should be int, not '8'"):
        OverFeatDetector.load(folder)


def test_wrong_configurations():
    with pytest.raises(RecipeError, match="num_classes should be an integer of at least 1, not 0"):
        overfeat_detector.build(SMALL, 0)
    with pytest.raises(RecipeError, match=r"expected scales of at least 1 and a context .* got \(0\.5, 1\.0\)"):
        overfeat_detector.build(dataclasses.replace(SMALL, scales=(0.5, 1.0)), 2)
    with pytest.raises(UnknownNameError, match="no map of resnet20 is named 'stage4'"):
        overfeat_detector.build(dataclasses.replace(SMALL, feature="stage4"), 2)
    with pytest.raises(RecipeError, match=r"a side of pool \* window = 4 for a view of 20 pixels, got 5 from resnet20"):
        overfeat_detector.build(dataclasses.replace(SMALL, view=20), 2)


def test_data_of_other_classes(trained, planted):
    detector, *_ = trained
    other = dataclasses.replace(planted(2, sides=(10, 20)), class_names=("blue", "red"))
    with pytest.raises(DataError, match="expected data with the classes red, blue, got blue, red"):
        detector.fit(other)


@pytest.mark.slow
def test_the_papers_windows():
    config = dataclasses.replace(OverFeatDetectorConfig(), units=(8, 8), box_units=(8, 8))
    network = overfeat_detector.build(config, 20)
    assert network(np.zeros((1, 231, 231, 3))).shape == (1, 1, 1, 101)
    boxes, scores = window_answers(network, config)(np.zeros((245, 300, 3), "float32"))
    # maps of 12x16, one pixel more than a window has is needed for the second offset
    assert scores.shape[2] == 20
    assert boxes.shape[:3] == scores.shape
    accurate = dataclasses.replace(config, backbone="overfeat_accurate", feature="conv6", view=221, pool=3, window=5)
    network = overfeat_detector.build(accurate, 20)
    boxes, scores = window_answers(network, accurate)(np.zeros((281, 317, 3), "float32"))
    assert scores.shape == (6, 9, 20)  # table 5
    corners = np.asarray(boxes)[..., 0, :2]
    np.testing.assert_allclose(np.diff(corners[0, :, 0]), 12, atol=1)


@pytest.mark.slow
def test_learns_planted_squares(planted):
    keras.utils.set_random_seed(1)
    data = planted(16, sides=(10, 20))
    many = dataclasses.replace(data, records=data.records.repeat(20), num_examples=320)  # fewer ends of epochs
    # the stem sees little of what is around a window
    changes = {"units": (64, 64), "box_units": (64, 64), "dropout_rate": 0.1, "scales": (1.0, 1.4, 2.0)}
    config = dataclasses.replace(SMALL, feature="stem", window=8, margin=1, **changes)
    detector = OverFeatDetector("overfeat_detector", overfeat_detector.build(config, 2), config, CLASSES)
    optimizer = keras.optimizers.Adam(2e-3)
    detector.fit(many, epochs=15, batch_size=8, optimizer=optimizer, progress=False)
    figures = detector.evaluate(data)
    assert figures["AP50"] > 0.8
    assert int(optimizer.iterations) == 0  # copies learn

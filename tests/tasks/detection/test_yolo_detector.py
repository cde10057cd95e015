from __future__ import annotations

import dataclasses
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import DataError, WeightsError
from kapps.tasks.detection import yolo
from kapps.tasks.detection.yolo import YoloConfig
from kapps.tasks.detection.yolo_detector import YoloDetector, YoloTraining

CLASSES = ("red", "blue")
SMALL = YoloConfig(
    backbone="resnet20",
    feature="stem",
    convolutions=((8, 2), (16, 2), (16, 2)),
    units=0,
    grid=4,
    side=32,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, planted):
    """A detector after two steps on three images, its rows, and where it is kept."""
    keras.utils.set_random_seed(0)
    detector = YoloDetector("yolo", yolo.build(SMALL, 2), SMALL, CLASSES)
    rows = detector.fit(planted(3, sides=(9, 15)), epochs=2, batch_size=3, progress=False)
    folder = tmp_path_factory.mktemp("yolo")
    detector.save(folder)
    return detector, rows, folder


def test_what_a_step_reports(trained):
    _, rows, _ = trained
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        parts = [row[f"{name}_loss"] for name in ("centre", "size", "object", "no_object", "class")]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert all(np.isfinite(parts))


def test_answers_for_images_of_any_size(trained):
    detector, _, _ = trained
    config = dataclasses.replace(SMALL, score_threshold=0.0)
    every = YoloDetector("yolo", yolo.build(config, 2), config, CLASSES)
    every.network.get_layer("answers").bias.assign([0.5, 0.5, 0.3, 0.3, 1, 0.5, 0.5, 0.9, 0.5, 0.5, 0.6, 0.4])
    for height, width in ((50, 70), (7, 90)):
        found = every.find(np.full((height, width, 3), 128, "uint8"))
        assert found["boxes"].shape == (len(found["scores"]), 4)
        assert len(found["scores"]) > 16
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"][:, 2] <= width + 1e-3).all()
        assert (found["boxes"][:, 3] <= height + 1e-3).all()
        assert found["boxes"][:, 2].max() > 0.9 * width
        assert found["boxes"][:, 3].max() > 0.9 * height
        assert (np.diff(found["scores"]) <= 0).all()
    assert isinstance(detector(np.zeros((9, 9, 3), "uint8")), list)


def test_kept_and_loaded(trained):
    detector, _, folder = trained
    loaded = YoloDetector.load(folder)
    assert (loaded.name, loaded.class_names, loaded.config) == ("yolo", CLASSES, SMALL)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype="uint8")
    for key, value in detector.find(image).items():
        np.testing.assert_allclose(loaded.find(image)[key], value, rtol=1e-5, atol=1e-5)


def test_what_is_no_detector(trained, tmp_path):
    _, _, folder = trained
    with pytest.raises(WeightsError, match=r"expected a trained detector, with model\.keras and detector\.json"):
        YoloDetector.load(tmp_path)
    facts = (folder / "detector.json").read_text()
    (tmp_path / "detector.json").write_text(facts.replace('"grid"', '"gird"'))
    with pytest.raises(WeightsError, match="no config field 'gird'"):
        YoloDetector.load(tmp_path)


def test_data_of_other_classes(trained, planted):
    detector, _, _ = trained
    other = dataclasses.replace(planted(2, sides=(9, 15)), class_names=("blue", "red"))
    with pytest.raises(DataError, match="expected data with the classes red, blue, got blue, red"):
        detector.fit(other)
    with pytest.raises(DataError, match="expected data with the classes red, blue, got blue, red"):
        detector.fit(planted(2, sides=(9, 15)), validation=other)


def test_a_batch_without_boxes_is_no_nan(planted):
    learner = YoloTraining(yolo.build(SMALL, 2), SMALL)
    learner.compile(optimizer=keras.optimizers.SGD(0.1))
    inputs, truths = next(iter(planted(1, sides=(9, 15)).batches(1, partial(yolo.prepare, SMALL))))
    assert truths["boxes"].shape == (1, 0, 4)
    figures = {name: float(value) for name, value in learner.train_step((inputs, truths)).items()}
    assert np.isfinite(list(figures.values())).all()
    assert figures["centre_loss"] == figures["object_loss"] == figures["class_loss"] == 0


@pytest.mark.slow
def test_learns_planted_squares(planted):
    keras.utils.set_random_seed(1)
    data = planted(16, sides=(9, 15))
    many = dataclasses.replace(data, records=data.records.repeat(25), num_examples=400)  # fewer ends of epochs
    config = dataclasses.replace(SMALL, convolutions=((32, 2), (64, 2), (64, 2), (64, 1)))
    detector = YoloDetector("yolo", yolo.build(config, 2), config, CLASSES)
    detector.fit(many, epochs=10, batch_size=8, optimizer=keras.optimizers.Adam(2e-3), progress=False)
    figures = detector.evaluate(data)
    assert figures["AP50"] > 0.9
    image, _ = next(iter(data.examples))
    assert not detector(image.numpy())


@pytest.mark.slow
def test_goes_on_where_it_was(tmp_path, planted):
    def fresh():
        keras.utils.set_random_seed(0)
        return YoloDetector("yolo", yolo.build(SMALL, 2), SMALL, CLASSES)

    options = {"batch_size": 2, "progress": False}
    straight, stopped = fresh(), fresh()
    straight.fit(planted(4, sides=(9, 15)), epochs=3, optimizer=keras.optimizers.SGD(0.01), **options)
    stopped.fit(planted(4, sides=(9, 15)), epochs=2, folder=tmp_path, optimizer=keras.optimizers.SGD(0.01), **options)
    resumed = fresh()
    rows = resumed.fit(
        planted(4, sides=(9, 15)), epochs=3, folder=tmp_path, optimizer=keras.optimizers.SGD(0.01), **options
    )
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for one, two in zip(straight.network.weights, resumed.network.weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_as_a_saved_model(trained, tmp_path):
    detector, _, _ = trained
    module = tf.Module()
    module.detect, module.network = detector._detect, detector.network
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.detect)
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    image = tf.constant(np.random.default_rng(1).integers(0, 256, (33, 77, 3), dtype="uint8"))
    expected = module.detect(image)
    for name, value in serve(image=image).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)

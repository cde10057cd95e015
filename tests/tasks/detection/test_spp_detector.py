from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.create import create_backbone
from kapps.errors import RecipeError, UnknownNameError
from kapps.layers.spatial_pyramid_pooling import SpatialPyramidPooling
from kapps.tasks.detection import spp_detector
from kapps.tasks.detection.region_detector import dense_layers, map_stride, pooled_map
from kapps.tasks.detection.spp_detector import SPPDetector, SPPNetConfig, first_centre, map_windows

SMALL = SPPNetConfig(
    backbone="resnet20",
    feature="stage1",
    levels=(3, 2, 1),
    scales=(64, 96),
    longer_side=200,
    proposals="windows",
    window_sizes=(16, 24),
    window_ratios=(1.0,),
    window_stride=0.25,
    svm_strength=1.0,
    regression_strength=1.0,
)
CLASSES = ("red", "blue")


@pytest.fixture(scope="module")
def zf5():
    """The paper's own network, with weights as they start."""
    return spp_detector.build(spp_detector.VARIANTS["sppnet"], 2)


@pytest.fixture(scope="module")
def trained(squares):
    keras.utils.set_random_seed(0)
    detector = SPPDetector("sppnet", spp_detector.build(SMALL, 2), SMALL, CLASSES)
    rows = detector.fit(squares, epochs=2, batch_size=32, progress=False)
    return detector, rows


def test_corners_by_hand():
    # stride 16, centres at 0, 16, 32, ...: the box from 10 to 50 has those at 16, 32 and 48 inside
    np.testing.assert_array_equal(map_windows([(10, 20, 50, 100)], 16, 0, (20, 20)), [[1, 2, 3, 6]])
    # what ends at a centre does not have it inside
    np.testing.assert_array_equal(map_windows([(16, 0, 48, 32)], 16, 0, (20, 20)), [[2, 1, 2, 1]])
    # centres at 8, 24, 40: the offset moves all
    np.testing.assert_array_equal(map_windows([(10, 20, 50, 100)], 16, 8, (20, 20)), [[1, 1, 2, 5]])
    # without a centre inside, between 16 and 32: one pixel; and nothing leaves the map
    np.testing.assert_array_equal(map_windows([(18, 0, 30, 400)], 16, 0, (5, 7)), [[1, 1, 1, 4]])
    assert map_windows(np.zeros((0, 4)), 16, 0, (5, 7)).shape == (0, 4)


def test_where_the_first_receptive_field_is_centred(zf5):
    # 2 + 2 + 4 + 8 = 16 pixels from the four layers with stride 2 and little padding; the overhanging pooling costs one
    detector = SPPDetector("sppnet", zf5, spp_detector.VARIANTS["sppnet"], CLASSES)
    assert (detector._stride, detector._offset) == (16, 15)
    image = keras.Input((None, None, 3))
    x = keras.layers.MaxPooling2D(4)(keras.layers.Conv2D(1, 3, padding="same")(image))
    assert first_centre(keras.Model(image, x), 4) == 1.5
    x = keras.layers.Conv2D(1, 5, strides=2)(image)  # without padding: the first one's centre is its third pixel
    assert first_centre(keras.Model(image, x), 2) == 2


def test_which_map_and_which_layers_are_used(zf5):
    assert zf5.output["box_features"].shape == (None, None, 50 * 256)
    assert zf5.output["features"].shape == (None, None, 4096)
    assert zf5.get_layer("level1").input[0] is zf5.get_layer("conv5").output
    backbone = create_backbone("resnet20", input_shape=(None, None, 3))
    assert pooled_map(backbone, "") is backbone.get_layer("stage3").output
    assert dense_layers(backbone) == []
    assert map_stride(backbone, backbone.get_layer("stage2").output) == 2
    with pytest.raises(UnknownNameError, match="no feature of resnet20 is named 'stage9': did you mean 'stage"):
        pooled_map(backbone, "stage9")
    image = keras.Input((None, None, 3))
    flat = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    with pytest.raises(RecipeError, match=r"mean: expected a feature that is a map \[B, H, W, C\], got \[None, 3\]"):
        pooled_map(keras.Model(image, {"mean": flat}), "mean")


def test_a_windows_pyramid_is_that_of_the_cropped_map(trained):
    detector, _ = trained
    maps = np.random.default_rng(0).normal(size=(1, 11, 13, 16)).astype(np.float32)
    windows = np.float32([(0, 0, 12, 10), (2, 3, 8, 9), (5, 1, 5, 7), (4, 4, 4, 4)])  # both ends included
    found = detector._pool(maps, windows[None]).numpy()[0]
    assert found.shape == (4, 14 * 16)
    layer = SpatialPyramidPooling((3, 2, 1))
    for row, (left, top, right, bottom) in zip(found, windows.astype(int), strict=True):
        crop = maps[:, top : bottom + 1, left : right + 1]
        np.testing.assert_array_equal(row, layer(crop)[0])


def test_every_window_comes_from_the_scale_that_fits_it(trained, monkeypatch):
    detector, _ = trained
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    boxes = np.float32([(0, 0, 20, 20), (0, 0, 60, 60)])
    asked = []
    real = spp_detector.prepared

    def watched(config, image, shorter, *rest):
        asked.append(shorter)
        return real(config, image, shorter, *rest)

    monkeypatch.setattr(spp_detector, "prepared", watched)
    monkeypatch.setattr(spp_detector, "_PIXELS", 60 * 60)
    both = detector._pyramid(image, boxes)
    assert asked == [64, 96]  # the large box at the first, the small one at the second
    for number, scale in ((0, 96), (1, 64)):
        only = SPPDetector("sppnet", detector.network, dataclasses.replace(SMALL, scales=(scale,)), CLASSES)
        np.testing.assert_allclose(both[number], only._pyramid(image, boxes)[number], atol=1e-5)


def test_it_learns_to_find_squares(trained, square, found_right):
    detector, rows = trained
    assert [row["epoch"] for row in rows] == [1, 2]
    right = np.concatenate(
        [found_right(detector.find(image), targets) for image, targets in map(square, range(20, 28))]
    )
    assert right.mean() >= 0.8
    assert list(detector.timings) == ["proposals", "features", "classification"]
    empty, _ = square(30, empty=True)
    assert (detector.find(empty)["scores"] < 0.5).all()


def test_only_what_lies_behind_the_pyramid_is_fine_tuned(zf5):
    detector = SPPDetector("sppnet", zf5, spp_detector.VARIANTS["sppnet"], CLASSES)
    learner, spec = detector.fine_tuning()
    assert spec.shape == (None, 12800)
    vectors = np.random.default_rng(0).normal(size=(2, 12800)).astype(np.float32)
    assert learner(vectors).shape == (2, 3)
    learns = {id(variable) for variable in learner.trainable_variables}
    own = [zf5.get_layer(name) for name in ("fc6", "fc7", "scores")]
    assert learns == {id(variable) for layer in own for variable in layer.trainable_variables}
    expected = own[1](own[0](vectors))
    np.testing.assert_allclose(detector._features(vectors[None])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 150), (150, 1), (3, 3)])
def test_images_of_every_shape(trained, size):
    detector, _ = trained
    found = detector.find(np.full((*size, 3), 120, np.uint8))
    assert np.isfinite(found["scores"]).all()
    assert (found["boxes"] <= [size[1], size[0]] * 2).all()


def test_saved_and_loaded_it_answers_alike(trained, square, tmp_path):
    detector, _ = trained
    detector.save(tmp_path)
    loaded = SPPDetector.load(tmp_path)
    ours, theirs = (each.find(square(2)[0]) for each in (detector, loaded))
    assert len(ours["scores"])
    for name, values in ours.items():
        np.testing.assert_allclose(theirs[name], values, atol=1e-4)


def test_wrong_configurations():
    for field in ("levels", "scales"):
        with pytest.raises(RecipeError, match=f"sppnet: expected {field} of at least 1, got"):
            spp_detector.build(dataclasses.replace(SMALL, **{field: ()}), 2)


def test_windows_of_an_image_at_once_are_those_of_one_by_one(trained, square):
    detector, _ = trained
    image, _ = square(1)
    boxes = detector.propose(image)[::40]
    features, pyramid = detector.describe(image, boxes)
    for number in (0, len(boxes) - 1):
        alone, own = detector.describe(image, boxes[number : number + 1])
        np.testing.assert_allclose(pyramid[number], own[0], atol=1e-5)
        np.testing.assert_allclose(features[number], alone[0], atol=1e-5)
    assert tf.rank(features) == 2

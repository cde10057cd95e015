from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import RecipeError, UnknownNameError
from kapps.tasks.detection import yolo
from kapps.tasks.detection.yolo import YoloConfig, grid_targets

SMALL = YoloConfig(backbone="resnet20", feature="stem", convolutions=((8, 2), (8, 2), (8, 2)), units=0, grid=4, side=32)


def targets_of(boxes, classes=None, valid=None, size=(40, 80), grid=2):
    boxes = np.float32(boxes).reshape(1, -1, 4)
    classes = np.zeros(boxes.shape[:2], "int32") if classes is None else np.int32([classes])
    valid = np.ones(boxes.shape[:2], bool) if valid is None else np.array([valid])
    places, found = grid_targets(boxes, classes, valid, np.float32([size]), grid)
    assert places.shape == (1, grid, grid, 4)
    return places[0].numpy(), found[0].numpy()


def test_targets_by_hand():
    # the centre (52, 24) is in the second row and column; 20 of 80 and 10 of 40 pixels are a quarter
    places, classes = targets_of([(42, 19, 62, 29)], [3])
    np.testing.assert_array_equal(classes, [(-1, -1), (-1, 3)])
    np.testing.assert_allclose(places[1, 1], (12 / 40, 4 / 20, 0.5, 0.5), rtol=1e-5)
    assert np.count_nonzero(places) == 4


def test_a_centre_on_a_border_belongs_to_the_cell_behind_it():
    places, classes = targets_of([(30, 10, 50, 30)])  # (40, 20) is a corner of all four cells
    np.testing.assert_array_equal(classes, [(-1, -1), (-1, 0)])
    np.testing.assert_allclose(places[1, 1, :2], 0)
    # the image's right and bottom edge have no cell behind them
    places, classes = targets_of([(78, 38, 82, 42)])
    np.testing.assert_array_equal(classes, [(-1, -1), (-1, 0)])
    np.testing.assert_allclose(places[1, 1, :2], 1)


def test_of_two_objects_in_a_cell_the_larger_is_kept():
    small, large, other = (10, 5, 20, 15), (0, 0, 30, 18), (60, 5, 70, 15)
    for boxes, numbers in (((small, large, other), (0, 1, 2)), ((large, other, small), (1, 2, 0))):
        places, classes = targets_of(boxes, numbers)
        np.testing.assert_array_equal(classes, [(1, 2), (-1, -1)])
        np.testing.assert_allclose(places[0, 0, 2:] ** 2, (30 / 80, 18 / 40), rtol=1e-5)
    # of equal ones the first
    assert targets_of([small, small], [5, 6])[1][0, 0] == 5
    # one that only pads the batch is none
    assert targets_of([small, large], [0, 1], [True, False])[1][0, 0] == 0


def test_images_without_objects():
    for boxes, valid in (([], []), ([(0, 0, 10, 10)], [False])):
        places, classes = targets_of(boxes, [0] * len(valid), valid)
        assert not places.any()
        assert (classes == -1).all()


@pytest.mark.parametrize("size", [(480, 640), (1, 900), (3, 3)])
def test_images_are_stretched(size):
    image, sides = yolo.prepare(YoloConfig(), np.full((*size, 3), 255, "uint8"))
    assert image.shape == (448, 448, 3)
    assert sides.numpy().tolist() == [448, 448]
    white = (1 - np.float32(YoloConfig().mean)) / np.float32(YoloConfig().std)
    np.testing.assert_allclose(image, np.broadcast_to(white, image.shape), rtol=1e-4)
    # floats are 0 to 1 already; and the other order of channels
    same, _ = yolo.prepare(YoloConfig(), np.ones((*size, 3), "float32"))
    np.testing.assert_allclose(same, image, atol=1e-5)
    colour = np.zeros((2, 2, 3), "uint8") + np.uint8([255, 0, 0])
    flipped, _ = yolo.prepare(YoloConfig(mean=(0,) * 3, std=(1,) * 3, channel_order="bgr"), colour)
    np.testing.assert_allclose(flipped[0, 0], (0, 0, 1), atol=1e-6)


def test_network():
    model = yolo.build(SMALL, 3)
    assert model.get_layer("answers").output.shape == (None, 4, 4, 13)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    found = model({"image": images, "sizes": np.float32([(32, 32)] * 2)}, training=False)
    assert found["detection_boxes"].shape == (2, 100, 4)
    # with full connections the maps may have another size than the grid
    config = dataclasses.replace(SMALL, convolutions=((4, 2), (4, 2)), units=8, grid=3)
    model = yolo.build(config, 2)
    assert model.get_layer("grid_conv2").output.shape == (None, 8, 8, 4)
    assert model.get_layer("answers").output.shape == (None, 3, 3, 12)


def test_wrong_configurations():
    with pytest.raises(RecipeError, match="num_classes should be an integer of at least 1, not 0"):
        yolo.build(SMALL, 0)
    with pytest.raises(RecipeError, match="expected maps as large as the grid, 5x5, where units is 0, got 4x4"):
        yolo.build(dataclasses.replace(SMALL, grid=5), 3)
    with pytest.raises(UnknownNameError, match="no map of resnet20 is named 'stage9'"):
        yolo.build(dataclasses.replace(SMALL, feature="stage9"), 3)
    with pytest.raises(RecipeError, match="expected a backbone with maps, mlp has none"):
        yolo.build(dataclasses.replace(SMALL, backbone="mlp"), 3)


@pytest.mark.slow
def test_the_papers_grid():
    model = yolo.build(dataclasses.replace(YoloConfig(), units=16))
    assert model.get_layer("stage4").output.shape == (None, 14, 14, 512)
    assert model.get_layer("grid_conv4").output.shape == (None, 7, 7, 1024)
    assert model.get_layer("answers").output.shape == (None, 7, 7, 30)
    assert tf.reduce_prod(model.get_layer("grid_fc2").kernel.shape) == 16 * 7 * 7 * 30

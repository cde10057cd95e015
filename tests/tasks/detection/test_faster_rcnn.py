from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import RecipeError, WeightsError
from kapps.tasks.detection import faster_rcnn
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.trained_detector import one_image

SMALL = FasterRCNNConfig(
    backbone="resnet18",
    frozen="stage1",
    channels=16,
    units=32,
    proposals_before=50,
    proposals_after=30,
    max_detections=8,
    score_threshold=0.0,
    shorter_side=64,
    longer_side=96,
    anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
)


@pytest.fixture(scope="module")
def model():
    return faster_rcnn.build(SMALL, num_classes=3)


@pytest.mark.parametrize(
    ("size", "resized", "padded"),
    [
        ((480, 640), (800, 1066), (800, 1088)),  # the shorter side to 800: 1066.67
        ((300, 900), (444, 1333), (448, 1344)),  # the longer side would be 2400
        ((1, 3000), (1, 1333), (32, 1344)),  # 0.44 of a pixel is a pixel
    ],
)
def test_images_become_what_the_network_takes(size, resized, padded):
    config = FasterRCNNConfig()
    image, sides = faster_rcnn.prepare(config, np.full((*size, 3), 255, "uint8"))
    assert tuple(sides.numpy()) == resized
    assert image.shape == (*padded, 3)
    white = (1 - np.float32(config.mean)) / np.float32(config.std)
    np.testing.assert_allclose(image[0, resized[1] - 1], white, rtol=1e-5)
    assert not image[resized[0] :].numpy().any()
    assert not image[:, resized[1] :].numpy().any()
    # floats are 0 to 1 already
    same, _ = faster_rcnn.prepare(config, np.ones((*size, 3), "float32"))
    np.testing.assert_allclose(same, image, atol=1e-6)


def test_detections_of_one_image_and_of_a_batch(model):
    detect = one_image(model, partial(faster_rcnn.prepare, SMALL))
    for size in ((50, 70), (120, 40)):
        found = detect(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8"))
        count = int(found["num_detections"])
        assert 0 < count <= 8
        boxes = found["detection_boxes"][:count].numpy()
        assert boxes.min() >= 0
        assert (boxes.max(axis=0) <= [size[1] + 1e-3, size[0] + 1e-3] * 2).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert set(found["detection_classes"][:count].numpy()) <= {0, 1, 2}
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    sizes = np.float32([(64, 96), (40, 50)])
    both = model.predict_on_batch({"image": images, "sizes": sizes})
    alone = model.predict_on_batch({"image": images[1:], "sizes": sizes[1:]})
    np.testing.assert_allclose(both["detection_scores"][1], alone["detection_scores"][0], atol=1e-3)


@pytest.mark.slow
def test_as_a_saved_model(model, tmp_path):
    module = tf.Module()
    module.detect = one_image(model, partial(faster_rcnn.prepare, SMALL))
    module.model = model
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.detect)
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    image = tf.constant(np.random.default_rng(1).integers(0, 256, (33, 77, 3), dtype="uint8"))
    expected = module.detect(image)
    for name, value in serve(image=image).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


def test_what_learns(model):
    frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
    assert {"stem_conv", "stage1_block2_conv1", "stage4_block1_bn1"} <= frozen
    assert not {"stage2_block1_conv1", "fpn2", "rpn_conv", "box_scores"} & frozen


def test_wrong_configurations():
    with pytest.raises(RecipeError, match="num_classes should be an integer of at least 1, not 0"):
        faster_rcnn.build(SMALL, 0)
    with pytest.raises(RecipeError, match="expected as many anchor_sizes on each of 5 levels"):
        faster_rcnn.build(dataclasses.replace(SMALL, anchor_sizes=((8,),) * 4), 3)
    with pytest.raises(RecipeError, match="expected as many anchor_sizes on each of 5 levels"):
        faster_rcnn.build(dataclasses.replace(SMALL, anchor_sizes=((8,),) * 4 + ((8, 9),)), 3)


def test_weights_that_are_not_there(model, tmp_path):
    with pytest.raises(WeightsError, match=r"expected \.safetensors, \.pth"):
        faster_rcnn.load_weights(model, tmp_path / "weights.txt")
    before = [weight.numpy() for weight in model.weights[:3]]
    with pytest.raises(WeightsError, match=r"expected backbone\.body\.conv1\.weight"):
        faster_rcnn.assign(model, {"other": np.zeros(3)}, source="a test")
    for weight, value in zip(model.weights, before, strict=False):
        np.testing.assert_array_equal(weight, value)

"""Faster R-CNN with a feature pyramid gives torchvision's numbers with the same weights and images."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from kapps.boxes.overlap import iou
from kapps.tasks.detection import faster_rcnn
from kapps.tasks.detection.trained_detector import one_image
from kapps.weights.key_maps.faster_rcnn import SEEDED_SCALES
from kapps.weights.seeded import seeded_positions, seeded_tensor

HERE = Path(__file__).parent
SMALL = dataclasses.replace(faster_rcnn.VARIANTS["faster_rcnn_resnet50_fpn"], shorter_side=128, longer_side=224)
SIZES = [(96, 128), (141, 83)]


def recording(size):
    path = HERE / f"faster_rcnn_resnet50_fpn.torchvision.{size[0]}x{size[1]}.npz"
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def image(size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")


def seeded_model(config):
    stored = recording(SIZES[0])
    tensors = {}
    for name, shape in zip(stored["tensors"].tolist(), stored["shapes"].tolist(), strict=True):
        scale = next((scale for key, scale in SEEDED_SCALES.items() if re.fullmatch(key, name)), 1.0)
        tensors[name] = seeded_tensor(name, tuple(map(int, shape.split("x")))) * np.float32(scale)
    model = faster_rcnn.build(config)
    assert faster_rcnn.assign(model, tensors, source="seeded") == []
    return model


@pytest.fixture(scope="module")
def model():
    return seeded_model(SMALL)


def distance(ours, name, stored):
    """The largest difference in standard deviations of the reference's tensor; ours is channels last."""
    ours = np.asarray(ours)
    if ours.ndim == 4:
        ours = ours.transpose(0, 3, 1, 2)
    elif ours.ndim == 5:  # [B, N, H, W, C]
        ours = ours[0].transpose(0, 3, 1, 2)
    ours = ours.reshape(-1)
    return np.abs(ours[seeded_positions(ours.size)] - stored[f"part/{name}"]).max() / stored[f"std/{name}"]


def background_first(values, numbers):
    """[B, N, classes * numbers], the background last, as torchvision has it."""
    return np.concatenate([values[..., -numbers:], values[..., :-numbers]], axis=-1)


def compare(model, config, size):
    stored = recording(size)
    parts = [f"stage{stage}" for stage in range(1, 5)] + [f"fpn{level}" for level in range(2, 7)]
    parts += [f"rpn_{kind}{level}" for kind in ("scores", "deltas") for level in range(2, 7)]
    watched = keras.Model(model.inputs, {part: model.get_layer(part).output for part in parts})
    prepared, sides = faster_rcnn.prepare(config, image(size))
    found = watched([prepared[None], sides[None]], training=False)
    distances = {part: distance(found[part], part, stored) for part in parts}

    # the box head on the reference's own proposals, in their order
    regions = model.get_layer("regions")([found[f"fpn{level}"] for level in range(2, 6)], stored["proposals"][None])
    distances["regions"] = distance(regions, "regions", stored)
    x = regions
    for layer in ("box_flat", "box_fc6", "box_fc7"):
        x = model.get_layer(layer)(x)
    for name, numbers in (("box_scores", 1), ("box_deltas", 4)):
        distances[name] = distance(background_first(np.asarray(model.get_layer(name)(x)), numbers)[0], name, stored)
    assert len(distances) == 22
    assert max(distances.values()) < 1e-4, distances

    # all of the network and its post-processing
    found = {
        name: value.numpy()
        for name, value in one_image(model, partial(faster_rcnn.prepare, config))(image(size)).items()
    }
    count = int(found["num_detections"])
    assert count == len(stored["boxes"]) > 20
    np.testing.assert_allclose(found["detection_scores"][:count], stored["scores"], atol=1e-4)
    same = np.asarray(iou(found["detection_boxes"][:count], stored["boxes"])) > 0.999
    same &= found["detection_classes"][:count, None] == stored["labels"] - 1
    same &= np.abs(found["detection_scores"][:count, None] - stored["scores"]) < 1e-4
    assert same.any(axis=0).all()
    assert same.any(axis=1).all()


@pytest.mark.parametrize("size", [SIZES[0], pytest.param(SIZES[1], marks=pytest.mark.slow)])
def test_torchvision(model, size):
    compare(model, SMALL, size)


def test_the_proposals_are_torchvision_s(model):
    stored = recording(SIZES[0])
    prepared, sides = faster_rcnn.prepare(SMALL, image(SIZES[0]))
    watched = keras.Model(model.inputs, model.get_layer("proposals").output)
    boxes, _, counts = watched([prepared[None], sides[None]], training=False)
    assert int(counts[0]) == len(stored["proposals"])
    best = np.asarray(iou(boxes[0], stored["proposals"])).max(axis=1)
    assert (best > 0.999).mean() > 0.995  # a tie of rounding may go either way


@pytest.mark.slow
def test_torchvision_at_full_size():
    config = faster_rcnn.VARIANTS["faster_rcnn_resnet50_fpn"]
    compare(seeded_model(config), config, (480, 640))

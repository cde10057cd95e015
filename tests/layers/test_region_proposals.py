from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.boxes.overlap import iou
from kapps.layers.region_proposals import RegionProposals

IMAGE = np.zeros((1, 64, 64, 3), "float32")
SIZES = np.float32([[60, 50]])


def maps(layer, seed=0):
    """Scores and deltas of two levels, 8x8 and 4x4, for a 64x64 image."""
    random = np.random.default_rng(seed)
    anchors = len(layer.ratios) * len(layer.anchor_sizes[0])
    sides = (8, 4)
    return (
        [random.standard_normal((1, side, side, anchors), dtype="float32") for side in sides],
        [random.normal(0, 0.3, (1, side, side, 4 * anchors)).astype("float32") for side in sides],
    )


def test_hand_computed_case():
    # one level of 2x2 places, 32 pixels apart, one anchor of 16 pixels each; the image is 60 high and 50 wide
    layer = RegionProposals(((16,),), (1.0,), before=3, after=2, iou_threshold=0.5)
    scores = np.float32([0.5, 3.0, -1.0, 2.0]).reshape(1, 2, 2, 1)
    deltas = np.zeros((1, 2, 2, 4), "float32")
    deltas[0, 0, 1] = [0.5, 0, 0, 0]  # right by half of its width: 32 - 8 + 8 to 32 + 8 + 8
    boxes, found, counts = layer([scores], [deltas], IMAGE, SIZES)
    # cut at the top; the corner's anchor around (0, 0) is third and no longer asked for
    np.testing.assert_allclose(boxes, [[(32, 0, 48, 8), (24, 24, 40, 40)]])
    np.testing.assert_allclose(found, [[3, 2]])
    assert counts.numpy().tolist() == [2]


def test_every_proposal_keeps_the_rules():
    layer = RegionProposals(((8,), (24,)), before=60, after=40, iou_threshold=0.6)
    scores, deltas = maps(layer)
    boxes, found, counts = tf.function(layer)(scores, deltas, IMAGE, SIZES)
    count = int(counts[0])
    assert 10 < count <= 40
    assert boxes.shape == (1, count, 4)
    boxes, found = boxes[0].numpy(), found[0].numpy()
    assert (np.diff(found) <= 0).all()
    assert boxes.min() >= 0
    assert boxes[:, [0, 2]].max() <= 50
    assert boxes[:, [1, 3]].max() <= 60
    # of one level no two overlap by more than the threshold
    level = np.isin(found, scores[0])
    for one in (level, ~level):
        overlap = np.asarray(iou(boxes[one], boxes[one])) - np.eye(one.sum())
        assert overlap.size == 0 or overlap.max() <= 0.6 + 1e-6


def test_images_with_fewer_proposals_are_filled_up():
    layer = RegionProposals(((16,),), (1.0,), after=4, iou_threshold=0.5)
    scores = np.zeros((2, 2, 2, 1), "float32")
    sizes = np.float32([[64, 64], [0, 0]])  # in the second no box has an area
    deltas, image = np.zeros((2, 2, 2, 4), "float32"), np.zeros((2, 64, 64, 3), "float32")
    boxes, found, counts = layer([scores], [deltas], image, sizes)
    assert counts.numpy().tolist() == [4, 0]
    assert not boxes[1].numpy().any()
    assert (found[1].numpy() == -np.inf).all()
    empty, _, counts = layer([scores[1:]], [deltas[1:]], IMAGE, sizes[1:])
    assert empty.shape == (1, 1, 4)
    assert counts.numpy().tolist() == [0]


def test_config_and_wrong_arguments():
    layer = RegionProposals(((8,), (16,)), (1.0, 2.0), 100, 50, 0.6)
    assert RegionProposals.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="before and after must be at least 1 and iou_threshold 0 to 1, got 0, "):
        RegionProposals(before=0)
    with pytest.raises(ValueError, match="anchors must have positive sizes and ratios"):
        RegionProposals(((0,),))
    with pytest.raises(ValueError, match="expected scores and deltas of 2 maps, got 1 and 1"):
        layer([np.zeros((1, 2, 2, 2))], [np.zeros((1, 2, 2, 8))], IMAGE, SIZES)

"""The functions on boxes and the layers that pool them give torchvision's numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kapps.boxes.anchors import cell_anchors, grid_anchors
from kapps.boxes.coder import decode, encode
from kapps.boxes.matcher import match
from kapps.boxes.overlap import giou, iou
from kapps.boxes.suppression import suppress
from kapps.layers.roi_align import RoIAlign
from kapps.layers.roi_pooling import RoIPooling

HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("box_cases", HERE / "box_cases.py")
cases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)


@pytest.fixture(scope="module")
def recorded():
    with np.load(HERE / "boxes.torchvision.npz", allow_pickle=False) as file:
        return dict(file)


def test_overlaps(recorded):
    first, second = cases.boxes(60, 1), cases.boxes(20, 2)
    np.testing.assert_allclose(iou(first, second), recorded["iou"], atol=1e-6)
    np.testing.assert_allclose(giou(first, second), recorded["giou"], atol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_coder(recorded, weights):
    anchors, boxes = cases.boxes(60, 1), cases.boxes(20, 2)[np.arange(60) % 20]
    np.testing.assert_allclose(
        encode(boxes, anchors, weights), recorded[f"encode/{weights[0]:g}"], rtol=1e-4, atol=1e-4
    )
    deltas = np.random.default_rng(3).normal(0, 3 * weights[0], (60, 4)).astype("float32")
    np.testing.assert_allclose(
        decode(deltas, anchors, weights), recorded[f"decode/{weights[0]:g}"], rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("low_quality", [False, True])
def test_matcher(recorded, low_quality):
    quality = iou(cases.boxes(20, 2), cases.boxes(60, 1))
    found = match(quality, 0.5, 0.3, allow_low_quality_matches=low_quality)
    np.testing.assert_array_equal(found, recorded[f"match/{low_quality}"])
    assert len(set(found.numpy().tolist())) > 4  # matches, background and ignored ones


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression(recorded, threshold):
    boxes, scores = cases.boxes(800, 4), cases.scores(800, 4)
    for classes, name in ((None, "nms"), (np.arange(800) % 3, "batched_nms")):
        numbers, count = suppress(boxes, scores, classes, iou_threshold=threshold, max_outputs=800)
        np.testing.assert_array_equal(numbers[: int(count)], recorded[f"{name}/{threshold}"])


def test_anchors(recorded):
    levels = [
        grid_anchors(cell_anchors(sizes, (0.5, 1.0, 2.0)), grid, (160, 224))
        for sizes, grid in (((32,), (20, 27)), ((50, 64), (10, 14)), ((128,), (3, 4)))
    ]
    np.testing.assert_array_equal(np.concatenate(levels), recorded["anchors"])


def both_images(layer, maps):
    """The regions go to the two images in turn, as they were recorded: [40, size, size, C], channels first."""
    regions = cases.regions()
    found = np.asarray(layer(maps, np.stack([regions, regions])))
    return found[np.arange(40) % 2, np.arange(40)].transpose(0, 3, 1, 2)


def test_roi_pooling(recorded):
    np.testing.assert_array_equal(both_images(RoIPooling(8, 5), cases.maps((8,))[0]), recorded["roi_pool"])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [2, 3, 0])
def test_roi_align(recorded, aligned, ratio):
    found = both_images(RoIAlign((8,), 4, ratio, aligned), cases.maps((8,)))
    np.testing.assert_allclose(found, recorded[f"roi_align/{aligned}/{ratio}"], atol=2e-5)


def test_roi_align_on_a_pyramid(recorded):
    boxes = cases.boxes(40, 7, 208.0)
    layer = RoIAlign((4, 8, 16), 3)
    padded = np.zeros((2, 25, 4), "float32")
    padded[0], padded[1, :15] = boxes[:25], boxes[25:]
    found = np.asarray(layer(cases.maps((4, 8, 16)), padded)).reshape(50, 3, 3, 3)[:40].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, recorded["pyramid"], atol=2e-5)

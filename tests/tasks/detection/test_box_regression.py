from __future__ import annotations

import numpy as np
import pytest

from kapps.boxes.coder import decode
from kapps.tasks.detection.box_regression import fit_box_regression, length_scale


def planted(seed: int, count: int = 60):
    """Features, proposals, and boxes that lie where a linear map of the features says."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 8)).astype(np.float32)
    weights, bias = rng.normal(scale=0.05, size=(8, 4)), rng.normal(scale=0.05, size=4)
    corners = rng.uniform(0, 50, (count, 2))
    proposals = np.concatenate([corners, corners + rng.uniform(10, 40, (count, 2))], axis=1).astype(np.float32)
    boxes = np.asarray(decode((features @ weights + bias).astype(np.float32), proposals))
    return features, proposals, boxes, weights, bias


def test_a_planted_map_comes_back_and_a_class_without_examples_stays():
    features, proposals, boxes, weights, bias = planted(0)
    none = np.zeros((0, 8), np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)
    found = fit_box_regression(*zip((features, proposals, boxes), none, strict=True), strength=1e-6)
    np.testing.assert_allclose(found.weights[0], weights.T, atol=1e-3)
    np.testing.assert_allclose(found.biases[0], bias, atol=1e-3)
    moved = found.move(features, proposals)
    assert moved.shape == (60, 2, 4)
    np.testing.assert_allclose(moved[:, 0], boxes, atol=0.05)
    np.testing.assert_allclose(moved[:, 1], proposals, atol=1e-4)
    assert found.move(features[:0], proposals[:0]).shape == (0, 2, 4)


def test_the_ridge_holds_back_and_does_not_depend_on_the_length_of_features():
    features, proposals, boxes, weights, _ = planted(1)
    strong = fit_box_regression([features], [proposals], [boxes], strength=1e6)
    assert np.abs(strong.weights).max() < 0.1 * np.abs(weights).max()
    middle = fit_box_regression([features], [proposals], [boxes], strength=1000)
    longer = fit_box_regression([100 * features], [proposals], [boxes], strength=1000)
    np.testing.assert_allclose(longer.move(100 * features, proposals), middle.move(features, proposals), atol=1e-2)


def test_length_scale_by_hand():
    # lengths 5 and 15: 10 in the mean
    assert length_scale([np.float32([[3, 4]]), np.float32([[9, 12]])]) == pytest.approx(2)
    assert length_scale([np.zeros((2, 3), np.float32), np.zeros((0, 3), np.float32)]) == 1

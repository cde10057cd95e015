"""The losses of Faster R-CNN's heads are torchvision's, given the same sample."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kapps.tasks.detection.losses import anchor_losses, region_losses

HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("box_cases", HERE / "box_cases.py")
cases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)


@pytest.fixture(scope="module")
def recorded():
    with np.load(HERE / "detection_losses.torchvision.npz", allow_pickle=False) as file:
        return dict(file)


def test_anchor_losses(recorded):
    case = cases.anchor_case()
    numbers = np.stack([np.flatnonzero(drawn) for drawn in case["drawn"]])
    found = anchor_losses(
        case["scores"], case["deltas"], case["labels"], case["targets"], numbers, np.ones(numbers.shape, bool)
    )
    np.testing.assert_allclose(found, recorded["anchors"], rtol=1e-5)


def test_region_losses(recorded):
    case = cases.region_case()
    # the background comes last here and first there
    found = region_losses(
        np.roll(case["scores"], -1, axis=-1),
        np.roll(case["deltas"], -4, axis=-1),
        (case["labels"] - 1) % 6,
        case["targets"],
    )
    np.testing.assert_allclose(found, recorded["regions"], rtol=1e-5)

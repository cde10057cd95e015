"""The recordings of torch implementations were made with exactly these numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.weights.seeded import seeded_image, seeded_positions, seeded_tensor


def test_numbers_never_change():
    kernel = seeded_tensor("layer1.0.conv1.weight", (2, 1, 1, 1)).reshape(-1)
    assert kernel.tolist() == pytest.approx([-1.0857246, 0.5327249], abs=1e-6)
    assert seeded_tensor("bn1.running_var", (2,)).tolist() == pytest.approx([0.9441673, 1.1944606], abs=1e-6)
    assert seeded_image((2,)).tolist() == pytest.approx([1.1176220, -1.3871249], abs=1e-6)


def test_signals_keep_their_size():
    """He's scale: a kernel's output has about twice the mean square of its input, which a ReLU halves."""
    assert seeded_tensor("conv.weight", (64, 32, 3, 3)).std() == pytest.approx(np.sqrt(2 / 288), rel=0.02)
    kernel = seeded_tensor("conv/kernel", (3, 3, 32, 64), channels_last=True)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 288), rel=0.02)
    kernel = seeded_tensor("conv/depthwise_kernel", (3, 3, 64, 1), channels_last=True)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 9), rel=0.1)


def test_variances_are_positive():
    assert seeded_tensor("bn/moving_variance", (1000,)).min() >= 0.5


def test_positions():
    assert seeded_positions(5).tolist() == [0, 1, 2, 3, 4]
    places = seeded_positions(10_000)
    assert len(set(places.tolist())) == 512
    assert places.max() < 10_000

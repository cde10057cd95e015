"""FCN on a dilated ResNet-50 gives torchvision's numbers with the same weights."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("size", "auxiliary"), [((72, 89), False), pytest.param((96, 96), True, marks=pytest.mark.slow)]
)
def test_torchvision(recorded_parity, size, auxiliary):
    parity = recorded_parity("fcn_resnet50", "torchvision", size, auxiliary)
    assert len(parity.features) == 4 + auxiliary
    assert parity.passed, str(parity)

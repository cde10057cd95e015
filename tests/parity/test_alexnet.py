from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "size", [(128, 160), pytest.param((224, 224), marks=pytest.mark.slow)], ids="{0[0]}x{0[1]}".format
)
def test_equals_torchvision(recorded_parity, size):
    parity = recorded_parity("alexnet_tv", "torchvision", size)
    assert parity.passed, str(parity)

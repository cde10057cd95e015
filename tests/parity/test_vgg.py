from __future__ import annotations

import pytest

# One net with batch normalisation at another size than its own by default; all others take seconds and gigabytes.
DEFAULT = ("vgg11_bn", (96, 128))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(
            name, size, id=f"{name}-{size[0]}x{size[1]}", marks=[] if (name, size) == DEFAULT else pytest.mark.slow
        )
        for name in ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn")
        for size in ((224, 224), (96, 128))
    ],
)
def test_equals_torchvision(recorded_parity, name, size):
    parity = recorded_parity(name, "torchvision", size)
    assert parity.passed, str(parity)


@pytest.mark.parametrize("name", ["vgg16", pytest.param("vgg19", marks=pytest.mark.slow)])
def test_equals_keras(keras_parity, name):
    parity = keras_parity(name)
    assert parity.passed, str(parity)

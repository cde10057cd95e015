from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.fan_in_uniform import FanInUniform


@pytest.mark.parametrize(("shape", "fan_in"), [((50, 40), 50), ((5, 5, 6, 30), 150)])
def test_is_uniform_within_the_bound(shape, fan_in):
    values = np.asarray(FanInUniform(seed=1)(shape)) * fan_in / 2.4
    assert 0.97 < np.abs(values).max() <= 1
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)


def test_fan_in_an_output():
    values = np.asarray(FanInUniform(1.0, fan_in=[1, 10, 100], seed=0)((500, 3)))
    np.testing.assert_allclose(np.abs(values).max(axis=0), [1, 0.1, 0.01], rtol=0.05)


def test_seeds():
    np.testing.assert_array_equal(FanInUniform(seed=3)((4, 4)), FanInUniform(seed=3)((4, 4)))
    layer = FanInUniform()
    assert not np.array_equal(layer((4, 4)), layer((4, 4)))  # two kernels of one network are not the same


def test_config():
    again = keras.initializers.deserialize(keras.initializers.serialize(FanInUniform(2.0, (3, 4), seed=5)))
    assert again.get_config() == {"bound": 2.0, "fan_in": [3, 4], "seed": 5}

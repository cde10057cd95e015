from __future__ import annotations

import numpy as np

from kapps.layers.step import step


def test_fires_above_zero_only():
    found = np.asarray(step(np.array([-2.0, -0.0, 0.0, 1e-6, 3.0], "float32")))
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 1])
    assert found.dtype == "float32"

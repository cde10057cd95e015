from __future__ import annotations

import numpy as np
import tensorflow as tf

from kapps.boxes.anchors import cell_anchors, grid_anchors


def test_hand_computed_cell():
    # 128 over the root of 2 is 90.5, its half 45.25; 128 times it is 181.02, its half 90.51
    expected = [(-91, -45, 91, 45), (-64, -64, 64, 64), (-45, -91, 45, 91)]
    np.testing.assert_array_equal(cell_anchors((128,), (0.5, 1.0, 2.0)), np.float32(expected))
    # halves go to the even number: 33 / 2 = 16.5 to 16, 35 / 2 = 17.5 to 18; sizes change fastest
    expected = [(-16, -16, 16, 16), (-18, -18, 18, 18)]
    np.testing.assert_array_equal(cell_anchors((33, 35), (1.0,)), np.float32(expected))


def test_grid():
    cells = np.float32([(-1, -2, 1, 2), (-3, -3, 3, 3)])
    found = tf.function(lambda: grid_anchors(cells, (2, 3), (9, 15)))().numpy()
    expected = [
        cell + np.float32([x, y, x, y]) for y in (0, 4) for x in (0, 5, 10) for cell in cells
    ]  # 9 // 2, 15 // 3
    np.testing.assert_array_equal(found, expected)

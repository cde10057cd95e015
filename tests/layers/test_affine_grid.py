from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.affine_grid import AffineGrid
from kapps.layers.bilinear_sampler import BilinearSampler

THETA = np.float32([[0.5, -0.25, 0.1, 0.3, 0.75, -0.2]])
# torch 2.14.1, torch.nn.functional.affine_grid of THETA for 2x3 pixels
TORCH = {
    True: [-0.15, -1.25, 0.35, -0.95, 0.85, -0.65, -0.65, 0.25, -0.15, 0.55, 0.35, 0.85],
    False: [-0.108333, -0.775, 0.225, -0.575, 0.558333, -0.375, -0.358333, -0.025, -0.025, 0.175, 0.308333, 0.375],
}


@pytest.mark.parametrize("align_corners", [True, False])
def test_equals_torch(align_corners):
    grid = AffineGrid(2, 3, align_corners)(THETA)
    assert grid.shape == (1, 2, 3, 2)
    np.testing.assert_allclose(np.ravel(grid), TORCH[align_corners], atol=1e-6)
    np.testing.assert_array_equal(AffineGrid(2, 3, align_corners)(THETA.reshape(1, 2, 3)), grid)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(5, 4), (1, 3)])
def test_identity_gives_the_image_back(align_corners, size):
    image = np.random.default_rng(0).normal(size=(1, *size, 2)).astype("float32")
    grid = AffineGrid(*size, align_corners)(np.float32([[1, 0, 0, 0, 1, 0]]))
    np.testing.assert_allclose(BilinearSampler(align_corners)(image, grid), image, atol=1e-5)


def test_quarter_turn():
    """A target at the right looks at the source's top: hand-drawn."""
    image = np.float32([[1, 2], [3, 4]])[None, :, :, None]
    turn = np.float32([[0, 1, 0, -1, 0, 0]])  # (x_s, y_s) = (y_t, -x_t)
    np.testing.assert_allclose(
        BilinearSampler()(image, AffineGrid(2, 2)(turn))[0, :, :, 0], [[3, 1], [4, 2]], atol=1e-6
    )


def test_gradient_is_the_sum_over_the_grid():
    theta = tf.constant(THETA)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        total = tf.reduce_sum(AffineGrid(3, 3)(theta)[..., 0])
    np.testing.assert_allclose(tape.gradient(total, theta), [[0, 0, 9, 0, 0, 0]], atol=1e-6)


def test_half_precision_keeps_float32():
    assert AffineGrid(2, 2, dtype="mixed_float16")(THETA).dtype == tf.float32


def test_config_and_wrong_arguments():
    layer = AffineGrid(4, 5, align_corners=False)
    assert AffineGrid.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="height and width must be at least 1, got 0 and 3"):
        AffineGrid(0, 3)
    with pytest.raises(ValueError, match=r"expected 6 parameters, .*, got \(1, 4\)"):
        AffineGrid(2, 2)(np.zeros((1, 4), "float32"))

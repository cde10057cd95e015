from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import RecipeError
from kapps.explaining.saliency import saliency


def test_of_a_linear_model_it_is_the_largest_absolute_weight_of_each_pixel(linear):
    weights = linear.layers[-1].get_weights()[0].reshape(4, 5, 2, 3)
    for target in range(3):
        result = saliency(linear, np.ones((4, 5, 2), np.float32), target=target)
        np.testing.assert_allclose(result.map, np.abs(weights[..., target]).max(axis=-1), rtol=1e-5)
        assert (result.method, result.target, result.signed) == ("saliency", target, False)
    # SmoothGrad averages a gradient that is the same everywhere
    smooth = saliency(linear, np.ones((4, 5, 2), np.float32), target=2, samples=7, noise=0.2)
    np.testing.assert_allclose(smooth.map, result.map, rtol=1e-5)


def test_it_equals_the_numerical_gradient(convnet, digit):
    target = int(convnet(digit[None])[0].numpy().argmax())
    step = 1e-2
    moved = digit[None] + step * np.eye(64, dtype=np.float32).reshape(64, 8, 8, 1)
    back = digit[None] - step * np.eye(64, dtype=np.float32).reshape(64, 8, 8, 1)
    numerical = (convnet(moved).numpy() - convnet(back).numpy())[:, target].reshape(8, 8) / (2 * step)
    result = saliency(convnet, digit, of="score")
    assert result.target == target
    assert result.score == pytest.approx(float(convnet(digit[None])[0, target]), rel=1e-6)
    np.testing.assert_allclose(result.map, np.abs(numerical), atol=2e-4 * np.abs(numerical).max() + 2e-5)


def test_smoothgrad_is_the_mean_gradient_over_noisy_images(convnet, digit):
    result = saliency(convnet, digit, target=1, of="score", samples=6, noise=0.3, seed=5, batch_size=4)
    spread = 0.3 * (digit.max() - digit.min())
    noise = np.random.default_rng(5).normal(0, spread, (6, 8, 8, 1)).astype(np.float32)
    # a linear combination of gradients: the plain maps are absolute values, so it is checked by differences instead
    step = 1e-2
    mean = np.zeros((8, 8))
    for row, column in np.ndindex(8, 8):
        move = np.zeros((8, 8, 1), np.float32)
        move[row, column] = step
        difference = convnet(digit + noise + move).numpy() - convnet(digit + noise - move).numpy()
        mean[row, column] = difference[:, 1].mean() / (2 * step)
    np.testing.assert_allclose(result.map, np.abs(mean), atol=2e-3 * np.abs(mean).max())
    again = saliency(convnet, digit, target=1, of="score", samples=6, noise=0.3, seed=5, batch_size=32)
    np.testing.assert_allclose(again.map, result.map, rtol=1e-4, atol=1e-7)
    assert not np.allclose(
        saliency(convnet, digit, target=1, of="score", samples=6, noise=0.3, seed=6).map, result.map, rtol=1e-3
    )


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -1}])
def test_impossible_options_are_refused(convnet, digit, options):
    with pytest.raises(RecipeError, match="expected samples of at least 1 and noise of at least 0"):
        saliency(convnet, digit, **options)

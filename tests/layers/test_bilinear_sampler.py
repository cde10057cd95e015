from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.bilinear_sampler import BilinearSampler

# Inputs and answers of torch 2.14.1, torch.nn.functional.grid_sample(mode="bilinear"), channels put last; the gradients
# are those of the sum of the squared outputs.
IMAGE = np.float32(
    [
        [[0.0, -1.84], [0.3, -0.24], [-0.27, -1.27], [-0.89, 0.27], [-0.45, 0.16]],
        [[-0.99, -0.19], [0.06, -2.52], [1.34, -0.54], [-0.49, -0.05], [-0.62, 0.11]],
        [[0.49, -1.53], [0.36, -0.48], [0.11, -0.98], [-0.93, -0.81], [-0.03, 1.06]],
        [[0.7, -0.81], [-1.34, -0.03], [-0.46, 0.88], [-1.9, -0.58], [-1.29, -0.11]],
    ]
)
GRID = np.float32([[[1.06, 0.03], [0.97, 0.39], [0.68, -1.14]], [[0.12, 0.02], [1.04, -0.39], [0.27, -1.23]]])
TORCH = {
    (True, "zeros"): (
        [
            *(-0.262636, 0.55242, -0.189621, 0.85549, -0.577964, 0.182016),
            *(0.349388, -0.696304, -0.557106, 0.10511, -0.396144, -0.287152),
        ],
        [
            *(-1.70066, 0.97639, 5.32791, -2.08032, -0.86687, 1.39432),
            *(-2.86475, -0.01096, -1.39746, 0.24689, -0.5151, 1.09643),
        ],
        [-0.23872, -0.17304, -0.86467, -0.01908, -0.41588, 0.11997],  # first row, the columns 2 to 4
    ),
    (True, "border"): (
        [
            *(-0.29845, 0.62775, -0.189621, 0.85549, -0.7316, 0.2304),
            *(0.349388, -0.696304, -0.60555, 0.11425, -0.6048, -0.4384),
        ],
        [0.0, 1.26083, 5.32791, -2.08032, -1.38899, 0.0, -2.86475, -0.01096, 0.0, 0.29169, -1.20064, 0.0],
        [-0.55642, -0.40333, -1.58963, -0.17856, -0.6297, 0.18531],
    ),
    (False, "zeros"): (
        [
            *(-0.10136, 0.2247, -0.22011, 0.42113, -0.12804, 0.04246),
            *(0.25478, -0.68244, -0.22896, 0.0496, -0.02754, -0.00922),
        ],
        [
            *(-0.86806, 0.21513, -1.96347, -0.49538, -0.06711, 0.33086),
            *(-2.87014, 0.45116, -0.68604, 0.05831, 0.00058, 0.08435),
        ],
        [-0.00072, -0.00024, -0.01839, 0.00511, -0.09072, 0.02419],
    ),
    (False, "border"): (
        [-0.2896, 0.642, -0.3828, 0.7324, -0.582, 0.193, 0.25478, -0.68244, -0.5724, 0.124, -0.6885, -0.2305],
        [0.0, 1.75614, 0.0, -1.49832, -1.38655, 0.0, -2.87014, 0.45116, 0.0, 0.36443, 0.3595, 0.0],
        [-0.44753, -0.14983, -1.27867, -0.19538, -1.13534, 0.33964],
    ),
}


def equation_5(image, x, y):
    """The double sum over all pixels, for one place in pixels."""
    height, width, _ = image.shape
    n, m = np.arange(height), np.arange(width)
    weights = np.outer(np.maximum(0, 1 - np.abs(y - n)), np.maximum(0, 1 - np.abs(x - m)))
    return np.einsum("nm,nmc->c", weights, image)


def test_hand_computed_case():
    image = np.float32([[[1], [2]], [[3], [8]]])[None]
    # the corners are at -1 and 1, the middle of the image at 0: (1 + 2 + 3 + 8) / 4
    grid = np.float32([[[-1, -1], [1, 1], [0, 0], [0, -1]]])[None]
    np.testing.assert_allclose(BilinearSampler()(image, grid)[0, 0, :, 0], [1, 8, 3.5, 1.5])
    # with edges at -1 and 1 the outermost centres are at -0.5 and 0.5; a corner is a quarter of one pixel, rest outside
    edges = BilinearSampler(align_corners=False)
    np.testing.assert_allclose(edges(image, grid / 2)[0, 0, :, 0], [1, 8, 3.5, 1.5])
    np.testing.assert_allclose(edges(image, grid)[0, 0, :2, 0], [1 / 4, 8 / 4])


def test_against_equation_5():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 6, 9, 3)).astype("float32")
    grid = rng.uniform(-1.5, 1.5, size=(2, 4, 5, 2)).astype("float32")
    ours = BilinearSampler()(image, grid).numpy()
    for b, i, j in np.ndindex(2, 4, 5):
        x, y = (grid[b, i, j].astype("float64") + 1) / 2 * [8, 5]
        np.testing.assert_allclose(ours[b, i, j], equation_5(image[b], x, y), atol=1e-5)


@pytest.mark.parametrize(("align_corners", "padding"), TORCH)
def test_values_and_gradients_equal_torch(align_corners, padding):
    image, grid = tf.constant(IMAGE[None]), tf.constant(GRID[None])
    with tf.GradientTape() as tape:
        tape.watch([image, grid])
        outputs = BilinearSampler(align_corners, padding)(image, grid)
        loss = tf.reduce_sum(outputs**2)
    image_gradient, grid_gradient = tape.gradient(loss, [image, grid])
    values, by_grid, by_image = TORCH[align_corners, padding]
    np.testing.assert_allclose(np.ravel(outputs), values, atol=2e-6)
    np.testing.assert_allclose(np.ravel(grid_gradient), by_grid, atol=2e-5)
    np.testing.assert_allclose(np.ravel(tf.convert_to_tensor(image_gradient)[0, 0, 2:]), by_image, atol=2e-5)


def test_sizes_known_only_when_it_runs():
    image, grid = keras.Input((None, None, 2)), keras.Input((None, None, 2))
    model = keras.Model([image, grid], BilinearSampler()(image, grid))
    assert model.output_shape == (None, None, None, 2)
    np.testing.assert_allclose(model([IMAGE[None], GRID[None]]), BilinearSampler()(IMAGE[None], GRID[None]))


def test_half_precision_keeps_the_places():
    """float16 knows only every fourth pixel beyond 4096."""
    image = np.arange(5000, dtype="float32")[None, None, :, None] % 2
    grid = np.float32([[[[(2 * column) / 4999 - 1, 0.0] for column in range(4900, 4910)]]])
    outputs = BilinearSampler(dtype="mixed_float16")(image, grid)
    assert outputs.dtype == tf.float16
    np.testing.assert_allclose(outputs[0, 0, :, 0], [0, 1] * 5, atol=2e-3)


def test_places_that_are_no_numbers_or_far_away():
    grid = np.float32([[[[np.nan, 0], [1e30, 0], [0, -1e30]]]])
    outputs = BilinearSampler()(IMAGE[None], grid).numpy()[0, 0]
    assert np.isnan(outputs[0]).all()
    np.testing.assert_array_equal(outputs[1:], 0)


def test_config_and_wrong_arguments():
    layer = BilinearSampler(False, "border")
    assert BilinearSampler.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match=r"padding must be 'zeros' .* or 'border', got 'reflection'"):
        BilinearSampler(padding="reflection")
    with pytest.raises(ValueError, match=r"expected an image .* and a grid .*, got .*\(1, 3, 3, 3\)"):
        BilinearSampler()(IMAGE[None], np.zeros((1, 3, 3, 3), "float32"))

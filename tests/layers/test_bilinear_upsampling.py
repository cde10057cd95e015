from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.bilinear_upsampling import BilinearUpsampling, bilinear_kernel


def test_kernels_computed_by_hand():
    np.testing.assert_allclose(bilinear_kernel(2)[0] * 16, [1, 3, 3, 1])
    np.testing.assert_allclose(bilinear_kernel(3)[2] * 3, [1, 2, 3, 2, 1], rtol=1e-6)
    assert bilinear_kernel(32).shape == (64, 64)  # as in the published FCN-32s


def test_hand_computed_row():
    """Twice as large, one row: each pixel is 3/4 of the nearer and 1/4 of the farther, and zero lies beyond."""
    x = np.float32([4, 8])[None, None, :, None]
    row = BilinearUpsampling(2, learned=False)(x)[0, :, :, 0].numpy()
    np.testing.assert_allclose(row, [[2.25, 3.75, 5.25, 4.5]] * 2)  # 3/4 of [3, 5, 7, 6] across the rows


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("learned", [True, False])
def test_is_exactly_bilinear_interpolation_inside(factor, learned):
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype("float32")
    ours = BilinearUpsampling(factor, learned)(x).numpy()
    exact = tf.image.resize(x, (5 * factor, 4 * factor), "bilinear").numpy()
    inside = (slice(None), slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
    assert ours.shape == exact.shape
    np.testing.assert_allclose(ours[inside], exact[inside], atol=1e-5)
    # at the border: the same of an image with zeros around it
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    whole = tf.image.resize(framed, (7 * factor, 6 * factor), "bilinear").numpy()
    np.testing.assert_allclose(ours, whole[:, factor:-factor, factor:-factor], atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 16])
def test_valid_is_same_with_its_border(factor):
    x = np.random.default_rng(1).normal(size=(1, 3, 4, 2)).astype("float32")
    valid = BilinearUpsampling(factor, padding="valid")(x).numpy()
    size = 2 * factor - factor % 2
    assert valid.shape == (1, 2 * factor + size, 3 * factor + size, 2)  # Caffe: factor (n - 1) + size
    edge = (size - factor) // 2
    np.testing.assert_allclose(valid[:, edge:-edge, edge:-edge], BilinearUpsampling(factor)(x), atol=1e-6)


def test_learned_kernel_mixes_channels_and_fixed_has_no_weights():
    layer = BilinearUpsampling(2)
    x = tf.constant(np.random.default_rng(2).normal(size=(1, 3, 3, 4)).astype("float32"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    assert layer.kernel.shape == (4, 4, 4, 4)
    np.testing.assert_array_equal(np.asarray(layer.kernel)[:, :, 0, 1], 0)
    assert np.abs(tape.gradient(loss, layer.kernel.value)[:, :, 0, 1]).max() > 0.1
    fixed = BilinearUpsampling(2, learned=False)
    fixed(x)
    assert fixed.count_params() == 0


@pytest.mark.parametrize("learned", [True, False])
def test_save_and_load_with_unknown_image_size(tmp_path, learned):
    model = keras.Sequential([keras.Input((None, None, 2)), BilinearUpsampling(4, learned, "valid")])
    assert model.output_shape == (None, None, None, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(3).normal(size=(2, 3, 2, 2)).astype("float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert model(x).shape == BilinearUpsampling(4, learned, "valid").compute_output_shape(x.shape)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="factor must be an integer of at least 2, got 1"):
        BilinearUpsampling(1)
    with pytest.raises(ValueError, match="padding must be 'valid' or 'same', got 'full'"):
        BilinearUpsampling(2, padding="full")

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.identity_shortcut import IdentityShortcut


def test_every_second_pixel_and_zeros_behind():
    x = np.arange(1, 10, dtype="float32").reshape(1, 3, 3, 1)  # 1 2 3 / 4 5 6 / 7 8 9
    out = IdentityShortcut(2, 2)(x).numpy()
    np.testing.assert_array_equal(out[0, :, :, 0], [[1, 3], [7, 9]])
    np.testing.assert_array_equal(out[0, :, :, 1], 0)


def test_the_order_of_channels_stays():
    x = np.random.default_rng(0).random((2, 4, 6, 3), dtype="float32")
    out = IdentityShortcut(5, 2)(x).numpy()
    assert out.shape == (2, 2, 3, 5)
    np.testing.assert_array_equal(out[..., :3], x[:, ::2, ::2])
    assert not out[..., 3:].any()


def test_nothing_to_do_is_the_identity():
    x = np.random.default_rng(0).random((2, 5, 4, 3), dtype="float32")
    np.testing.assert_array_equal(IdentityShortcut(3)(x), x)


def test_shapes_and_config():
    image = keras.Input((None, 7, 3))
    layer = IdentityShortcut(8, 2)
    assert layer(image).shape == (None, None, 4, 8)
    assert IdentityShortcut.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("channels", [4, None])
def test_channels_cannot_be_lost(channels):
    with pytest.raises(ValueError, match=r"inputs of at most 3 channels.*use a 1x1 convolution"):
        IdentityShortcut(3).build((None, 8, 8, channels))

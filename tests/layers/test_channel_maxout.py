from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.channel_maxout import ChannelMaxout
from kapps.layers.maxout import Maxout


def test_hand_computed_case():
    x = np.array([[1.0, -2.0, 3.0, 0.0, 5.0, -1.0]])  # groups of three, m = 2: channels (0, 2, 4) and (1, 3, 5)
    np.testing.assert_array_equal(ChannelMaxout(3)(x), [[5.0, 0.0]])


def test_dense_and_channel_maxout_make_a_maxout_layer():
    rng = np.random.default_rng(0)
    dense, maxout = keras.layers.Dense(12), Maxout(4, 3)
    dense.build((None, 5))
    maxout.build((None, 5))
    weights = [rng.normal(size=w.shape) for w in dense.weights]
    dense.set_weights(weights)
    maxout.set_weights(weights)
    x = rng.normal(size=(6, 5)).astype("float32")
    np.testing.assert_allclose(ChannelMaxout(3)(dense(x)), maxout(x), rtol=1e-6)


def test_convolutional_maxout_with_unknown_image_size(tmp_path):
    image = keras.Input((None, None, 1))
    features = keras.layers.Conv2D(8, 3)(image)
    model = keras.Model(image, ChannelMaxout(2)(features))
    assert model.output_shape == (None, None, None, 4)
    x = np.random.default_rng(1).normal(size=(2, 6, 7, 1)).astype("float32")
    conv = keras.Model(image, features)(x).numpy()
    np.testing.assert_array_equal(model(x), np.maximum(conv[..., :4], conv[..., 4:]))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


def test_channels_that_do_not_divide():
    with pytest.raises(ValueError, match="a multiple of pieces=3, got inputs of shape"):
        ChannelMaxout(3)(np.ones((1, 4)))


@pytest.mark.parametrize("pieces", [0, -1, 1.5])
def test_wrong_arguments(pieces):
    with pytest.raises(ValueError, match="pieces must be an integer of at least 1, got"):
        ChannelMaxout(pieces)

from __future__ import annotations

import keras
import numpy as np

from kapps.layers.each_region import EachRegion


def test_is_the_network_on_every_region():
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(5, 3), keras.layers.GlobalAveragePooling2D()])
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 3)).astype("float32")
    out = np.asarray(EachRegion(inner)(x))
    assert out.shape == (2, 3, 5)
    for image in range(2):
        np.testing.assert_allclose(out[image], inner(x[image]), rtol=1e-5, atol=1e-6)


def test_no_region_and_saving(tmp_path):
    x = keras.Input((None, 4, 4, 3))
    model = keras.Model(x, EachRegion(keras.layers.Conv2D(2, 3))(x))
    assert model.output_shape == (None, None, 2, 2, 2)
    assert model.predict(np.zeros((2, 0, 4, 4, 3)), verbose=0).shape == (2, 0, 2, 2, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    ones = np.ones((1, 2, 4, 4, 3), "float32")
    np.testing.assert_allclose(loaded.predict(ones, verbose=0), model.predict(ones, verbose=0))

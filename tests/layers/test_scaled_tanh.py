from __future__ import annotations

import keras
import numpy as np

from kapps.layers.scaled_tanh import scaled_tanh


def test_values_of_the_paper():
    """f(1) = 1, f(-1) = -1, the limits are +-1.7159, and the gain around 0 is about 1 (appendix A)."""
    found = np.asarray(scaled_tanh(np.array([1.0, -1.0, 0.0, 100.0, -100.0], "float32")))
    np.testing.assert_allclose(found, [1, -1, 0, 1.7159, -1.7159], atol=1e-4)
    slope = (scaled_tanh(np.float32(1e-2)) - scaled_tanh(np.float32(-1e-2))) / 2e-2
    np.testing.assert_allclose(slope, 1.7159 * 2 / 3, rtol=1e-3)


def test_is_known_to_keras_by_name(tmp_path):
    image = keras.Input((3,))
    model = keras.Model(image, keras.layers.Dense(2, activation=scaled_tanh)(image))
    model.save(tmp_path / "model.keras")
    x = np.ones((1, 3), "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))

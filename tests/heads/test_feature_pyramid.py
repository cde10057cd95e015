from __future__ import annotations

import keras
import numpy as np

from kapps.heads.feature_pyramid import feature_pyramid


def test_hand_computed_case():
    features = [keras.Input((None, None, 1)), keras.Input((None, None, 1))]
    model = keras.Model(features, feature_pyramid(features, channels=1))
    for layer in model.layers:
        if layer.name.startswith("fpn_inner"):
            layer.set_weights([np.ones((1, 1, 1, 1)), np.float32([1])])
        elif layer.name in ("fpn2", "fpn3"):
            kernel = np.zeros((3, 3, 1, 1))
            kernel[1, 1] = 2  # doubles what is there
            layer.set_weights([kernel, np.float32([0])])
    fine, coarse = (
        np.arange(15, dtype="float32").reshape(1, 3, 5, 1),
        np.float32([1, 2, 3, 4, 5, 6]).reshape(1, 2, 3, 1),
    )
    levels = [np.asarray(level)[0, :, :, 0] for level in model([fine, coarse])]
    # every pixel of the coarse map stands for four of the fine one; its last row and column are cut off
    repeated = (coarse[0, :, :, 0] + 1).repeat(2, axis=0).repeat(2, axis=1)[:3, :5]
    np.testing.assert_allclose(levels[0], 2 * (fine[0, :, :, 0] + 1 + repeated))
    np.testing.assert_allclose(levels[1], 2 * (coarse[0, :, :, 0] + 1))
    np.testing.assert_allclose(levels[2], levels[1][::2, ::2])


def test_levels_are_named_layers():
    features = [keras.Input((None, None, channels)) for channels in (8, 16, 32)]
    levels = feature_pyramid(features, channels=4)
    model = keras.Model(features, levels)
    assert [model.get_layer(f"fpn{level}").output.shape for level in (2, 3, 4, 5)] == [(None, None, None, 4)] * 4
    # 1x1 and 3x3 convolutions with biases
    assert model.count_params() == (8 + 16 + 32 + 3) * 4 + 3 * (9 * 4 + 1) * 4

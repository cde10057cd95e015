from __future__ import annotations

import keras
import numpy as np

from kapps.heads.detection import classify_regions, score_anchors


def test_all_levels_share_their_weights():
    levels = [keras.Input((None, None, 8)), keras.Input((None, None, 8))]
    scores, deltas = score_anchors(levels, 3)
    model = keras.Model(levels, [*scores, *deltas])
    assert model.output_shape == [(None, None, None, 3)] * 2 + [(None, None, None, 12)] * 2
    assert model.count_params() == (9 * 8 + 1) * 8 + (8 + 1) * 3 + (8 + 1) * 12
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 8)).astype("float32")
    found = [np.asarray(output) for output in model([x, x])]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    # at first every anchor scores alike, and no box moves much
    assert max(np.abs(each).max() for each in found) < 0.1


def test_regions_keep_their_places():
    regions = keras.Input((None, 2, 2, 3))
    scores, deltas = classify_regions(regions, num_classes=4, units=16)
    model = keras.Model(regions, [scores, deltas])
    assert model.output_shape == [(None, None, 5), (None, None, 20)]
    assert model.count_params() == (12 + 1) * 16 + (16 + 1) * 16 + (16 + 1) * 5 + (16 + 1) * 20
    x = np.random.default_rng(0).normal(size=(2, 6, 2, 2, 3)).astype("float32")
    whole = model(x)[0].numpy()
    np.testing.assert_allclose(whole[1, 4], model(x[1:, 4:5])[0][0, 0], rtol=1e-4, atol=1e-6)
    assert model(x[:, :0])[0].shape == (2, 0, 5)

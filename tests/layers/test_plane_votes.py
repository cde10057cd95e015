from __future__ import annotations

import keras
import numpy as np

from kapps.layers.plane_votes import PlaneVotes


def test_hand_computed_case():
    layer = PlaneVotes(3, fading=1.0)
    cells = np.array([[0.9, 0.1], [0.8, 0.3], [0.2, 0.4], [0.0, 0.0]], "float32")
    layer.build(cells.shape)
    layer.count(cells, np.array([2, 2, 0, 1]))
    np.testing.assert_array_equal(layer.votes, [[0, 0, 2], [1, 0, 0]])  # who does not answer does not vote
    expected = [[1 / 5, 1 / 5, 3 / 5], [1 / 5, 1 / 5, 3 / 5], [2 / 4, 1 / 4, 1 / 4], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(np.exp(layer(cells)), expected, rtol=1e-5)


def test_old_votes_fade():
    layer = PlaneVotes(2, fading=0.5)
    cells = np.array([[1.0], [1.0]], "float32")
    layer.build(cells.shape)
    for labels in ([0, 0], [1, 1]):
        layer.count(cells, np.array(labels))
    np.testing.assert_allclose(layer.votes, [[2 * 0.5**2, 2]])


def test_save_and_load(tmp_path):
    model = keras.Sequential([keras.Input((4,)), PlaneVotes(3, fading=0.9)])
    cells = np.random.default_rng(0).random((5, 4), dtype="float32")
    model.layers[0].count(cells, np.arange(5) % 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(cells), loaded(cells))
    assert loaded.layers[0].fading == 0.9

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.s_cells import SCells, centre, distance_weights


def oracle(u, a, b, c, r):
    """The equations, cell by cell, for inputs that have their border already."""
    field = a.shape[0]
    high, wide = u.shape[0] - field + 1, u.shape[1] - field + 1
    cells = np.zeros((high, wide, a.shape[-1]))
    for y in range(high):
        for x in range(wide):
            seen = u[y : y + field, x : x + field]
            v = np.sqrt((c[..., 0] * seen**2).sum())
            for k in range(a.shape[-1]):
                ratio = (1 + (a[..., k] * seen).sum()) / (1 + 2 * r / (1 + r) * b[k] * v)
                cells[y, x, k] = r * max(ratio - 1, 0)
    return cells


def test_hand_computed_case():
    layer = SCells(1, side=1, selectivity=2.0, reinforcement=1.0, field=1)
    layer.build((None, 1, 1, 1))
    layer.a.assign([[[[3.0]]]])
    layer.b.assign([1.5])
    # v = u = 2: 2 * ((1 + 3 * 2) / (1 + 4 / 3 * 1.5 * 2) - 1) = 2 * (7 / 5 - 1)
    np.testing.assert_allclose(layer(np.full((1, 1, 1, 1), 2.0, "float32")), [[[[0.8]]]], rtol=1e-6)


def test_against_the_equations():
    random = np.random.default_rng(0)
    layer = SCells(3, side=4, selectivity=1.5, reinforcement=1.0, field=3)
    u = random.random((1, 6, 6, 2), dtype="float32")
    layer.build(u.shape)
    layer.a.assign(random.random(layer.a.shape))
    layer.b.assign(random.random(3) * 3)
    expected = oracle(u[0], layer.a.numpy(), layer.b.numpy(), layer.c, 1.5)
    assert expected.max() > 0
    np.testing.assert_allclose(layer(u)[0], expected, rtol=1e-4, atol=1e-5)


def test_weights_by_distance():
    weights = distance_weights(5, 0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[2, 2] == pytest.approx(2 * weights[2, 3])
    assert weights[2, 2] == pytest.approx(4 * weights[4, 2])


def test_centre_pads_and_cuts():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(centre(x, 2, 1), x[:, 1:3, 1:3])
    np.testing.assert_array_equal(centre(x, 4, 3), np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]))


def test_one_lesson_is_the_paper_s_rule():
    """A single bright point: the strongest of the weak random synapses onto it wins, everything else stays."""
    keras.utils.set_random_seed(0)
    layer = SCells(4, side=7, selectivity=4.0, reinforcement=2.0, field=3, column=13)  # a single column
    u = np.zeros((1, 7, 7, 1), "float32")
    u[0, 3, 3] = 1
    layer.build(u.shape)
    a, b = layer.a.numpy().copy(), layer.b.numpy()
    offset = np.unravel_index(a[:, :, 0].argmax(), (3, 3, 4))
    assert float(layer.learn(u)) == 1
    grown = np.zeros_like(a)
    grown[offset[0], offset[1], 0, offset[2]] = 2.0 * layer.c[offset[0], offset[1], 0, 0]
    np.testing.assert_allclose(layer.a - a, grown, atol=1e-6)
    expected = np.zeros(4)
    expected[offset[2]] = 2.0 / 2 * np.sqrt(layer.c[offset[0], offset[1], 0, 0])
    np.testing.assert_allclose(layer.b - b, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_taught_pattern_is_answered_with_1_and_others_are_not():
    keras.utils.set_random_seed(0)
    layer = SCells(1, side=1, selectivity=4.0, reinforcement=1.0)
    bar, other = np.zeros((1, 5, 5, 1), "float32"), np.zeros((1, 5, 5, 1), "float32")
    bar[:, :, 2], other[:, 2] = 1, 1
    for _ in range(500):
        layer.learn(bar)
    assert float(layer(bar)[0, 0, 0, 0]) == pytest.approx(1, abs=0.05)
    assert float(layer(other)[0, 0, 0, 0]) == 0
    assert float(layer(3 * bar)[0, 0, 0, 0]) == pytest.approx(1, abs=0.05)  # contrast does not matter


def test_nothing_is_learned_from_nothing():
    layer = SCells(4, side=6, selectivity=4.0, reinforcement=1.0)
    layer.build((1, 6, 6, 1))
    before = layer.a.numpy().copy()
    assert float(layer.learn(np.zeros((1, 6, 6, 1), "float32"))) == 0
    np.testing.assert_array_equal(layer.a, before)


def test_two_features_at_one_place_get_two_planes():
    keras.utils.set_random_seed(0)
    layer = SCells(6, side=1, selectivity=4.0, reinforcement=1.0)
    bars = np.zeros((2, 5, 5, 1), "float32")
    bars[0, :, 2], bars[1, 2] = 1, 1
    for _ in range(20):
        for bar in bars:
            layer.learn(bar[None])
    winners = np.asarray(layer(bars)).reshape(2, 6).argmax(axis=1)
    assert winners[0] != winners[1]


def test_save_and_load(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 2)), SCells(3, 6, 1.5, 16.0, field=3, decay=0.7, column=3)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, 8, 8, 2), dtype="float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].get_config() == model.layers[0].get_config()


def test_unknown_size():
    with pytest.raises(ValueError, match="the size of the inputs must be known"):
        SCells(3, 6, 1.5, 1.0)(keras.Input((None, None, 2)))

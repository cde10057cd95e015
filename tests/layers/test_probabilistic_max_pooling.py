from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from kapps.layers.probabilistic_max_pooling import ProbabilisticMaxPooling


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).normal(scale=2, size=(3, 4, 6, 2)).astype("float32")


def test_hand_computed_block():
    # exp: 1, 2, 3, 4; with the 1 of "none" they add up to 11
    signals = np.log(np.array([[1.0, 2.0], [3.0, 4.0]], "float32")).reshape(1, 2, 2, 1)
    layer = ProbabilisticMaxPooling((2, 2))
    np.testing.assert_allclose(layer(signals), np.full((1, 1, 1, 1), 10 / 11), rtol=1e-6)
    expected = np.array([[1, 2], [3, 4]]) / 11
    np.testing.assert_allclose(layer.detectors(signals)[0, :, :, 0], expected, rtol=1e-6)


def test_the_energy_of_all_states_says_the_same():
    """A block of 2x3 by enumeration: of all 64 settings, those with more than one detector on are forbidden."""
    signals = np.random.default_rng(1).normal(size=(1, 2, 3, 1)).astype("float32")
    weights, on = [], []
    for state in itertools.product([0, 1], repeat=6):
        if sum(state) <= 1:
            weights.append(np.exp(np.dot(state, signals.ravel())))
            on.append(state)
    chances = np.array(weights) / np.sum(weights)
    layer = ProbabilisticMaxPooling((2, 3))
    np.testing.assert_allclose(np.asarray(layer.detectors(signals)).ravel(), chances @ np.array(on), rtol=1e-5)
    none = chances[[sum(state) == 0 for state in on]].item()
    np.testing.assert_allclose(1 - np.asarray(layer(signals)).item(), none, rtol=1e-5)


@pytest.mark.parametrize("pool", [(2, 2), (2, 3), (4, 1), (1, 1)])
def test_a_block_s_detectors_add_up_to_its_pooling_unit(signals, pool):
    layer = ProbabilisticMaxPooling(pool)
    pooled, detectors = np.asarray(layer(signals)), np.asarray(layer.detectors(signals))
    assert pooled.shape == layer.compute_output_shape(signals.shape)
    height, width = pool
    for row, column in itertools.product(range(pooled.shape[1]), range(pooled.shape[2])):
        block = detectors[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
        np.testing.assert_allclose(block.sum(axis=(1, 2)), pooled[:, row, column], rtol=1e-5)
    if pool == (1, 1):
        np.testing.assert_allclose(pooled, 1 / (1 + np.exp(-signals)), rtol=1e-5)


def test_drawn_states(signals):
    layer = ProbabilisticMaxPooling((2, 2))
    many = np.repeat(signals[:1], 4000, axis=0)
    detectors, pooled = (np.asarray(some) for some in layer.sample(many, seed=3))
    assert set(np.unique(detectors)) == {0, 1}
    blocks = detectors.reshape(4000, 2, 2, 3, 2, 2).sum(axis=(2, 4))
    np.testing.assert_array_equal(blocks, pooled)  # one detector where the pooling unit is on, else none
    # Four deviations of a mean of 4,000 bits are 0.032 at most.
    np.testing.assert_allclose(detectors.mean(axis=0), layer.detectors(signals)[0], atol=0.032)


def test_signals_of_any_size_are_safe():
    signals = np.array([1000.0, -1000.0, 999.0, 0.0], "float32").reshape(1, 2, 2, 1)
    layer = ProbabilisticMaxPooling((2, 2))
    np.testing.assert_allclose(layer(signals).numpy().item(), 1)
    expected = np.exp([0.0, -np.inf, -1.0, -np.inf])
    np.testing.assert_allclose(np.asarray(layer.detectors(signals)).ravel(), expected / expected.sum(), rtol=1e-5)
    np.testing.assert_array_equal(layer(np.full((1, 2, 2, 1), -1000.0, "float32")), np.zeros((1, 1, 1, 1)))


def test_what_is_known_of_the_detectors_without_their_signals():
    pooled = np.array([[0.8, 0.4]], "float32").reshape(1, 1, 2, 1)
    expected = np.array([[0.2, 0.2, 0.1, 0.1]] * 2)
    np.testing.assert_allclose(ProbabilisticMaxPooling((2, 2)).unpool(pooled)[0, :, :, 0], expected, rtol=1e-6)


def test_save_and_load(tmp_path, signals):
    model = keras.Sequential([keras.Input((4, 6, 2)), ProbabilisticMaxPooling((2, 3))])
    assert model.output_shape == (None, 2, 2, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(signals), loaded(signals))


@pytest.mark.parametrize("shape", [(5, 6, 2), (None, 6, 2)])
def test_maps_that_blocks_do_not_divide_are_refused(shape):
    with pytest.raises(ValueError, match="expected maps that blocks of 2x2 divide"):
        ProbabilisticMaxPooling((2, 2))(keras.Input(shape))


def test_no_block():
    with pytest.raises(ValueError, match="at least 1x1"):
        ProbabilisticMaxPooling((0, 2))

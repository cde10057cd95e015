"""The discrepancy against its definition in plain numpy, pair by pair, and by numerical gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.losses.maximum_mean_discrepancy import WIDTHS, maximum_mean_discrepancy


def mean_distance(source, target):
    rows = np.concatenate([source, target])
    pairs = [((a - b) ** 2).sum() for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    return np.mean(pairs)


def oracle(source, target, widths=WIDTHS, mean=None):
    mean = mean_distance(source, target) if mean is None else mean

    def between(some, others):
        return np.mean([np.exp(-((a - b) ** 2).sum() / (w * mean)) for w in widths for a in some for b in others])

    return between(source, source) + between(target, target) - 2 * between(source, target)


def features(seed, rows):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 3)) + rng.normal(size=3)


def test_by_hand():
    # two points at the squared distance 4, which is the mean, too: 1 + 1 - 2 exp(-1)
    value = maximum_mean_discrepancy(np.array([[0.0]]), np.array([[2.0]]), widths=(1.0,))
    assert float(value) == pytest.approx(2 - 2 * np.exp(-1))


@pytest.mark.parametrize("seed", range(3))
def test_against_the_definition(seed):
    source, target = features(seed, 6), features(seed + 10, 4)
    expected = oracle(source, target)
    assert expected > 0.01
    assert float(maximum_mean_discrepancy(tf.constant(source), tf.constant(target))) == pytest.approx(expected)


def test_zero_for_the_same_set_and_blind_to_the_scale():
    some, other = features(0, 8), features(1, 8)
    assert float(maximum_mean_discrepancy(tf.constant(some), tf.constant(some[::-1]))) == pytest.approx(0, abs=1e-12)
    one = float(maximum_mean_discrepancy(tf.constant(some), tf.constant(other)))
    assert float(maximum_mean_discrepancy(tf.constant(50 * some), tf.constant(50 * other))) == pytest.approx(one)


def test_features_that_are_all_one_point_cost_nothing():
    value = maximum_mean_discrepancy(tf.ones((3, 2)), tf.ones((4, 2)))
    assert float(value) == pytest.approx(0, abs=1e-6)


def test_numerical_gradient_with_the_kernels_held():
    source, target = features(3, 4), features(4, 3)
    mean = mean_distance(source, target)
    variables = [tf.Variable(source), tf.Variable(target)]
    with tf.GradientTape() as tape:
        loss = maximum_mean_discrepancy(*variables)
    for place, gradient in enumerate(some.numpy() for some in tape.gradient(loss, variables)):
        assert np.abs(gradient).max() > 0.01
        for index in np.ndindex(gradient.shape):
            step = [np.zeros_like(source), np.zeros_like(target)]
            step[place][index] = 1e-6
            up = oracle(source + step[0], target + step[1], mean=mean)
            down = oracle(source - step[0], target - step[1], mean=mean)
            assert gradient[index] == pytest.approx((up - down) / 2e-6, abs=1e-6)

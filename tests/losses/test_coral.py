"""CORAL against numpy's covariance, by hand and by numerical gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.losses.coral import coral, covariance


def oracle(source, target):
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    return (difference**2).sum() / (4 * source.shape[1] ** 2)


def features(seed, rows, columns=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)


def test_by_hand():
    # variances 2 and 8 in the first direction, nothing in the second: (2 - 8)^2 / (4 * 2^2)
    source, target = np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[1.0, 0.0], [5.0, 0.0]])
    assert float(coral(source, target)) == pytest.approx(36 / 16)


@pytest.mark.parametrize("seed", range(3))
def test_against_numpy(seed):
    source, target = features(seed, 9), features(seed + 10, 14)
    np.testing.assert_allclose(covariance(tf.constant(source)), np.cov(source, rowvar=False), rtol=1e-12)
    assert float(coral(tf.constant(source), tf.constant(target))) == pytest.approx(oracle(source, target), rel=1e-12)


def test_a_shift_costs_nothing_and_a_scale_does():
    some = features(0, 20)
    assert float(coral(tf.constant(some), tf.constant(some + 100))) == pytest.approx(0, abs=1e-18)
    assert float(coral(tf.constant(some), tf.constant(2 * some))) > 0.1


def test_numerical_gradient():
    source, target = features(1, 5), features(2, 4)
    variables = [tf.Variable(source), tf.Variable(target)]
    with tf.GradientTape() as tape:
        loss = coral(*variables)
    for place, gradient in enumerate(some.numpy() for some in tape.gradient(loss, variables)):
        assert np.abs(gradient).max() > 0.01  # else any tolerance would do
        for index in np.ndindex(gradient.shape):
            step = [np.zeros_like(source), np.zeros_like(target)]
            step[place][index] = 1e-6
            up, down = oracle(source + step[0], target + step[1]), oracle(source - step[0], target - step[1])
            assert gradient[index] == pytest.approx((up - down) / 2e-6, abs=1e-7)

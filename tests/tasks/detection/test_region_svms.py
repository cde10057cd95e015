from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.detection.region_svms import HardNegativeMining


def easy(rng, count):
    """Background: far to the left."""
    return np.stack([rng.normal(-10, 0.3, count), rng.normal(0, 0.3, count)], axis=1).astype(np.float32)


def mined(*, with_hard: bool):
    rng = np.random.default_rng(0)
    positives = np.stack([rng.normal(10, 0.3, 20), rng.normal(0, 0.3, 20)], axis=1).astype(np.float32)
    mining = HardNegativeMining([positives], strength=1.0)
    for image in range(6):
        features = easy(rng, 40)
        if with_hard and image == 4:
            features[7] = (10, 8)  # as far right as the objects, but higher up
        mining.add(image, features, np.ones((40, 1), bool))
    return positives, mining


def test_a_planted_hard_negative_is_found_and_learned_from():
    hard = np.float32([[10, 8]])
    positives, without = mined(with_hard=False)
    assert without.train().margins(hard)[0, 0] > 0  # nobody told it
    positives, mining = mined(with_hard=True)
    machines = mining.train()
    assert machines.margins(hard)[0, 0] < 0
    assert (machines.margins(positives) > 0).all()
    assert (machines.margins(easy(np.random.default_rng(1), 50)) < -1).all()
    # of the easy ones behind the first image next to none was kept
    assert 1 <= mining.mined[0] - without.mined[0] <= 5
    assert mining.kept[0] < 60


def test_a_second_pass_adds_what_it_lacks_and_nothing_twice():
    rng = np.random.default_rng(0)
    positives = np.float32([[10, 0], [9, 1], [11, -1]])
    mining = HardNegativeMining([positives], strength=1.0)
    features = np.concatenate([easy(rng, 5), np.float32([[8, 6]])])
    every = np.ones((6, 1), bool)
    mining.add(0, features, every)
    before = mining.mined[0]
    mining.add(0, features, every)
    mining.add(0, features, every)
    assert before == 6
    assert mining.mined[0] <= before + 5  # those that were forgotten as easy may come back, the hard one is still there
    mining.train()
    assert (mining.kept[0]) <= 6


def test_only_what_is_background_for_the_class_is_its_negative():
    positives = [np.float32([[5, 0], [6, 0]]), np.float32([[0, 5], [0, 6]]), np.zeros((0, 2), np.float32)]
    mining = HardNegativeMining(positives, strength=1.0)
    features = np.float32([[5.5, 0], [0, 5.5], [-5, -5]])
    mining.add(0, features, np.array([[False, True, True], [True, False, True], [True, True, True]]))
    machines = mining.train()
    assert mining.mined == [2, 2, 0]
    margins = machines.margins(features)
    assert margins[0, 0] > 0 > margins[1, 0]
    assert margins[1, 1] > 0 > margins[0, 1]
    assert np.isneginf(margins[:, 2]).all()  # without an example it is never found


def test_lengths_of_features_do_not_matter():
    rng = np.random.default_rng(3)
    positives, features = (
        rng.normal(1, 0.5, (10, 3)).astype(np.float32),
        rng.normal(-1, 0.5, (40, 3)).astype(np.float32),
    )
    margins = []
    for factor in (1, 1000):
        mining = HardNegativeMining([positives * np.float32(factor)])
        mining.add(0, features * np.float32(factor), np.ones((40, 1), bool))
        margins.append(mining.train().margins(features * np.float32(factor)))
    np.testing.assert_allclose(margins[0], margins[1], atol=1e-3)


def test_no_background_at_all():
    mining = HardNegativeMining([np.ones((2, 3), np.float32)])
    mining.add(0, np.ones((4, 3), np.float32), np.zeros((4, 1), bool))
    with pytest.raises(DataError, match="expected proposals that overlap no true box much, got none"):
        mining.train()

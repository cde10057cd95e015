from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.transfer.calibration import (
    expected_calibration_error,
    find_temperature,
    probabilities,
    reliability,
    wilson_interval,
)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_that_made_the_scores_too_sure_is_found(temperature):
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (20_000, 3))
    likely = probabilities(honest)
    labels = (random.uniform(size=(20_000, 1)) > likely.cumsum(axis=1)).sum(axis=1)
    assert find_temperature(honest * temperature, labels) == pytest.approx(temperature, rel=0.03)
    assert expected_calibration_error(likely, labels) < 0.01


@pytest.mark.parametrize("count", [6, 15, 60])
def test_a_few_examples_that_are_all_right_do_not_make_it_infinitely_sure(count):
    scores = np.random.default_rng(0).normal(0, 0.1, (count, 3))
    labels = np.arange(count) % 3
    scores[np.arange(count), labels] += 1.5
    sure = probabilities(scores, find_temperature(scores, labels)).max(axis=1).mean()
    assert sure == pytest.approx((count + 1) / (count + 2), abs=0.02)
    assert find_temperature(8 * scores, labels) == 1.0  # nor less sure than it is


def test_nothing_to_learn_from_leaves_the_scores_alone():
    assert find_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_reliability_by_hand():
    likely = np.array([[0.95, 0.05], [0.91, 0.09], [0.35, 0.65], [0.5, 0.5]])
    labels = np.array([0, 1, 1, 0])
    assert reliability(likely, labels) == [
        {"confidence": 0.5, "accuracy": 1.0, "count": 1},
        {"confidence": 0.65, "accuracy": 1.0, "count": 1},
        {"confidence": pytest.approx(0.93), "accuracy": 0.5, "count": 2},
    ]
    expected = (abs(0.5 - 1) + abs(0.65 - 1) + 2 * abs(0.93 - 0.5)) / 4
    assert expected_calibration_error(likely, labels) == pytest.approx(expected)
    assert reliability(np.ones((1, 2)), np.array([0]))[0]["count"] == 1  # a confidence of 1 has a bin


def test_rows_and_labels_must_fit():
    with pytest.raises(DataError, match=r"expected one row of probabilities a label, got \(2, 3\) for 1 labels"):
        reliability(np.ones((2, 3)), np.array([0]))


def test_wilsons_interval():
    low, high = wilson_interval(8, 10)  # the textbook's example: 0.490 to 0.943
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(10, 10)[1] == 1.0

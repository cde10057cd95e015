from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from kapps.errors import DataError, RecipeError
from kapps.explaining.permutation_importance import permutation_importance


@pytest.fixture(scope="module")
def table():
    """Columns 0 and 1 decide alone, column 2 is noise: label = x0 > 0, and in the numbers y = 3 x0 - x1."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 3))
    return rows, (rows[:, 0] > 0).astype(int), 3 * rows[:, 0] - rows[:, 1]


def test_a_shuffled_column_costs_what_it_is_worth(table):
    rows, labels, _ = table
    found = permutation_importance(
        lambda batch: np.stack([-batch[:, 0], batch[:, 0]], axis=1), rows, labels=labels, names=["first", "b", "c"]
    )
    assert (found.score, found.metric, found.names) == (1.0, "accuracy", ("first", "b", "c"))
    assert found.mean[0] == pytest.approx(0.5, abs=0.05)  # half of the signs are right by chance
    assert found.mean[1] == found.mean[2] == 0
    assert found.repeats.shape == (3, 10)
    np.testing.assert_allclose(found.repeats.mean(axis=1), found.mean, atol=1e-6)
    np.testing.assert_allclose(found.repeats.std(axis=1), found.std, atol=1e-6)


def test_of_a_regression_it_is_twice_the_explained_variance(table):
    """R^2 falls by 2 w_j^2 var(x_j) / var(y): the shuffled column counts against itself twice."""
    rows, _, numbers = table
    estimator = LinearRegression().fit(rows, numbers)
    found = permutation_importance(estimator, rows, labels=numbers, repeats=30, seed=1)
    expected = 2 * np.array([9, 1, 0]) * rows.var(axis=0) / numbers.var()
    np.testing.assert_allclose(found.mean, expected, atol=0.05)
    assert found.metric == "R^2"
    by_function = permutation_importance(estimator.predict, rows, labels=numbers, repeats=30, seed=1)
    np.testing.assert_allclose(by_function.mean, found.mean, rtol=1e-3, atol=1e-6)


def test_an_estimator_s_own_classes_are_compared(table):
    rows, labels, _ = table
    names = np.array(["no", "yes"])[labels]
    found = permutation_importance(KNeighborsClassifier(3).fit(rows[:300], names[:300]), rows[300:], labels=names[300:])
    assert found.metric == "accuracy"
    assert 0.85 < found.score < 1
    assert found.mean[0] > 0.3 > 0.1 > abs(found.mean[2])


def test_channels_of_images_and_a_metric_of_one_s_own():
    random = np.random.default_rng(2)
    images = random.normal(size=(60, 4, 4, 2)).astype(np.float32)
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, keras.ops.mean(image, axis=(1, 2)) * np.array([1.0, 0.0], np.float32))
    labels = images.mean(axis=(1, 2))[:, 0]

    def closeness(right, scores):
        return -float(np.abs(right - scores[:, 0]).mean())

    found = permutation_importance(model, images, labels=labels, metric=closeness, batch_size=7, repeats=3)
    assert (found.metric, found.names) == ("closeness", ("channel 0", "channel 1"))
    assert found.score == pytest.approx(0, abs=1e-6)
    # by hand: two draws of a normal with deviation 1/4 lie 2 / sqrt(pi) / 4 apart
    assert found.mean[0] == pytest.approx(labels.std() * 2 / np.sqrt(np.pi), rel=0.2)
    assert found.mean[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": None}, DataError, "expected labels=400 right answers, one for each example, got none"),
        ({"labels": [1]}, DataError, "got 1"),
        ({"names": ["a"]}, DataError, "expected 3 feature names, one for each column, got 1"),
        ({"repeats": 0}, RecipeError, "at least one repeat, got 0"),
    ],
)
def test_wrong_arguments_are_refused(table, arguments, error, message):
    rows, labels, _ = table
    with pytest.raises(error, match=message):
        permutation_importance(lambda batch: batch, rows, **({"labels": labels} | arguments))

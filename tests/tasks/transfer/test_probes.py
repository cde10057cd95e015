from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kapps.errors import RecipeError, UnknownNameError
from kapps.tasks.transfer.probes import PROBES, learn


def clouds(classes=3, each=30, size=8, spread=1.0, seed=0):
    """Features [N, 1, D] around a centre a class, at an odd scale and place, and their labels."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(0, 2, (classes, size))
    labels = np.repeat(np.arange(classes), each)
    features = 30 * (centres[labels] + random.normal(0, spread, (len(labels), size))) + 100
    return features[:, None].astype(np.float32), labels


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_separates_what_can_be_separated(kind, classes):
    features, labels = clouds(classes)
    probe = learn(kind, features, labels, np.arange(len(labels)), classes)
    fresh, truth = clouds(classes, seed=5)
    scores = probe.scores(fresh[:, 0])
    assert scores.shape == (len(truth), classes)
    assert (scores.argmax(axis=1) == truth).mean() > 0.95
    assert probe.kind == kind
    assert probe.chosen


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_is_scikit_learns(classes):
    """The scaling is multiplied into the weights: the same function of the features as they are."""
    features, labels = clouds(classes, spread=2.0)
    probe = learn("logistic_regression", features, labels, np.arange(len(labels)), classes)
    rows = features[:, 0].astype(np.float64)
    scaled = (rows - rows.mean(axis=0)) / (rows - rows.mean(axis=0)).std()
    model = LogisticRegression(C=probe.chosen["C"], max_iter=5000, tol=1e-10).fit(scaled, labels)
    found = keras.ops.convert_to_numpy(keras.ops.softmax(probe.scores(features[:, 0])))
    np.testing.assert_allclose(found, model.predict_proba(scaled), atol=5e-3)


def test_views_of_one_photo_are_examples_of_its_class():
    features, labels = clouds(2)
    both = np.concatenate([features, features + 300], axis=1)  # the mirrored half lies elsewhere
    probe = learn("logistic_regression", both, labels, np.arange(len(labels)), 2)
    for view in (0, 1):
        assert (probe.scores(both[:, view]).argmax(axis=1) == labels).mean() > 0.9


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    random = np.random.default_rng(3)
    labels = np.array([0] * 1900 + [1] * 100)
    features = random.normal(labels[:, None] * 1.0, 1, (2000, 1))[:, None].astype(np.float32)
    shares = []
    for weighted in (True, False):
        probe = learn("logistic_regression", features, labels, np.arange(2000), 2, class_weights=weighted)
        shares.append((probe.scores(features[labels == 1][:, 0]).argmax(axis=1) == 1).mean())
    assert shares[0] > 0.5 > shares[1]


def test_copies_of_a_photo_stay_together_when_a_number_is_tuned():
    """Labels are noise; near copies would show them to the other side, and no regularisation would seem best."""
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, 20).repeat(5)
    features = random.normal(size=(20, 1, 50)).repeat(5, axis=0) + random.normal(0, 0.01, (100, 1, 50))
    together = learn("logistic_regression", features, labels, np.arange(20).repeat(5), 2)
    apart = learn("logistic_regression", features, labels, np.arange(100), 2)
    assert together.chosen["C"] < apart.chosen["C"]


def test_one_photo_a_class_is_learned_too():
    features, labels = clouds(50, each=1, size=100)
    for kind in PROBES:
        probe = learn(kind, features, labels, np.arange(50), 50)
        assert (probe.scores(features[:, 0]).argmax(axis=1) == labels).mean() > 0.9


def test_what_cannot_be_learned_is_refused():
    features, labels = clouds(2)
    with pytest.raises(
        UnknownNameError, match="no head is named 'logistic_regresion': did you mean 'logistic_regression'"
    ):
        learn("logistic_regresion", features, labels, np.arange(60), 2)
    with pytest.raises(RecipeError, match="expected photos of all 3 classes, got 2 with some"):
        learn("svm", features, labels, np.arange(60), 3)

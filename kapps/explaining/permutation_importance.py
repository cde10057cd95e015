"""Permutation importance: how much worse a model gets when one feature's values change places between the examples.

L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10; for any model A. Fisher, C. Rudin, F. Dominici,
arXiv:1801.01489. The importance of feature j is s - s_j, with s the metric on the examples as they are and s_j on the
same examples with column j shuffled. scikit-learn's `permutation_importance` does the shuffling.

It tells what the model relies on, not what there is to know: of two features that say the same, either may look idle.

Deviations: none. A feature may be the channel of an image: scikit-learn, which wants a table, shuffles one of row
numbers, and the examples are put together from these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import sklearn.inspection
from sklearn.metrics import accuracy_score, r2_score

from kapps.errors import DataError, RecipeError
from kapps.explaining.attribution import as_scores
from kapps.predict import Predictor

Metric = Callable[[np.ndarray, np.ndarray], float]  # (labels [n], answers) -> the more the better


@dataclass(frozen=True, eq=False)
class PermutationImportance:
    """What each feature is worth to the metric.

    Attributes:
        names: of the features [F].
        mean, std: float32 [F], over the repeats; below 0 where the model does better without it, by chance or not.
        repeats: float32 [F, R], every single loss.
        score: the metric on the examples as they are.
        metric: its name.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    repeats: np.ndarray
    score: float
    metric: str


def permutation_importance(
    model: Any,
    rows: np.ndarray,
    *,
    labels: Sequence[Any] | np.ndarray | None = None,
    metric: Metric | None = None,
    names: Sequence[str] | None = None,
    repeats: int = 10,
    seed: int = 0,
    batch_size: int = 256,
) -> PermutationImportance:
    """How much of the metric each feature, the last axis of the examples, is worth.

    Args:
        model: a `Predictor` or a Keras model; a function from examples [B, ..., F] to scores [B, N], or to numbers [B];
            or a fitted estimator of scikit-learn. It should not have been trained on these examples.
        rows: [n, F], or preprocessed images float32 [n, h, w, F].
        labels: what is right, [n]: the numbers of the classes; the estimator's own classes; numbers for a regression.
        metric: from (labels, answers) to a number that is the greater the better; the answers are what an estimator
            predicts, or the scores [n, N]. None: accuracy of classes, R^2 of single numbers.
        names: of the features.
        repeats: how often each feature is shuffled.
        seed: of the shuffling.
        batch_size: examples a step; it does not change the result.

    Raises:
        DataError: examples, labels or names that do not fit each other.
        RecipeError: no repeat.
    """
    rows = np.asarray(rows)
    if rows.ndim < 2 or not len(rows):
        raise DataError(f"expected rows [n, F] or images [n, h, w, F], got {list(rows.shape)}")
    if labels is None or len(labels) != len(rows):
        came = "none" if labels is None else len(labels)
        raise DataError(f"expected labels={len(rows)} right answers, one for each example, got {came}")
    if repeats < 1:
        raise RecipeError(f"expected at least one repeat, got {repeats}")
    labels, features = np.asarray(labels), rows.shape[-1]
    kind = "feature" if rows.ndim == 2 else "channel"
    names = tuple(map(str, names)) if names is not None else tuple(f"{kind} {place}" for place in range(features))
    if len(names) != features:
        raise DataError(f"expected {features} feature names, one for each column, got {len(names)}")

    answer = _answering(model, batch_size)
    measure, metric_name = _measure(model, metric, answer(rows[:1]))

    def score(_: Any, numbers: np.ndarray, right: np.ndarray) -> float:
        shuffled = rows.copy()
        for column in np.flatnonzero((numbers != np.arange(len(rows))[:, np.newaxis]).any(axis=0)):
            shuffled[..., column] = rows[..., column][numbers[:, column]]
        return float(measure(right, answer(shuffled)))

    numbers = np.repeat(np.arange(len(rows))[:, np.newaxis], features, axis=1)
    found = sklearn.inspection.permutation_importance(
        _Fitted(), numbers, labels, scoring=score, n_repeats=repeats, random_state=seed
    )
    return PermutationImportance(
        names,
        found.importances_mean.astype(np.float32),
        found.importances_std.astype(np.float32),
        found.importances.astype(np.float32),
        score(None, numbers, labels),
        metric_name,
    )


class _Fitted:
    """scikit-learn asks for an estimator; the scores come from elsewhere."""

    def fit(self, *_: Any) -> _Fitted:
        return self


def _answering(model: Any, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    if isinstance(model, Predictor):
        one = model.predict_tensors
    elif isinstance(model, keras.Model):

        def one(batch: np.ndarray) -> np.ndarray:
            return model(batch.astype(np.float32), training=False).numpy()

    elif callable(model):

        def one(batch: np.ndarray) -> np.ndarray:
            return as_scores(model(batch), len(batch))

    else:
        return model.predict
    return lambda rows: np.concatenate(
        [one(rows[begin : begin + batch_size]) for begin in range(0, len(rows), batch_size)]
    )


def _measure(model: Any, metric: Metric | None, answer: np.ndarray) -> tuple[Metric, str]:
    if metric is not None:
        return metric, getattr(metric, "__name__", "metric")
    if callable(model) and answer.shape[1] > 1:
        return lambda labels, scores: accuracy_score(labels, scores.argmax(axis=1)), "accuracy"
    if hasattr(model, "classes_"):
        return accuracy_score, "accuracy"
    return r2_score, "R^2"

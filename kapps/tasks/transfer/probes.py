"""Heads that are learned from frozen features: logistic regression, softmax, linear SVM, nearest neighbours.

The first three are, once learned, one dense layer on the features as they are, so that they can be exported, explained
and fine-tuned like any classifier; the scaling that helped the learning is multiplied into its weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import LinearSVC

from kapps.errors import RecipeError, UnknownNameError
from kapps.layers.nearest_neighbours import NearestNeighbours

_STRENGTHS = tuple(10.0**power for power in range(-4, 3))  # C of scikit-learn: the larger, the less is regularised
_MOST_CLASSES_TUNED = 50  # with more, the search over strengths takes longer than it brings
_STEPS = 400
_BATCH = 1024  # of features: an example costs next to nothing, a step does


@dataclass(frozen=True)
class Probe:
    """A learned head.

    Attributes:
        kind: a key of `PROBES`.
        layer: [B, D] -> scores [B, N]; a softmax behind them gives probabilities.
        chosen: the number that was tuned by cross-validation, by name.
    """

    kind: str
    layer: keras.layers.Layer
    chosen: dict[str, float]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """[N, D] -> scores [N, classes]."""
        return keras.ops.convert_to_numpy(self.layer(features))


def learn(
    kind: str,
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: int,
    *,
    class_weights: bool = True,
    seed: int = 0,
) -> Probe:
    """Learn a head from frozen features.

    Args:
        kind: `"logistic_regression"`, `"softmax"`, `"svm"` or `"nearest"`.
        features: float32 [N, V, D], V views of each photo; each view is an example.
        labels: int [N].
        groups: int [N]; photos that are nearly equal have the same number: they stay together in cross-validation.
        classes: how many there are.
        class_weights: whether every class counts as much as any other, however many photos it has.
        seed: of what is random.

    Raises:
        UnknownNameError: no such head.
        RecipeError: a class without a photo.
    """
    if kind not in PROBES:
        raise UnknownNameError("head", kind, PROBES)
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or not counts.all():
        raise RecipeError(f"expected photos of all {classes} classes, got {np.count_nonzero(counts)} with some")
    views, size = features.shape[1:]
    weights = weights_of(labels, classes)[labels] if class_weights else np.ones(len(labels))
    task = _Task(
        features.reshape(-1, size).astype(np.float64),
        np.repeat(labels, views),
        np.repeat(groups, views),
        np.repeat(weights, views),
        classes,
        seed,
    )
    layer, chosen = PROBES[kind](task)
    return Probe(kind, layer, chosen)


def weights_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """The weight of each class' photos [classes] with which every class counts the same: the rarer, the more."""
    return len(labels) / (classes * np.bincount(labels, minlength=classes))


@dataclass(frozen=True)
class _Task:
    features: np.ndarray  # [N, D]
    labels: np.ndarray  # [N]
    groups: np.ndarray  # [N]
    weights: np.ndarray  # [N]
    classes: int
    seed: int

    def part(self, rows: np.ndarray) -> _Task:
        return _Task(
            self.features[rows], self.labels[rows], self.groups[rows], self.weights[rows], self.classes, self.seed
        )

    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Five parts at most, or none where a class has a single group."""
        groups_of = [len(np.unique(self.groups[self.labels == label])) for label in range(self.classes)]
        parts = min(5, *groups_of)
        if parts < 2:
            return []
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class in fewer groups than parts
            folds = list(splitter.split(self.features, self.labels, self.groups))
        return [(train, rest) for train, rest in folds if len(np.unique(self.labels[train])) == self.classes]


def _tuned(
    task: _Task,
    fit: Callable[[_Task, float], np.ndarray],
    loss_of: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
) -> float:
    """The strength with the least loss in cross-validation, the least of equal ones; the middle one where there is
    nothing to choose by.

    Args:
        fit: (task, strength) -> a function's weights [D + 1, N], the last row the biases.
        loss_of: (scores [n, N], labels [n], weights [n]) -> a number.
    """
    folds = task.folds() if task.classes <= _MOST_CLASSES_TUNED else []
    if not folds:
        return _STRENGTHS[len(_STRENGTHS) // 2]
    losses = []
    for strength in _STRENGTHS:
        loss = 0.0
        for train, rest in folds:
            weights = fit(task.part(train), strength)
            scores = task.features[rest] @ weights[:-1] + weights[-1]
            loss += loss_of(scores, task.labels[rest], task.weights[rest])
        losses.append(loss)
    return _STRENGTHS[int(np.argmin(losses))]


def _loss_at_best_scale(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """For scores that have no scale of their own, such as an SVM's."""
    return float(minimize_scalar(lambda t: _loss(scores * np.exp(t), labels, weights), bounds=(-4, 4)).fun)


def _loss(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    return float(-(weights * log_softmax(scores, axis=1)[np.arange(len(labels)), labels]).mean())


def _scaled(task: _Task) -> tuple[_Task, np.ndarray, np.ndarray]:
    """With features of mean 0 and, on the whole, deviation 1: one scale for all, as rare features are often noise."""
    mean = task.features.mean(axis=0)
    scale = np.full_like(mean, (task.features - mean).std() or 1.0)
    features = (task.features - mean) / scale
    return _Task(features, task.labels, task.groups, task.weights, task.classes, task.seed), mean, scale


def _unscaled(weights: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[D + 1, N] for scaled features -> the same function of the features themselves."""
    kernel = weights[:-1] / scale[:, np.newaxis]
    return np.vstack([kernel, weights[-1] - mean @ kernel])


def _dense(weights: np.ndarray) -> keras.layers.Layer:
    layer = keras.layers.Dense(weights.shape[1], dtype="float32", name="scores")
    layer.build((None, len(weights) - 1))
    layer.set_weights([weights[:-1].astype(np.float32), weights[-1].astype(np.float32)])
    return layer


def _two_columns(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """scikit-learn gives two classes one column of weights: it becomes the difference of two."""
    weights = np.vstack([kernel.T, bias])  # [D + 1, N or 1]
    return np.hstack([-weights / 2, weights / 2]) if weights.shape[1] == 1 else weights


def _logistic_regression(task: _Task) -> tuple[keras.layers.Layer, dict[str, float]]:
    """The regularised multinomial model, whose optimum is unique."""

    def fit(task: _Task, strength: float) -> np.ndarray:
        task, mean, scale = _scaled(task)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # near enough to the optimum is good enough
            model = LogisticRegression(C=strength, max_iter=_STEPS).fit(task.features, task.labels, task.weights)
        return _unscaled(_two_columns(model.coef_, model.intercept_), mean, scale)

    strength = _tuned(task, fit, _loss)
    return _dense(fit(task, strength)), {"C": strength}


def _svm(task: _Task) -> tuple[keras.layers.Layer, dict[str, float]]:
    """One linear machine a class, against all others (Cortes and Vapnik 1995; the squared hinge)."""

    def fit(task: _Task, strength: float) -> np.ndarray:
        task, mean, scale = _scaled(task)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LinearSVC(C=strength, random_state=task.seed).fit(task.features, task.labels, task.weights)
        return _unscaled(_two_columns(model.coef_, model.intercept_), mean, scale)

    strength = _tuned(task, fit, _loss_at_best_scale)
    return _dense(fit(task, strength)), {"C": strength}


def _softmax(task: _Task) -> tuple[keras.layers.Layer, dict[str, float]]:
    """The same model as logistic regression, learned by gradient descent (AdamW), as a network's last layer is."""
    scaled, mean, scale = _scaled(task)
    keras.utils.set_random_seed(task.seed)
    model = keras.Sequential([keras.Input((task.features.shape[1],)), keras.layers.Dense(task.classes)])
    batch = min(_BATCH, len(task.labels))
    steps = max(_STEPS, 10 * -(-len(task.labels) // batch))
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.02, steps), weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    examples = (scaled.features.astype(np.float32), scaled.labels, scaled.weights.astype(np.float32))
    batches = tf.data.Dataset.from_tensor_slices(examples).shuffle(len(task.labels), seed=task.seed).repeat()
    # One epoch, as each costs more than a step here.
    model.fit(batches.batch(batch), steps_per_epoch=steps, epochs=1, verbose=0)
    kernel, bias = model.get_weights()
    return _dense(_unscaled(np.vstack([kernel, bias]), mean, scale)), {"steps": steps}


def _nearest(task: _Task) -> tuple[keras.layers.Layer, dict[str, float]]:
    """The classes of the most similar photos; nothing is learned, but all photos are kept."""
    folds = task.folds()
    neighbours, loss = 5, np.inf
    for count in (1, 3, 5, 9, 15) if folds else ():
        found = 0.0
        for train, rest in folds:
            part = task.part(train)
            layer = _neighbours(part, min(count, len(part.labels)))
            scores = keras.ops.convert_to_numpy(layer(task.features[rest].astype(np.float32)))
            found += _loss(scores, task.labels[rest], task.weights[rest])
        if found < loss:
            neighbours, loss = count, found
    neighbours = min(neighbours, len(task.labels))
    return _neighbours(task, neighbours), {"neighbours": neighbours}


def _neighbours(task: _Task, count: int) -> NearestNeighbours:
    layer = NearestNeighbours(task.classes, examples=len(task.labels), neighbours=count, name="scores")
    layer.build((None, task.features.shape[1]))
    layer.remember(task.features.astype(np.float32), task.labels)
    return layer


PROBES: dict[str, Callable[[_Task], tuple[keras.layers.Layer, dict[str, float]]]] = {
    "logistic_regression": _logistic_regression,
    "softmax": _softmax,
    "svm": _svm,
    "nearest": _nearest,
}

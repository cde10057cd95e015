"""Probabilities that mean what they say: temperature scaling, and how far off they are.

C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
J. Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods", 1999.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from kapps.errors import DataError


def find_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The number that scores are divided by before the softmax so that the labels are likeliest (section 4.2).

    Few examples that are all right would ask for infinitely sure scores. So where scores are to become surer, a label
    counts (N + 1) / (N + 2) and the other classes share the rest, as in Platt's section 2.2: after 15 right answers
    nobody can be surer than 16 in 17. This alone makes no score less sure.

    Args:
        scores: logits [N, classes] of examples that were not trained on.
        labels: int [N].

    Returns:
        From 0.05 to 20; 1 where there is nothing to learn it from.
    """
    if len(scores) == 0:
        return 1.0
    count, classes = scores.shape
    found = _likeliest(scores, np.eye(classes)[labels])
    if found >= 1:
        return found
    sure = (count + 1) / (count + 2)
    targets = np.full(scores.shape, (1 - sure) / (classes - 1))
    targets[np.arange(count), labels] = sure
    return min(1.0, _likeliest(scores, targets))


def _likeliest(scores: np.ndarray, targets: np.ndarray) -> float:
    """The temperature with the least cross-entropy: [N, classes] each."""
    found = minimize_scalar(
        lambda t: -(targets * log_softmax(scores / math.exp(t), axis=1)).sum(axis=1).mean(),
        bounds=(math.log(0.05), math.log(20)),
        method="bounded",
    )
    return float(math.exp(found.x))


def probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Logits [N, classes] -> probabilities [N, classes]."""
    return softmax(scores / temperature, axis=1)


def reliability(probability: np.ndarray, labels: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """How often the answer was right where the model was about as sure (figure 1, bottom).

    Args:
        probability: [N, classes].
        labels: int [N].
        bins: equal parts of the range of the largest probability.

    Returns:
        For each bin with examples in it: `confidence` (their mean), `accuracy`, `count`.
    """
    if probability.ndim != 2 or len(probability) != len(labels):
        raise DataError(f"expected one row of probabilities a label, got {probability.shape} for {len(labels)} labels")
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for place in range(bins):
        inside = places == place
        if inside.any():
            rows.append(
                {
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(right[inside].mean()),
                    "count": int(inside.sum()),
                }
            )
    return rows


def expected_calibration_error(probability: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """The mean distance of confidence and accuracy over the bins, weighted by their examples (equation 3)."""
    rows = reliability(probability, labels, bins)
    return sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / max(len(labels), 1)


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Where the true accuracy lies with 95 % confidence, after `right` of `count` answers were right (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    # The share itself lies inside, whatever was rounded.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))

"""R-CNN's box regression: what a region looks like tells how far its box is off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kapps.boxes.coder import decode, encode

# Features are scaled to this mean length before anything is learned from them: the authors' code, for which the
# strengths of all regularisations were chosen.
FEATURE_LENGTH = 20.0


@dataclass(frozen=True, eq=False)
class BoxRegression:
    """For each class a linear map from a region's features to how its box should move.

    Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies", CVPR 2014, appendix C: ridge regression on the maps
    of the last pooling layer, equations 1 to 5 and the targets of equations 6 to 9.

    Attributes:
        weights: float32 [classes, 4, D].
        biases: float32 [classes, 4].
    """

    weights: np.ndarray
    biases: np.ndarray

    def move(self, features: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """The boxes as each class would have them.

        Args:
            features: float32 [N, D].
            boxes: float32 [N, 4], `"xyxy"`.

        Returns:
            float32 [N, classes, 4].
        """
        classes, four, size = self.weights.shape
        deltas = features @ self.weights.reshape(classes * four, size).T + self.biases.reshape(-1)
        return np.asarray(decode(deltas.reshape(-1, classes, four).astype(np.float32), boxes[:, None]))


def fit_box_regression(
    features: Sequence[np.ndarray],
    proposals: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    *,
    strength: float = 1000.0,
) -> BoxRegression:
    """Learn from proposals that lie near a true box (in the paper: by an IoU of more than 0.6).

    Args:
        features: for each class float32 [N, D], of its proposals. A class may have none: its boxes do not move.
        proposals: for each class float32 [N, 4], `"xyxy"`.
        boxes: for each class float32 [N, 4]: the true boxes beside them.
        strength: lambda of equation 5, for features of the mean length 20.
    """
    from sklearn.linear_model import Ridge

    size = features[0].shape[1]
    scale = length_scale(features)
    weights, biases = np.zeros((len(features), 4, size), np.float32), np.zeros((len(features), 4), np.float32)
    for number, (seen, start, end) in enumerate(zip(features, proposals, boxes, strict=True)):
        if len(seen):
            targets = np.asarray(encode(end, start), np.float64)
            ridge = Ridge(alpha=strength).fit(seen.astype(np.float64) * scale, targets)
            weights[number], biases[number] = ridge.coef_ * scale, ridge.intercept_
    return BoxRegression(weights, biases)


def length_scale(groups: Sequence[np.ndarray]) -> float:
    """What features, [N, D] each, are multiplied by to be 20 long in the mean; 1 where there is nothing to measure."""
    lengths = np.concatenate([np.linalg.norm(features, axis=1) for features in groups])
    return float(FEATURE_LENGTH / lengths.mean()) if lengths.any() else 1.0

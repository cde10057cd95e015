"""Mean intersection over union: the usual figure of semantic segmentation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class from a confusion matrix.

    `n_ii / (sum_j n_ij + sum_j n_ji - n_ii)`, n_ij pixels of class i answered as j (Long et al. 2015, section 5).

    Args:
        confusion: int [N, N], rows are true classes, columns answers.

    Returns:
        float64 [N] in 0..1; NaN for a class that neither is there nor was answered.
    """
    confusion = np.asarray(confusion, np.float64)
    hits = confusion.diagonal()
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(len(confusion), np.nan), where=union > 0)


@keras.saving.register_keras_serializable("kapps")
class MeanIoU(keras.metrics.Metric):
    """The mean of the classes' intersections over unions, over all pixels seen since the last reset.

    Not the mean over images: a class counts by all its pixels. Classes that neither are there nor were answered are
    left out of the mean.

    Args:
        num_classes: N.
        ignored_label: pixels with this label count nowhere; VOC marks the outlines of objects with 255.

    Call arguments of `update_state`:
        y_true: integers `[B, H, W]`.
        y_pred: scores or probabilities `[B, H, W, N]`; the largest is the answer.

    Raises:
        ValueError: fewer than 2 classes.
    """

    def __init__(
        self, num_classes: int, ignored_label: int | None = 255, name: str = "mean_iou", dtype: Any = None
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"MeanIoU: num_classes must be at least 2, got {num_classes}")
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.ignored_label = ignored_label
        # Float32 could not count beyond 2^24 pixels.
        self.confusion = self.add_variable((num_classes * num_classes,), "zeros", dtype="int64", name="confusion")

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Add pixels; weights are not supported, as a pixel is in a set or not."""
        if sample_weight is not None:
            raise ValueError("MeanIoU: expected no sample_weight; mark pixels with ignored_label instead")
        truth = ops.reshape(ops.cast(y_true, "int64"), (-1,))
        answer = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int64"), (-1,))
        pairs = self.num_classes * self.num_classes
        pair = truth * self.num_classes + answer
        if self.ignored_label is not None:
            pair = ops.where(truth == self.ignored_label, ops.cast(pairs, "int64"), pair)  # one place further
        counts = ops.segment_sum(ops.ones_like(pair), ops.cast(pair, "int32"), pairs + 1)
        self.confusion.assign_add(counts[:-1])

    def result(self):
        table = ops.cast(ops.reshape(self.confusion, (self.num_classes, self.num_classes)), "float32")
        hits = ops.diagonal(table)
        union = ops.sum(table, axis=0) + ops.sum(table, axis=1) - hits
        present = ops.cast(union > 0, "float32")
        return ops.sum(hits / ops.maximum(union, 1.0)) / ops.maximum(ops.sum(present), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "ignored_label": self.ignored_label}

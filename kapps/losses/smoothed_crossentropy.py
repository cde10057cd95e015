"""Cross-entropy of integer labels that are softened: Keras has it for one-hot labels only."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class SmoothedCrossentropy(keras.losses.Loss):
    """L = -sum_k q_k log p_k with q_k = (1 - e) [k = label] + e / K, averaged over the batch.

    Source: Szegedy et al. 2016, "Rethinking the Inception architecture", section 7: the network is not asked for scores
    that grow without end, and fits single images less closely.

    Takes integer labels [B] or [B, 1] and probabilities [B, K].

    Args:
        label_smoothing: e, from 0 (the plain cross-entropy) to below 1.
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        reduction: str = "sum_over_batch_size",
        name: str = "smoothed_crossentropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        target = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes, dtype=y_pred.dtype)
        target = (1 - self.label_smoothing) * target + self.label_smoothing / classes
        return ops.categorical_crossentropy(target, y_pred)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

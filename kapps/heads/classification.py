"""The shared classification head: global average pooling where there are maps, then one dense layer."""

from __future__ import annotations

import keras


def classify(
    features: keras.KerasTensor, num_classes: int, activation: str | None, dropout: float = 0.0
) -> keras.KerasTensor:
    """Class probabilities (or scores) from an architecture's last feature.

    Args:
        features: [B, D], or maps [B, H, W, D] that are averaged over H and W first (Lin et al. 2014, section 3.2).
        num_classes: number of outputs, at least 1.
        activation: `"softmax"`, `"sigmoid"`, any other Keras name, or None for the scores (logits) themselves.
        dropout: the share of features that is set to 0 during training, before the dense layer.

    Returns:
        [B, num_classes] of the layer `predictions`; float32 under every dtype policy, as softmax needs its range.
    """
    x = features
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="global_pool")(x)  # [B, D]
    if dropout:
        x = keras.layers.Dropout(dropout, name="predictions_dropout")(x)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)

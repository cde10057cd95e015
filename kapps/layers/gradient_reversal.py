"""Gradient reversal: nothing on the way forward, the opposite direction on the way back."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class GradientReversal(keras.layers.Layer):
    """The identity, whose gradient is multiplied by minus `strength`.

    Between features and a classifier of domains it makes of one minimisation two: the classifier learns to tell the
    domains apart, and what is before the layer learns to make that impossible.

    Paper: Ganin, Lempitsky: "Unsupervised Domain Adaptation by Backpropagation", ICML 2015, section 3.2 and eq. 7 (the
    layer), section 4 and eq. 14 (how the strength rises, see `reversal_strength`).

    Takes and returns a tensor of any shape.

    Args:
        strength: lambda of the paper, from 0. It is kept in the weight `strength`, which takes no part in training:
            assign another value as training goes on, `layer.strength.assign(reversal_strength(step / steps))`.

    Raises:
        ValueError: the strength is negative.
    """

    def __init__(self, strength: float = 1.0, **kwargs: Any):
        if not strength >= 0:
            raise ValueError(f"GradientReversal: strength must be at least 0, got {strength!r}: 1 is the paper's last")
        super().__init__(**kwargs)
        self.initial_strength = strength
        # float32 under every policy: in half precision the small first values would be 0
        self.strength = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(strength),
            trainable=False,
            autocast=False,
            dtype="float32",
            name="strength",
        )

    def call(self, inputs):
        held = ops.stop_gradient(inputs)
        # the difference is exactly 0, and its gradient is 1
        return held - ops.cast(self.strength, inputs.dtype) * (inputs - held)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strength": self.initial_strength}


def reversal_strength(progress: float, gamma: float = 10.0) -> float:
    """2 / (1 + exp(-gamma p)) - 1: from 0, where the domain classifier knows nothing yet, to nearly 1 (eq. 14).

    Args:
        progress: p, the part of the training that is done, 0 to 1.
        gamma: how soon it rises; 10 is the paper's.
    """
    return 2 / (1 + math.exp(-gamma * progress)) - 1

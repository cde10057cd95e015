"""The rubbish class of LeNet-5's loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class RubbishClass(keras.regularizers.Regularizer):
    """What a class of "none of these", with the fixed penalty j, adds to the cross-entropy (LeCun et al. 1998, eq. 9).

    For penalties y and the target class D the paper's loss is `y_D + log(e^-j + sum_i e^-y_i)`. That is the
    cross-entropy of softmax(-y), `y_D + log(sum_i e^-y_i)`, plus `log(1 + e^-j / sum_i e^-y_i)`: this term. The target
    does not occur in it, so it can be an activity regulariser of the layer that gives the penalties.

    It keeps the best penalty under about j. Without it (j at infinity) only differences of penalties count.

    Args:
        j: penalty of the rubbish class.

    Call arguments:
        penalties: `[B, classes]`.

    Returns:
        The sum of the term over the batch, a scalar; Keras divides the loss of an activity by the size of the batch.
    """

    def __init__(self, j: float):
        self.j = j

    def __call__(self, penalties):
        return ops.sum(ops.softplus(-self.j - ops.logsumexp(-penalties, axis=-1)))

    def get_config(self) -> dict[str, Any]:
        return {"j": self.j}

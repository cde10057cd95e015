"""Half the squared distance between the outputs and the one-hot target."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class HalfSquaredError(keras.losses.Loss):
    """L = 1/2 sum_k (o_k - [k = label])^2, averaged over the batch: the loss of the early digit readers.

    Source: Palm 2012, DeepLearnToolbox, `cnnbp.m` (`net.L = 1/2 * sum(net.e(:) .^ 2) / size(net.e, 2)`); Rumelhart et
    al. 1986, eq. 1.

    Takes integer labels [B] or [B, 1] and outputs [B, K] (sigmoid or softmax units).
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "half_squared_error", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        target = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return 0.5 * ops.sum(ops.square(y_pred - target), axis=-1)

"""Muon for convolutional networks: Keras' own leaves their kernels to AdamW."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class ConvMuon(keras.optimizers.Muon):
    """Keras' Muon, which also takes convolution kernels, as matrices.

    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
    (https://kellerjordan.github.io/posts/muon/): the momentum of a weight matrix is made orthogonal, so that every
    direction moves by as much; a kernel [h, w, i, o] is the matrix [h w i, o]. Biases, the weights of normalisations
    and what `exclude_layers` names are AdamW's, as in Keras.

    Arguments as of `keras.optimizers.Muon`.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        if len(variable.shape) != 4:
            return super()._should_use_adamw(variable)
        return any(keyword in variable.path for keyword in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        if len(variable.shape) != 4:
            super()._muon_update_step(gradient, variable, lr, m)
            return
        self.assign_add(m, gradient + m * (self.momentum - 1))
        moved = gradient + self.momentum * m if self.nesterov else m
        matrix = ops.reshape(moved, (-1, variable.shape[-1]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))

"""Threshold logic: McCulloch and Pitts' all-or-none neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class ThresholdLogic(keras.layers.Layer):
    """Units that fire when enough excitation and no inhibition arrives (McCulloch, Pitts 1943, section 2). No weights.

    Args:
        synapses: one row a unit, one integer an input: n > 0 excitatory synapses, 0 none, -1 an inhibitory one.
            Inhibition is absolute: one active inhibitory synapse keeps the unit silent whatever else arrives.
        thresholds: for each unit the number of excitatory synapses that must be active at once.

    Call arguments:
        inputs: `[B, d]` of 0 (silent) and 1 (active).

    Returns:
        `[B, units]` of 0 and 1.

    Raises:
        ValueError: `synapses` is not one row of integers of at least -1 for each threshold.
    """

    def __init__(self, synapses: Sequence[Sequence[int]], thresholds: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        if len({len(row) for row in synapses}) != 1 or len(synapses) != len(thresholds):
            raise ValueError(f"ThresholdLogic: synapses should be {len(thresholds)} rows of one length, got {synapses}")
        if any(number != int(number) or number < -1 for row in synapses for number in row):
            raise ValueError(f"ThresholdLogic: synapses should be integers of at least -1 (inhibitory), got {synapses}")
        self.synapses = tuple(tuple(row) for row in synapses)
        self.thresholds = tuple(thresholds)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: len(self.synapses[0])})

    def call(self, inputs):
        synapses = np.array(self.synapses, dtype="float32").T  # [d, units]
        excitation = ops.matmul(inputs, np.maximum(synapses, 0))
        inhibition = ops.matmul(inputs, np.maximum(-synapses, 0))
        fires = ops.logical_and(excitation >= np.array(self.thresholds, dtype="float32"), inhibition == 0)
        return ops.cast(fires, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], len(self.thresholds))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "synapses": self.synapses, "thresholds": self.thresholds}

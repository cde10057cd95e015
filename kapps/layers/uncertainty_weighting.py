"""Several losses in one sum, whose weights are learned."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class UncertaintyWeighting(keras.layers.Layer):
    """The sum over the tasks of exp(-s_i) L_i + s_i / 2, with a learned s_i for each.

    s_i is the logarithm of the task's noise variance: a task whose loss stays high is taken to be noisy and counts
    less, and s_i / 2 is the price of saying so. With the loss held, s_i comes to rest at log(2 L_i).

    Paper: Kendall, Gal, Cipolla: "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", CVPR 2018: eq. 10 (cross-entropies) and section 3.2, which learns s = log sigma^2 for stability.

    Args:
        tasks: how many losses there are.

    Call arguments:
        losses: float [tasks].
        given: bool [tasks], which of them were measured at all; None = all. The others count nothing, and their s_i
            stays: with a loss of 0 it would fall for ever.

    Returns:
        A scalar.

    Raises:
        ValueError: not a positive number of tasks.
    """

    def __init__(self, tasks: int, **kwargs: Any):
        if not isinstance(tasks, int) or tasks < 1:
            raise ValueError(f"UncertaintyWeighting: tasks must be an integer of at least 1, got {tasks!r}")
        super().__init__(**kwargs)
        self.tasks = tasks
        self.log_variances = self.add_weight(shape=(tasks,), initializer="zeros", name="log_variances")

    def call(self, losses, given=None):
        terms = ops.exp(-self.log_variances) * losses + self.log_variances / 2
        return ops.sum(terms if given is None else ops.where(given, terms, 0.0))

    def compute_output_shape(self, losses_shape, given_shape=None):
        return ()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tasks": self.tasks}

"""Standout: dropout whose probability is the unit's own say, unit by unit and example by example."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class StandoutDense(keras.layers.Dense):
    """Dense layer with adaptive dropout: `h = m * a(z)`, `z = W x + b`, m ~ Bernoulli(sigmoid(alpha z + beta)).

    Ba, Frey: "Adaptive dropout for training deep neural networks", NIPS 2013.

    The paper lays a second network, the standout network with weights pi, over the first one: it says how probable
    each unit is to be kept. Trained, pi turns out to be close to an affine function of the first network's
    weights, and the paper then simply ties them (`pi = alpha W + beta`): no second network and no second training.
    That form is built here, with `beta` as a shift of the standout unit's input. A strongly excited unit is mostly
    kept, an inhibited one mostly dropped. alpha = 0, beta = 0 is dropout with rate 0.5.

    Training draws m and treats it as a constant in the gradient. Inference takes its expectation:
    `h = sigmoid(alpha z + beta) a(z)`. No scaling: the probability depends on the input and is part of the function.

    Args:
        units: number of outputs.
        activation: a, as in `keras.layers.Dense`.
        alpha: scale of the standout unit's input; larger is closer to keep-or-drop by the sign of z.
        beta: shift of the standout unit's input; larger keeps more.
        seed: of the masks; None for a different one each time.
        **kwargs: everything else of `keras.layers.Dense`: `use_bias`, `kernel_initializer`, `kernel_constraint`, ...

    Call arguments:
        inputs: `[batch, ..., d]`.
        training: whether units are dropped.

    Returns:
        `[batch, ..., units]`.

    Raises:
        ValueError: `alpha` or `beta` is not a finite number.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        alpha: float = 1.0,
        beta: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        for name, value in {"alpha": alpha, "beta": beta}.items():
            if not isinstance(value, int | float) or not float("-inf") < value < float("inf"):
                raise ValueError(
                    f"StandoutDense: {name} must be a finite number, got {value!r}: give a float, e.g. 1.0"
                )
        super().__init__(units, activation=activation, **kwargs)
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training: bool = False):
        z = ops.matmul(inputs, self.kernel)
        if self.use_bias:
            z = ops.add(z, self.bias)
        keep_probability = ops.sigmoid(self.alpha * z + self.beta)
        activity = z if self.activation is None else self.activation(z)
        if not training:
            return keep_probability * activity
        # float32 also under a half-precision policy, where uniform numbers are too coarse for small probabilities
        uniform = keras.random.uniform(ops.shape(z), dtype="float32", seed=self.seed_generator)
        kept = uniform < ops.cast(keep_probability, "float32")
        return ops.where(kept, activity, ops.zeros_like(activity))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta, "seed": self.seed}

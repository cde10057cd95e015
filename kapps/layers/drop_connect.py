"""DropConnect: dropout of single connections instead of whole units."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class DropConnect(keras.layers.Dense):
    """Dense layer that drops weights and biases at random: `r = a((M * W) x + m * b)`, M and m ~ Bernoulli(1 - rate).

    Wan, Zeiler, Zhang, LeCun, Fergus: "Regularization of Neural Networks using DropConnect", ICML 2013, section 3.

    Training. What survives is divided by `1 - rate`, so that the expected pre-activation is the one of the plain
    layer. By default one mask is drawn a batch and call: as many random numbers as there are weights, and the same
    expectation, but the examples of a batch share their noise. The paper draws one mask an example, `per_example=True`:
    batch x d x units numbers, 256 MB for 100 examples and 800 x 800 weights (its GPU kernels pack them into bits).

    Inference. With `inference_samples=0` the mean weights are used, as in dropout: deterministic and exact for the
    expected pre-activation, but not for the expected activation. With Z > 0 it is the paper's Algorithm 2: the
    pre-activation is a sum of many independent terms and so nearly normal; Z samples of the normal distribution with
    its mean and variance go through the activation, and their mean is the output.

    Args:
        units: number of outputs.
        rate: probability that a weight is dropped, 1 - p in the paper; at least 0 and under 1.
        activation: a, as in `keras.layers.Dense`.
        per_example: whether each example (first axis of the inputs) has its own mask.
        inference_samples: Z; 0 for the mean weights.
        seed: of the masks; None for a different one each time.
        **kwargs: everything else of `keras.layers.Dense`: `use_bias`, `kernel_initializer`, `kernel_constraint`, ...

    Call arguments:
        inputs: `[batch, ..., d]`.
        training: whether connections are dropped.

    Returns:
        `[batch, ..., units]`.

    Raises:
        ValueError: `rate` is not in [0, 1), or `inference_samples` is negative or not an integer.
    """

    def __init__(
        self,
        units: int,
        rate: float = 0.5,
        activation: Any = None,
        per_example: bool = False,
        inference_samples: int = 0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        if not 0 <= rate < 1:
            raise ValueError(f"DropConnect: rate must be at least 0 and under 1, got {rate!r}: 0.5 is the paper's")
        if not isinstance(inference_samples, int) or inference_samples < 0:
            raise ValueError(
                f"DropConnect: inference_samples must be an integer of at least 0, got {inference_samples!r}: "
                "0 uses the mean weights, 100 is a good number of samples"
            )
        super().__init__(units, activation=activation, **kwargs)
        self.rate = rate
        self.per_example = per_example
        self.inference_samples = inference_samples
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training: bool = False):
        if self.rate == 0:
            return super().call(inputs)
        if not training:
            return self._sampled_activation(inputs) if self.inference_samples else super().call(inputs)
        return self._activate(self._masked_preactivation(inputs))

    def _masked_preactivation(self, inputs):
        """`(M * W) x + M_b * b`, divided by the probability to survive; shapes as `call`."""
        shape = ops.shape(inputs)
        # [batch, positions, d] for a mask an example, else [batch * positions, d] for one mask
        x = ops.reshape(inputs, (shape[0], -1, shape[-1]) if self.per_example else (-1, shape[-1]))
        masks = (shape[0],) if self.per_example else ()
        z = ops.matmul(x, self._drop(self.kernel, (*masks, *self.kernel.shape)))
        if self.use_bias:
            bias_shape = (*masks, 1, self.units) if self.per_example else (self.units,)
            z = ops.add(z, self._drop(self.bias, bias_shape))
        return ops.reshape(z, (*shape[:-1], self.units))

    def _drop(self, weight, shape):
        """`weight`, broadcast to `shape`, with each element zero (probability `rate`) or divided by `1 - rate`."""
        weight = ops.cast(weight, self.compute_dtype)
        # float32 also under a half-precision policy: float16 has too few numbers in [0, 1) for an exact rate
        survives = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator) >= self.rate
        return ops.where(survives, weight / (1 - self.rate), ops.zeros_like(weight))

    def _sampled_activation(self, inputs):
        """Mean of the activation over samples of the moment-matched normal distribution (Algorithm 2)."""
        # float32: the squares of large inputs overflow in float16. A mask divided by 1 - rate has the
        # variance rate / (1 - rate).
        x, kernel = ops.cast(inputs, "float32"), ops.cast(self.kernel, "float32")
        mean, variance = ops.matmul(x, kernel), ops.matmul(ops.square(x), ops.square(kernel))
        if self.use_bias:
            bias = ops.cast(self.bias, "float32")
            mean, variance = mean + bias, variance + ops.square(bias)
        deviation = ops.sqrt(self.rate / (1 - self.rate) * variance)
        samples = (self.inference_samples, *ops.shape(mean))
        z = mean + deviation * keras.random.normal(samples, dtype="float32", seed=self.seed_generator)
        return ops.cast(ops.mean(self._activate(z), axis=0), self.compute_dtype)

    def _activate(self, z):
        return z if self.activation is None else self.activation(z)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rate": self.rate,
            "per_example": self.per_example,
            "inference_samples": self.inference_samples,
            "seed": self.seed,
        }

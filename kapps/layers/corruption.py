"""Corruption of inputs in training: what a denoising autoencoder has to undo."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kapps.errors import RecipeError, UnknownNameError

CORRUPTIONS = ("none", "masking", "salt_and_pepper", "gaussian")


@keras.saving.register_keras_serializable("kapps")
class MaskingNoise(keras.layers.Layer):
    """Sets some of the inputs to 0, the others stay as they are.

    Vincent, Larochelle, Bengio, Manzagol: "Extracting and composing robust features with denoising autoencoders", ICML
    2008, section 2.3. There a fixed number of an example's values is struck out; here each value is, with a fixed
    probability, so that their number varies a little. Unlike dropout, nothing is scaled up: what is gone is to be
    missed.

    Args:
        rate: probability that a value is set to 0; at least 0 and under 1.
        seed: of the noise; None for a different one each time.

    Call arguments:
        inputs: any shape.
        training: whether anything is done.

    Returns:
        The shape of the inputs.

    Raises:
        ValueError: `rate` is not in [0, 1).
    """

    def __init__(self, rate: float = 0.25, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = _checked(rate, type(self).__name__)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs, training: bool = False):
        if not training or not self.rate:
            return inputs
        # float32 also under a half-precision policy: float16 has too few numbers in [0, 1) for an exact rate
        kept = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator) >= self.rate
        return inputs * ops.cast(kept, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("kapps")
class SaltAndPepperNoise(keras.layers.Layer):
    """Sets some of the inputs to their least or to their greatest possible value, either as likely.

    Vincent, Larochelle, Lajoie, Bengio, Manzagol: "Stacked denoising autoencoders", JMLR 11, 2010, section 3.3. Where
    data is black or white, half of what is chosen already has the value that it gets.

    Args:
        rate: probability that a value is chosen; at least 0 and under 1.
        low: the least value.
        high: the greatest one.
        seed: of the noise; None for a different one each time.

    Call arguments:
        inputs: any shape.
        training: whether anything is done.

    Returns:
        The shape of the inputs.

    Raises:
        ValueError: `rate` is not in [0, 1), or `low` is not under `high`.
    """

    def __init__(self, rate: float = 0.25, low: float = 0.0, high: float = 1.0, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not low < high:
            raise ValueError(f"SaltAndPepperNoise: low must be under high, got {low!r} and {high!r}: 0 and 1 are usual")
        self.rate = _checked(rate, type(self).__name__)
        self.low, self.high = float(low), float(high)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs, training: bool = False):
        if not training or not self.rate:
            return inputs
        # One draw for both: below half the rate it is pepper, between that and the rate salt.
        drawn = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        low, high = (ops.cast(value, inputs.dtype) for value in (self.low, self.high))
        return ops.where(drawn < self.rate / 2, low, ops.where(drawn < self.rate, high, inputs))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "low": self.low, "high": self.high, "seed": self.seed}


def corruption(name: str, level: float, seed: int | None = None) -> keras.layers.Layer | None:
    """The layer that corrupts, by its name.

    Args:
        name: one of `CORRUPTIONS`.
        level: the probability of masking and of salt and pepper, from 0 to under 1; the standard deviation of Gaussian
            noise, from 0 to 1. `"none"` leaves it aside.
        seed: of the noise.

    Returns:
        A layer that does something only with `training=True`; None for `"none"`.

    Raises:
        UnknownNameError: no corruption has this name; the message gives the nearest.
        RecipeError: a level that it cannot have.
    """
    if name not in CORRUPTIONS:
        raise UnknownNameError("corruption", name, CORRUPTIONS)
    if name == "none":
        return None
    try:
        if name == "masking":
            return MaskingNoise(level, seed=seed, name="corruption")
        if name == "salt_and_pepper":
            return SaltAndPepperNoise(level, seed=seed, name="corruption")
        return keras.layers.GaussianNoise(level, seed=seed, name="corruption")
    except (ValueError, TypeError):
        upper = "at most 1 as its standard deviation" if name == "gaussian" else "under 1 as its probability"
        raise RecipeError(f"corruption {name!r}: expected a level from 0 and {upper}, got {level!r}") from None


def _checked(rate: float, layer: str) -> float:
    if not 0 <= rate < 1:
        raise ValueError(f"{layer}: rate must be at least 0 and under 1, got {rate!r}: 0.25 is usual")
    return float(rate)

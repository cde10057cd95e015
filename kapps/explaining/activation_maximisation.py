"""Activation maximisation: the image that a unit, a channel or a class answers to most.

D. Erhan, Y. Bengio, A. Courville, P. Vincent, "Visualizing Higher-Layer Features of a Deep Network", 2009: gradient
ascent on the image instead of the weights. What it finds alone is high-frequency noise; C. Olah, A. Mordvintsev,
L. Schubert, "Feature Visualization", Distill 2017, doi:10.23915/distill.00007, collect what makes it legible:

    jitter           the image is shifted by some pixels before every step, so no single pixel can matter
    decorrelation    the ascent moves Fourier coefficients, each scaled by 1 / frequency as photographs have them, so
                     that all scales grow alike
    total variation  sum |x[i+1, j] - x[i, j]| + |x[i, j+1] - x[i, j]|, subtracted (A. Mahendran, A. Vedaldi, 2015)

Deviations: the channels' colours are not decorrelated, which takes the statistics of a data set; rotations and scalings
are left out, jitter alone being shift-exact. The ascent is Adam's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.explaining.attribution import input_shape
from kapps.explaining.inner import cached, explained, keras_model, recorded
from kapps.predict import Predictor

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

Parametrisation = Literal["fourier", "pixels"]
PARAMETRISATIONS: tuple[Parametrisation, ...] = ("fourier", "pixels")


@dataclass(frozen=True, eq=False)
class Maximised:
    """An image that a part of the network answers to.

    Attributes:
        image: float32 [h, w, c], preprocessed: as the network takes it.
        picture: uint8 RGB [h, w, 3], from the lowest to the highest value that a pixel may have.
        values: float32 [steps + 1], what the part said before each step and at the end, without jitter at the end.
        unit: its number.
        feature: the layer, or None for a class.
    """

    image: np.ndarray
    picture: np.ndarray
    values: np.ndarray
    unit: int
    feature: str | None


def activation_maximisation(
    model: Model,
    unit: int,
    *,
    feature: str | None = None,
    steps: int = 256,
    learning_rate: float = 0.05,
    jitter: int | None = None,
    total_variation: float = 0.0,
    parametrisation: Parametrisation = "fourier",
    low: float | Sequence[float] | None = None,
    high: float | Sequence[float] | None = None,
    size: tuple[int, int] | None = None,
    bgr: bool = False,
    seed: int = 0,
) -> Maximised:
    """Climb from faint noise to an image that makes one number of the network large.

    Args:
        model: a `Predictor` or a Keras model.
        unit: the class; with `feature` the channel, or the unit of a layer without positions.
        feature: a layer; its channel's mean over all positions is made large. None: what the softmax or sigmoid takes
            of the class, or its score in a model without.
        steps: of the ascent.
        learning_rate: of Adam, in the units of the parametrisation.
        jitter: most pixels to shift by; None = a sixteenth of the shorter side.
        total_variation: how much of the image's mean total variation is subtracted.
        parametrisation: `"fourier"` (decorrelated) or `"pixels"`.
        low, high: the preprocessed values of a black and a white pixel, a number or [c]; None: the preprocessing's of a
            predictor, 0 and 1 else.
        size: (h, w), for models that take any.
        bgr: the picture's channels are turned round, for networks that take blue first.
        seed: of the noise and the jitter.

    Raises:
        UnknownNameError: no such layer or parametrisation.
        RecipeError: no step, or a range that is none.
        DataError: no such class or channel, a model without a fixed image size, or a part that no pixel changes.
        WeightsError: an exported model whose `model.keras` is missing or damaged.
    """
    if parametrisation not in PARAMETRISATIONS:
        raise UnknownNameError("parametrisation", parametrisation, PARAMETRISATIONS)
    if steps < 1:
        raise RecipeError(f"expected at least one step, got {steps}")
    expected = input_shape(model)
    height, width, channels = (*(size or expected[:2]), expected[-1])
    if len(expected) != 3 or height is None or width is None or channels is None:
        raise DataError(f"expected size=(h, w) for a model of images {list(expected)}, got {size}")
    shape = (height, width, channels)
    least, most = _range(model, shape, low, high)
    shift = max(1, min(height, width) // 16) if jitter is None else jitter
    climb = _climbing(keras_model(model), shape, unit, feature, parametrisation)

    random = np.random.default_rng(seed)
    start, _ = _parameters(parametrisation, shape)
    parameters = keras.Variable(random.normal(0, 0.1 if parametrisation == "pixels" else 0.01, start).astype("float32"))
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build([parameters])
    settings = tf.constant(least), tf.constant(most), tf.constant(total_variation, tf.float32)
    values = []
    for _ in range(steps):
        moved = random.integers(-shift, shift + 1, 2)
        value, gradient, _ = climb(parameters.value, tf.constant(moved, tf.int32), *settings)
        values.append(float(value))
        optimizer.apply([gradient], [parameters])
    value, _, image = climb(parameters.value, tf.zeros(2, tf.int32), *settings)
    values.append(float(value))
    found = image.numpy()
    shown = np.round(255 * (found - least) / (most - least)).clip(0, 255).astype(np.uint8)
    shown = shown[..., ::-1] if bgr else shown
    return Maximised(
        image=found,
        picture=shown if shape[2] == 3 else np.repeat(shown[..., :1], 3, axis=-1),
        values=np.array(values, np.float32),
        unit=unit,
        feature=feature,
    )


def _range(
    model: Model, shape: tuple[int, ...], low: float | Sequence[float] | None, high: float | Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(model, Predictor):
        steps = model.card.input["preprocessing"]
        mean, std = np.asarray(steps["mean"]), np.asarray(steps["std"])
        low, high = -mean / std if low is None else low, (1 - mean) / std if high is None else high
    try:
        least = np.broadcast_to(np.asarray(0.0 if low is None else low, np.float32), shape)
        most = np.broadcast_to(np.asarray(1.0 if high is None else high, np.float32), shape)
    except ValueError:
        raise RecipeError(f"expected low and high as a number or {shape[2]} numbers, got {low} and {high}") from None
    if not (least < most).all():
        raise RecipeError(f"expected low below high, got {low} and {high}")
    return least, most


def _parameters(
    kind: Parametrisation, shape: tuple[int, int, int]
) -> tuple[tuple[int, ...], Callable[[tf.Tensor], tf.Tensor]]:
    """The shape of what is moved, and what image [h, w, c] it stands for before the range is kept."""
    height, width, channels = shape
    if kind == "pixels":
        return shape, lambda pixels: pixels
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)[np.newaxis])
    scale = (np.sqrt(height * width) / 4 / np.maximum(frequency, 1 / max(height, width))).astype(np.float32)

    def decode(spectrum: tf.Tensor) -> tf.Tensor:
        waves = tf.complex(spectrum[0] * scale, spectrum[1] * scale)
        return tf.transpose(tf.signal.irfft2d(waves, fft_length=[height, width]), (1, 2, 0))

    return (2, channels, *frequency.shape), decode


def _climbing(
    model: keras.Model, shape: tuple[int, int, int], unit: int, feature: str | None, kind: Parametrisation
) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """(parameters, shift [2], low, high, weight of the total variation) -> what the unit says, the parameters' gradient
    downhill, and the image [h, w, c].
    """
    height, width, _ = shape
    size, decode = _parameters(kind, shape)

    def traced() -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        @tf.function(autograph=False)
        def function(
            parameters: tf.Tensor, shift: tf.Tensor, low: tf.Tensor, high: tf.Tensor, weight: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = low + (high - low) * tf.sigmoid(decode(parameters))
            with recorded(model) as outputs:
                scores = model(tf.roll(image[tf.newaxis], shift, axis=(1, 2)), training=False)
            if feature is None:
                answers = explained(scores, None)[0]
            elif feature in outputs:
                answers = outputs[feature]
            else:
                raise UnknownNameError("feature", feature, list(outputs))
            if not 0 <= unit < answers.shape[-1]:
                what = "class" if feature is None else f"channel of {feature}"
                raise DataError(f"expected a {what} from 0 to {answers.shape[-1] - 1}, got {unit}")
            value = tf.reduce_mean(tf.cast(answers[..., unit], tf.float32))
            (uphill,) = tf.gradients(value, parameters)
            if uphill is None:
                raise DataError(f"{feature or 'the score'} does not depend on the image by differentiable steps")
            (rough,) = tf.gradients(tf.image.total_variation(image) / (height * width), parameters)
            return value, weight * rough - uphill, image

        floats = (size, shape, shape, ())
        specs = [tf.TensorSpec(part, tf.float32) for part in floats]
        return function.get_concrete_function(specs[0], tf.TensorSpec([2], tf.int32), *specs[1:])

    return cached(model, ("climb", shape, unit, feature, kind), traced)

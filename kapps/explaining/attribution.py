"""What every explanation returns, and what every method needs of a model: its scores as a function of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError
from kapps.explaining import inner
from kapps.predict import Predictor

# A function takes a NumPy batch [B, ...] and gives scores [B, N] or [B]; no gradient comes through it.
Model: TypeAlias = Predictor | keras.Model | Callable[[Any], Any]
Scores: TypeAlias = Callable[[tf.Tensor], tf.Tensor]  # [B, h, w, c] -> [B, N]


@dataclass(frozen=True)
class Attribution:
    """How much each pixel mattered to one class.

    Attributes:
        map: float32 [h, w]; what its numbers mean is the method's matter.
        method: the name of the method.
        target: index of the explained class.
        score: the model's score of that class for the image, e.g. its probability.
        signed: whether the map has a sign: positive for the class, negative against it.
        details: `explained` (`"evidence"` or `"score"`, see `start`) and what else the method can say, see there.
    """

    map: np.ndarray
    method: str
    target: int
    score: float
    signed: bool
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """The checked arguments that all methods share.

    Attributes:
        function: what is explained, from images [B, h, w, c] to a number for each class [B, N].
        image: float32 [h, w, c].
        target: the class to explain.
        score: the model's score of that class.
        explained: `"evidence"` or `"score"`.
    """

    function: Scores
    image: np.ndarray
    target: int
    score: float
    explained: str


def start(model: Model, image: np.ndarray, target: int | None, of: str | None) -> Question:
    """Check the arguments that all methods share and ask the model once.

    Args:
        of: what to explain. `"score"`: the model's outputs. Where an answer is sure its probability is 1 up to
            rounding, so no pixel seems to matter. `"evidence"`: what came before the softmax, as the margin of each
            class over the mean of the others (the softmax does not see a number that is added to all); or before the
            sigmoid, the log-odds. None: the evidence of a model that ends in one of these, else the score.

    Raises:
        DataError: an image of another shape or type, or a target that is not a class.
        RecipeError: evidence is asked of a model that does not give it.
    """
    scores, explained, what = functions(model, of)
    expected = input_shape(model)
    image = np.asarray(image)
    if (
        not np.issubdtype(image.dtype, np.floating)
        or image.ndim != 3
        or len(expected) != 3
        or any(size not in (None, got) for size, got in zip(expected, image.shape, strict=True))
    ):
        raise DataError(
            f"expected one preprocessed image, float32 {list(expected)}, got {image.dtype} {list(image.shape)}: "
            "take predictor.preprocess(x)[0]"
        )
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise DataError("expected an image of finite numbers, got NaN or infinity: check the preprocessing")
    answer = scores(tf.constant(image[np.newaxis])).numpy()[0]
    if target is None:
        target = int(answer.argmax())
    elif not 0 <= target < len(answer):
        raise DataError(f"expected a class from 0 to {len(answer) - 1}, got {target}")

    return Question(explained, image, target, float(answer[target]), what)


def functions(model: Model, of: str | None) -> tuple[Scores, Scores, str]:
    """The model's scores, what is explained of them (see `start`), and which of `"evidence"` and `"score"` that is.

    Raises:
        RecipeError: evidence is asked of a model that does not give it, or the model has no score for each class.
    """
    if isinstance(model, Predictor) and model.card.kind != "classification":
        raise RecipeError(
            f"expected a classifier, whose score for a class can be explained, but {model.path} is of the kind "
            f"{model.card.kind}"
        )
    scores, evidence = _scores_of(model), _evidence_of(model)
    if of not in (None, "score", "evidence") or (of == "evidence" and evidence is None):
        raise RecipeError(
            f'of should be "score", or "evidence" for a model that ends in a softmax or sigmoid, got {of!r}'
        )
    if evidence is None or of == "score":
        return scores, scores, "score"
    return scores, evidence, "evidence"


def input_shape(model: Model) -> tuple[int | None, ...]:
    """What the model takes, without the batch; of a function this is not known, so any image fits."""
    if isinstance(model, Predictor):
        return tuple(model.card.input["shape"])
    if isinstance(model, keras.Model):
        return tuple(model.input_shape[1:])
    return (None, None, None)


def as_scores(values: Any, count: int) -> np.ndarray:
    """What a function said about `count` inputs, float32 [count, N].

    Raises:
        DataError: it gave something else than [count] or [count, N].
    """
    values = np.asarray(values, np.float32)
    if values.shape == (count,):
        values = values[:, np.newaxis]
    if values.ndim != 2 or len(values) != count:
        raise DataError(f"expected scores [{count}, N] for {count} inputs, the function gave {list(values.shape)}")
    return values


def _scores_of(model: Model) -> Scores:
    if isinstance(model, Predictor):
        return lambda batch: model.tensor_function(image=batch)["probabilities"]
    if isinstance(model, keras.Model):
        return lambda batch: tf.cast(model(batch, training=False), tf.float32)
    return lambda batch: tf.constant(as_scores(model(batch.numpy()), len(batch)))


def _evidence_of(model: Model) -> Scores | None:
    if isinstance(model, Predictor):
        exported = model.logits_function
        if exported is None:
            return None
        function, kind = (lambda batch: exported(image=batch)["logits"]), model.card.scores
    elif isinstance(model, keras.Model):
        found = inner.logits(model)
        if found is None:
            return None
        function, kind = found
    else:
        return None

    def evidence(batch: tf.Tensor) -> tf.Tensor:
        logits = function(batch)
        if kind != "softmax":
            return logits
        others = tf.reduce_sum(logits, axis=1, keepdims=True) - logits
        return logits - others / (logits.shape[1] - 1)

    return evidence


def baseline_image(model: Model, shape: tuple[int, ...], baseline: float | np.ndarray | None) -> np.ndarray:
    """What stands for "no information", float32 [h, w, c], preprocessed.

    Args:
        baseline: a number for all pixels, [c] or [h, w, c]; None = a black image where the model's preprocessing is
            known (an exported model), else 0.

    Raises:
        DataError: a shape that does not fit the image.
    """
    if baseline is None:
        baseline = 0.0
        if isinstance(model, Predictor):
            steps = model.card.input["preprocessing"]
            baseline = -np.asarray(steps["mean"]) / np.asarray(steps["std"])
    try:
        return np.broadcast_to(np.asarray(baseline, np.float32), shape)
    except ValueError:
        raise DataError(f"expected a baseline for {list(shape)}, got {list(np.shape(baseline))}") from None


def gradients(function: Scores, images: np.ndarray, target: int, batch_size: int) -> Iterator[np.ndarray]:
    """d function[target] / d image for every image [B, h, w, c], a batch at a time."""
    return (gradient for _, gradient in values_and_gradients(function, images, target, batch_size))


def values_and_gradients(
    function: Scores, images: np.ndarray, target: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """function[target] in float64 and its gradient for every image [B, h, w, c], a batch at a time.

    Raises:
        DataError: the function has no gradient.
    """
    for begin in range(0, len(images), batch_size):
        batch = tf.constant(images[begin : begin + batch_size])
        with tf.GradientTape() as tape:
            tape.watch(batch)
            value = function(batch)[:, target]
        gradient = tape.gradient(value, batch)
        if gradient is None:
            raise DataError(
                "the model's scores do not depend on the image by differentiable steps: use occlusion, lime or shap"
            )
        yield value.numpy().astype(np.float64), gradient.numpy()

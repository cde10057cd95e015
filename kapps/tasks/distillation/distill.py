"""`distill`: a small network learns what a large one answers, beside or in place of the labels.

    loss = alpha T^2 CE(p_teacher at T, p_student at T) + (1 - alpha) CE(label, p_student)

At a temperature T above 1 the teacher's answer also says which wrong classes an image resembles. T^2 makes up for the
soft term's gradients, which shrink as 1 / T^2.

Paper: Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", NIPS 2014 workshop (arXiv:1503.02531),
section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError, TrainingError
from kapps.predict import Predictor


@dataclass(frozen=True)
class Distilled:
    """What came out.

    Attributes:
        model: images -> probabilities [B, classes].
        history: ten rows of the training: `step` and `loss`, the mean since the row before.
    """

    model: keras.Model
    history: list[dict[str, float]]


def distill(
    student: keras.Model,
    images: np.ndarray,
    *,
    teacher: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    temperature: float = 4.0,
    alpha: float = 0.9,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Distilled:
    """Train a student.

    Args:
        student: images [B, ...] -> scores [B, classes], without softmax (`classifier_activation=None`). It is trained.
        images: [N, ...] as the student takes them.
        teacher: its probabilities [N, classes] for the same images, see `answers`; None = labels only.
        labels: integers [N]; None = the teacher only.
        temperature: T; its softening is applied to both.
        alpha: how much the teacher counts where there are labels, too.
        steps: batches; Adam's rate falls to 0 by a cosine.
        seed: of the batches.
        report: called with a line ten times.

    Raises:
        RecipeError: neither teacher nor labels, a student that ends in a softmax, or a number outside its range.
        DataError: answers or labels that do not fit the images or the student's classes.
        TrainingError: the loss became NaN or infinite.
    """
    if teacher is None and labels is None:
        raise RecipeError("expected a teacher's answers or labels to learn from, got neither")
    if not temperature > 0 or not 0 <= alpha <= 1:
        raise RecipeError(f"expected a temperature above 0 and alpha from 0 to 1, got {temperature} and {alpha}")
    last = getattr(student.layers[-1], "activation", None)
    if last is keras.activations.softmax or isinstance(student.layers[-1], keras.layers.Softmax):
        raise RecipeError("expected a student with scores, got one with a softmax: classifier_activation=None")
    _check(student, images, teacher, labels)
    soft = 0.0 if teacher is None else 1.0 if labels is None else alpha
    count, classes = len(images), student.output_shape[-1]
    # What counts nothing is not looked at.
    teacher = np.full((count, classes), 1 / classes, np.float32) if teacher is None else teacher
    labels = np.zeros(count, np.int64) if labels is None else labels
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))

    @tf.function
    def step(some: tf.Tensor, answered: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = distillation_loss(right, answered, student(some, training=True), temperature, soft)
        learned = student.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, learned), learned, strict=True))
        return loss

    optimizer.build(student.trainable_variables)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(count) for _ in range(-(-steps * batch_size // count))])
    history: list[dict[str, float]] = []
    losses: list[float] = []
    for number in range(steps):
        rows = order[number * batch_size : (number + 1) * batch_size]
        losses.append(float(step(images[rows], teacher[rows], labels[rows])))
        if not np.isfinite(losses[-1]):
            raise TrainingError(f"the loss became {losses[-1]} in step {number + 1}: take a smaller learning_rate")
        if (number + 1) * 10 // steps > number * 10 // steps:
            history.append({"step": number + 1, "loss": round(float(np.mean(losses)), 5)})
            report(f"step {number + 1}, loss {history[-1]['loss']:g}")
            losses = []
    probabilities = keras.layers.Softmax(name="probabilities")(student.output)
    return Distilled(keras.Model(student.input, probabilities, name=student.name), history)


def distillation_loss(
    labels: tf.Tensor, teacher: tf.Tensor, scores: tf.Tensor, temperature: float, alpha: float
) -> tf.Tensor:
    """The mean loss of a batch, see the module's docstring.

    Args:
        labels: integers [B].
        teacher: probabilities [B, classes].
        scores: the student's, [B, classes].
    """
    soft = tf.nn.softmax_cross_entropy_with_logits(softened(teacher, temperature), scores / temperature)
    hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
    return tf.reduce_mean(alpha * temperature**2 * soft + (1 - alpha) * hard)


def softened(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """softmax(z / T) from softmax(z): the scores z are only known up to a constant, but no more is needed."""
    return tf.nn.softmax(tf.math.log(tf.maximum(probabilities, 1e-30)) / temperature)


def answers(teacher: Predictor | keras.Model, images: np.ndarray, batch_size: int = 100) -> np.ndarray:
    """A teacher's probabilities [N, classes].

    Args:
        teacher: `kapps.load(...)`, which brings its own preprocessing, or a Keras model with probabilities.
        images: for the first uint8 [N, H, W, C], for the second as it takes them.
    """
    if isinstance(teacher, keras.Model):
        return teacher.predict(images, batch_size=batch_size, verbose=0)
    parts = [images[first : first + batch_size] for first in range(0, len(images), batch_size)]
    return np.concatenate([teacher.predict_tensors(teacher.preprocess(part)) for part in parts])


def _check(student: keras.Model, images: np.ndarray, teacher: np.ndarray | None, labels: np.ndarray | None) -> None:
    count, classes = len(images), student.output_shape[-1]
    if not count:
        raise DataError("expected images to learn from, got none")
    if teacher is not None:
        if teacher.shape != (count, classes):
            raise DataError(f"expected a teacher's answers [{count}, {classes}], got {list(teacher.shape)}")
        if teacher.min() < 0 or not np.allclose(teacher.sum(axis=1), 1, atol=1e-3):
            raise DataError(
                "expected a teacher's answers as probabilities, got rows that do not sum to 1: take a softmax"
            )
    if labels is not None:
        if labels.shape != (count,) or labels.dtype.kind not in "iu":
            raise DataError(f"expected an integer label for each of {count} images, got {list(labels.shape)}")
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(f"expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")

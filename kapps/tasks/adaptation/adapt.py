"""`adapt`: a network learns classes from labelled source images for target images that have no labels.

    images --trunk--> features [B, D] --head--> classes        learns from the source's labels
                          |
                          +--> one of METHODS                   makes source and target features alike

    source_only   nothing: what the others must beat
    coral         their covariances are brought together (Sun, Saenko 2016)
    mmd           their distributions are, as several kernels see them (Long et al. 2015)
    dann          a classifier of domains fails, through a reversed gradient (Ganin, Lempitsky 2015)
    adda          first the source alone; then a copy of the trunk learns to be taken for it by a classifier of domains
                  (Tzeng, Hoffman, Saenko, Darrell: "Adversarial Discriminative Domain Adaptation", CVPR 2017)

No label of the target is taken, so nothing here can be tuned on it: all numbers are fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError, TrainingError, UnknownNameError
from kapps.layers.gradient_reversal import GradientReversal, reversal_strength
from kapps.losses.coral import coral
from kapps.losses.maximum_mean_discrepancy import maximum_mean_discrepancy

METHODS = ("source_only", "coral", "mmd", "dann", "adda")

# How much the difference of the domains counts beside the loss of the classes. CORAL's is the order of magnitude that
# brings both near each other at the end, as its paper asks; the others' are their papers'.
WEIGHTS = {"coral": 100.0, "mmd": 1.0, "dann": 1.0}

_REPORTS = 10


@dataclass(frozen=True)
class Adapted:
    """What came out.

    Attributes:
        model: image -> probabilities [B, classes], for images of the target.
        history: ten rows of the training, for `adda` ten of each part: `step`, `class_loss` (of the source) and, where
            the domains were compared, `domain_loss`, the means since the row before.
    """

    model: keras.Model
    history: list[dict[str, float]]


def adapt(
    trunk: keras.Model,
    source: tuple[np.ndarray, np.ndarray],
    target: np.ndarray,
    *,
    num_classes: int,
    method: str = "dann",
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight: float | None = None,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Adapted:
    """Train trunk and a new head on source images so that they serve for target images.

    Args:
        trunk: float32 images [B, h, w, c] -> features [B, D]; `keras.Model(b.input, b.output["f6"])` of a backbone of
            the catalogue. It is trained; for `adda` it stays the source's and a copy becomes the target's.
        source: images float32 [N, h, w, c] as the trunk takes them, and integer labels [N].
        target: images float32 [M, h, w, c].
        num_classes: how many classes the labels name.
        method: one of `METHODS`.
        steps: batches of `batch_size` images of either domain; for `adda` half of them are for the first part.
        learning_rate: of Adam at the start; it falls as (1 + 10 p)^-0.75 with the part p of the steps done (Ganin,
            Lempitsky 2015).
        weight: of the difference of the domains beside the loss of the classes; None = as in `WEIGHTS`.
        seed: of the batches; for the head's weights set `keras.utils.set_random_seed`, as for the trunk's.
        report: called with a line for every row of the history.

    Raises:
        UnknownNameError: no such method.
        RecipeError: a trunk that does not give one row of features an image, or fewer than 2 steps or images a batch.
        DataError: images of another shape, labels that do not fit the images or the classes.
        TrainingError: a loss became NaN or infinite.
    """
    if method not in METHODS:
        raise UnknownNameError("method of adaptation", method, METHODS)
    if len(trunk.output_shape) != 2:
        raise RecipeError(
            f"expected a trunk with features [B, D], got {list(trunk.output_shape)}: pool or flatten them"
        )
    if steps < 2 or batch_size < 2:
        raise RecipeError(f"expected at least 2 steps of at least 2 images, got {steps} of {batch_size}")
    images, labels = source
    _check(trunk, images, labels, target, num_classes)
    head = keras.layers.Dense(num_classes, name="scores")
    head.build(trunk.output_shape)
    draw = _draws(images, labels, target, batch_size, seed)
    if method == "adda":
        return _adda(trunk, head, draw, steps, learning_rate, report)
    return _together(trunk, head, draw, method, steps, learning_rate, weight, report)


# A step's source images, their labels, and target images.
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def _together(
    trunk: keras.Model,
    head: keras.layers.Dense,
    draw: Iterator[Batch],
    method: str,
    steps: int,
    learning_rate: float,
    weight: float | None,
    report: Callable[[str], None],
) -> Adapted:
    """Classes and difference of the domains at once: every method but `adda`."""
    judge = _judge(trunk, reversed_gradient=True) if method == "dann" else None
    learned = [
        *trunk.trainable_variables,
        *head.trainable_variables,
        *(judge.trainable_variables if judge is not None else []),
    ]
    share = WEIGHTS.get(method, 0.0) if weight is None else weight
    optimizer = keras.optimizers.Adam(_Falling(learning_rate, steps))

    def difference(of_source: tf.Tensor, of_target: tf.Tensor) -> tf.Tensor:
        if judge is not None:
            return _domain_loss(judge(of_source), judge(of_target))
        return coral(of_source, of_target) if method == "coral" else maximum_mean_discrepancy(of_source, of_target)

    @tf.function
    def step(some: tf.Tensor, their_labels: tf.Tensor, others: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            if method == "source_only":
                features, apart = trunk(some, training=True), tf.constant(0.0)
            else:  # one batch of both, as the network has to serve both
                features, of_target = tf.split(trunk(tf.concat([some, others], axis=0), training=True), 2)
                apart = difference(features, of_target)
            of_classes = _class_loss(their_labels, head(features))
            loss = of_classes + share * apart
        optimizer.apply_gradients(zip(tape.gradient(loss, learned), learned, strict=True))
        return of_classes, apart

    log = _Log(steps, report, with_domains=method != "source_only")
    for number in range(steps):
        if judge is not None:
            judge.get_layer("reversal").strength.assign(reversal_strength(number / steps))
        log.add(*step(*next(draw)))
    return Adapted(_whole(trunk, head), log.rows)


def _adda(
    trunk: keras.Model,
    head: keras.layers.Dense,
    draw: Iterator[Batch],
    steps: int,
    learning_rate: float,
    report: Callable[[str], None],
) -> Adapted:
    """First the source alone; then a copy of its trunk against a judge that tells the two trunks' features apart.

    In the first quarter of the second part the judge learns alone, as fooling one that knows nothing moves the features
    anywhere; then the copy moves at a fiftieth of its rate, else it finds the features that are taken for the source's
    before those that keep the classes.
    """
    first = _together(trunk, head, draw, "source_only", steps // 2, learning_rate, None, report)
    copy = keras.models.clone_model(trunk)
    copy.set_weights(trunk.get_weights())
    judge = _judge(trunk, reversed_gradient=False)
    # Little momentum: the two opponents must not run away from one another.
    ours, theirs = (keras.optimizers.Adam(rate, beta_1=0.5) for rate in (learning_rate / 50, learning_rate))
    ours.build(copy.trainable_variables)
    left = steps - steps // 2

    @tf.function
    def step(some: tf.Tensor, others: tf.Tensor, both: bool) -> tf.Tensor:
        of_source = trunk(some, training=False)
        with tf.GradientTape() as judging, tf.GradientTape() as fooling:
            of_target = copy(others, training=True)
            scores = judge(of_target)
            told_apart = _domain_loss(judge(of_source), judge(tf.stop_gradient(of_target)))
            taken_for_source = _binary_loss(tf.ones_like(scores), scores)
        learned, copied = judge.trainable_variables, copy.trainable_variables
        theirs.apply_gradients(zip(judging.gradient(told_apart, learned), learned, strict=True))
        if both:
            ours.apply_gradients(zip(fooling.gradient(taken_for_source, copied), copied, strict=True))
        return told_apart

    log = _Log(left, report, with_domains=True)
    for number in range(left):
        some, _, others = next(draw)
        log.add(first.history[-1]["class_loss"], step(some, others, number >= left // 4))
    moved = [{**row, "step": row["step"] + steps // 2} for row in log.rows]
    return Adapted(_whole(copy, head), first.history + moved)


def _judge(trunk: keras.Model, *, reversed_gradient: bool) -> keras.Sequential:
    """Features [B, D] -> a score [B, 1]: above 0 for the source."""
    layers = [
        # Else a trunk without normalisation makes its features larger and larger: that fools any judge, and the
        # judge's loss, which the trunk wants to be large, has no bound.
        keras.layers.UnitNormalization(name="length_one"),
        keras.layers.Dense(100, activation="relu", name="hidden"),
        keras.layers.Dense(1, name="domain"),
    ]
    if reversed_gradient:
        layers.insert(0, GradientReversal(0.0, name="reversal"))
    return keras.Sequential([keras.Input(trunk.output_shape[1:]), *layers], name="judge")


def _domain_loss(of_source: tf.Tensor, of_target: tf.Tensor) -> tf.Tensor:
    """The binary cross-entropy of a judge's scores; log 2 = 0.693 when it knows nothing."""
    right = tf.concat([tf.ones_like(of_source), tf.zeros_like(of_target)], axis=0)
    return _binary_loss(right, tf.concat([of_source, of_target], axis=0))


def _binary_loss(right: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(right, scores))


def _class_loss(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))


class _Falling(keras.optimizers.schedules.LearningRateSchedule):
    """rate / (1 + 10 p)^0.75."""

    def __init__(self, rate: float, steps: int):
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        return self.rate / (1 + 10 * tf.cast(step, tf.float32) / self.steps) ** 0.75

    def get_config(self) -> dict[str, float]:
        return {"rate": self.rate, "steps": self.steps}


def _whole(trunk: keras.Model, head: keras.layers.Dense) -> keras.Model:
    probabilities = keras.layers.Softmax(name="predictions")(head(trunk.output))
    return keras.Model(trunk.input, probabilities, name=trunk.name)


def _draws(images: np.ndarray, labels: np.ndarray, target: np.ndarray, batch_size: int, seed: int) -> Iterator[Batch]:
    """Endless batches; in either domain every image comes once before any comes again."""
    rng = np.random.default_rng(seed)

    def rows(count: int) -> Iterator[np.ndarray]:
        left = np.zeros(0, np.int64)
        while True:
            while len(left) < batch_size:
                left = np.concatenate([left, rng.permutation(count)])
            yield left[:batch_size]
            left = left[batch_size:]

    for some, others in zip(rows(len(images)), rows(len(target)), strict=True):
        yield images[some], labels[some], target[others]


class _Log:
    """Means of the losses, ten times in the training."""

    def __init__(self, steps: int, report: Callable[[str], None], *, with_domains: bool):
        self.steps, self.report, self.with_domains = steps, report, with_domains
        self.rows: list[dict[str, float]] = []
        self.losses: list[tuple[float, float]] = []
        self.done = 0

    def add(self, of_classes: tf.Tensor, apart: tf.Tensor) -> None:
        self.done += 1
        self.losses.append((float(of_classes), float(apart)))
        if not np.isfinite(self.losses[-1]).all():
            raise TrainingError(f"the loss became {self.losses[-1]} in step {self.done}: take a smaller learning_rate")
        if self.done * _REPORTS // self.steps == (self.done - 1) * _REPORTS // self.steps:
            return
        means = np.mean(self.losses, axis=0).round(5).tolist()
        self.losses = []
        row = {"step": self.done, "class_loss": means[0]}
        if self.with_domains:
            row["domain_loss"] = means[1]
        self.rows.append(row)
        self.report(", ".join(f"{name} {value:g}" for name, value in row.items()))


def _check(trunk: keras.Model, images: np.ndarray, labels: np.ndarray, target: np.ndarray, num_classes: int) -> None:
    shape = tuple(trunk.input_shape[1:])
    for name, some in (("source", images), ("target", target)):
        if some.dtype != np.float32 or some.shape[1:] != shape or not len(some):
            raise DataError(
                f"expected {name} images float32 [N, {', '.join(map(str, shape))}], as the trunk takes them, got "
                f"{some.dtype} {list(some.shape)}"
            )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"expected an integer label for each of {len(images)} source images, got {list(labels.shape)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(f"expected labels from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}")

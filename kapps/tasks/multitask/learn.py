"""`learn`: several classifications of the same images with one shared trunk, also where labels are missing.

                                 +--> scores of task 1
    images --trunk--> [B, D] ----+--> scores of task 2        one dense layer a task
                                 +--> ...

The losses of the tasks are summed, or weighted by what each is taken to be uncertain of (Kendall, Gal, Cipolla 2018,
see `kapps.layers.uncertainty_weighting`). A label of -1 is one that nobody gave: its image teaches the other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kapps.errors import DataError, RecipeError
from kapps.layers.uncertainty_weighting import UncertaintyWeighting

NOT_GIVEN = -1


class MultiTask(keras.Model):
    """A functional model from images to `{task: scores [B, classes]}` that learns from `{task: labels [B]}`.

    Args:
        inputs, outputs: as of `keras.Model`; the outputs a dictionary by task.
        weighting: what makes one number of the tasks' losses; None sums them.
    """

    def __init__(
        self, inputs: Any, outputs: dict[str, Any], weighting: UncertaintyWeighting | None = None, **kwargs: Any
    ):
        super().__init__(inputs, outputs, **kwargs)
        self.tasks = list(outputs)
        self.weighting = weighting

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        pairs = [cross_entropy(y[task], y_pred[task]) for task in self.tasks]
        losses, given = (ops.stack(some) for some in zip(*pairs, strict=True))
        return ops.sum(losses) if self.weighting is None else self.weighting(losses, given)


@dataclass(frozen=True)
class Learned:
    """What came out.

    Attributes:
        model: images -> `{task: probabilities [B, classes]}`.
        weights: what each task's loss counts at the end; 1 where they are summed.
    """

    model: keras.Model
    weights: dict[str, float]


def cross_entropy(labels, scores):
    """The mean over the examples that have a label, and whether there are any; 0 without.

    Args:
        labels: integers [B], -1 = not given.
        scores: [B, classes], logits.
    """
    given = ops.not_equal(labels, NOT_GIVEN)
    losses = ops.sparse_categorical_crossentropy(ops.where(given, labels, 0), scores, from_logits=True)
    count = ops.sum(ops.cast(given, losses.dtype))
    return ops.sum(ops.where(given, losses, 0.0)) / ops.maximum(count, 1.0), count > 0


def learn(
    trunk: keras.Model,
    tasks: Mapping[str, int],
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    *,
    weighting: Literal["uncertainty", "sum"] = "uncertainty",
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Learned:
    """Train a trunk with one new head for each task.

    Args:
        trunk: images [B, h, w, c] -> features [B, D]; it is trained.
        tasks: name -> number of classes.
        images: [N, h, w, c] as the trunk takes them.
        labels: for each task integers [N]; -1 = not given.
        weighting: of the tasks' losses.
        steps: batches; Adam's rate falls to 0 by a cosine.
        seed: of the batches; for the heads' weights set `keras.utils.set_random_seed`, as for the trunk's.
        report: called with a line ten times.

    Raises:
        RecipeError: a trunk that does not give one row of features an image, no task, or another weighting.
        DataError: labels that do not fit the images, the tasks or their classes, or a task without any label.
    """
    if len(trunk.output_shape) != 2:
        raise RecipeError(
            f"expected a trunk with features [B, D], got {list(trunk.output_shape)}: pool or flatten them"
        )
    if not tasks:
        raise RecipeError("expected at least one task, got none")
    if weighting not in ("uncertainty", "sum"):
        raise RecipeError(f"expected the weighting 'uncertainty' or 'sum', got {weighting!r}")
    _check(tasks, images, labels)
    scores = {task: keras.layers.Dense(classes, name=task)(trunk.output) for task, classes in tasks.items()}
    learned = UncertaintyWeighting(len(tasks), name="weighting") if weighting == "uncertainty" else None
    model = MultiTask(trunk.input, scores, learned)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)), jit_compile=False
    )
    model.fit(
        _Batches(images, {task: labels[task] for task in tasks}, batch_size, steps, seed),
        callbacks=[_Report(steps, report)],
        shuffle=False,  # the order is the batches' own
        verbose=0,
    )
    probabilities = {task: keras.layers.Softmax(name=f"{task}_likely")(some) for task, some in scores.items()}
    weights = np.ones(len(tasks)) if learned is None else np.exp(-keras.ops.convert_to_numpy(learned.log_variances))
    return Learned(keras.Model(trunk.input, probabilities), dict(zip(tasks, weights.tolist(), strict=True)))


def accuracies(
    model: keras.Model, images: np.ndarray, labels: Mapping[str, np.ndarray], batch_size: int = 500
) -> dict[str, float]:
    """For each task the share of images whose likeliest class is right, of those that have a label."""
    likely = model.predict(images, batch_size=batch_size, verbose=0)
    shares = {}
    for task, scores in likely.items():
        given = labels[task] != NOT_GIVEN
        shares[task] = float((scores[given].argmax(axis=1) == labels[task][given]).mean())
    return shares


class _Batches(keras.utils.PyDataset):
    """`steps` batches; every image comes once before any comes again."""

    def __init__(self, images: np.ndarray, labels: Mapping[str, np.ndarray], batch_size: int, steps: int, seed: int):
        super().__init__()
        self.images, self.labels, self.batch_size, self.steps = images, labels, batch_size, steps
        rng = np.random.default_rng(seed)
        rounds = -(-steps * batch_size // len(images))
        self.order = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.images[rows], {task: some[rows] for task, some in self.labels.items()}


class _Report(keras.callbacks.Callback):
    """A line ten times in the training."""

    def __init__(self, steps: int, report: Callable[[str], None]):
        super().__init__()
        self.every, self.report = max(1, steps // 10), report

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if (batch + 1) % self.every == 0 and logs:
            self.report(f"step {batch + 1}, mean loss so far {logs['loss']:.4f}")


def _check(tasks: Mapping[str, int], images: np.ndarray, labels: Mapping[str, np.ndarray]) -> None:
    for task, classes in tasks.items():
        if task not in labels:
            raise DataError(f"expected labels for the task {task!r}, got those of {', '.join(labels) or 'none'}")
        some = labels[task]
        if some.shape != (len(images),) or some.dtype.kind not in "iu":
            raise DataError(
                f"expected an integer of {task!r} for each of {len(images)} images, -1 where it is not known, got "
                f"{some.dtype} {list(some.shape)}"
            )
        if not len(some) or some.max() == NOT_GIVEN:
            raise DataError(f"expected at least one image with a label of {task!r}, got none: leave the task out")
        if some.min() < NOT_GIVEN or some.max() >= classes:
            raise DataError(
                f"expected labels of {task!r} from 0 to {classes - 1} or -1, got {some.min()} to {some.max()}"
            )

"""Fine-tuning of a classifier on photos within a given time, gently enough for a few hundred of them.

Two phases, gradual unfreezing: first the head and the last stage move, then the later half of the network. In each the
rate goes up and down once (one cycle) and falls with the depth; batch normalisations keep their statistics; weights are
pulled towards where they started (L2-SP). The epoch with the least loss on the validation photos is kept, and a phase
in which that loss does not fall any more ends early.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError, TrainingError
from kapps.optimizers.layerwise import layerwise
from kapps.tasks.transfer.features import stream
from kapps.tasks.transfer.photos import Photo
from kapps.training.augment import make_augment
from kapps.training.fine_tuning import groups_of, hold, let_go, rates_of, unfreeze
from kapps.training.lr_finder import find_learning_rate
from kapps.training.recipe import AugmentSpec
from kapps.training.schedules import OneCycle

# Half of the longest cycle: while its rate rises, the loss may well rise for some epochs before it falls.
PATIENCE = 6
AUGMENT = AugmentSpec(flip=True, rotate=10, zoom=0.15, shift=0.08, contrast=0.2)
_BATCH = 16
_SEARCH_STEPS = 16
_PEAK_RANGE = (3e-5, 1e-3)  # AdamW; above it a pre-trained network forgets
_MOST_EPOCHS = 12  # a phase
_LEAST_EPOCHS = 2
_MEMORY = 2**30  # bytes of preprocessed photos that are kept decoded


@dataclass
class Tuning:
    """What fine-tuning did.

    Attributes:
        epochs: one row an epoch: `phase` (from 1), `epoch`, `loss`, `accuracy`, `validation_loss`,
            `validation_accuracy`, `seconds`.
        peaks: the highest rate of each phase, as the search found it.
        kept: the epoch whose weights the model has now; 0 for those it came with.
        stopped: the phases that ended early, as the validation photos were answered no better any more.
        note: why there was nothing to do, if so.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    kept: int = 0
    stopped: list[int] = field(default_factory=list)
    note: str = ""


def fine_tune(
    model: keras.Model,
    trunk: keras.Model,
    train: Sequence[Photo],
    validation: Sequence[Photo],
    preprocessing: Preprocessing,
    *,
    minutes: float,
    class_weights: np.ndarray,
    patience: int | None = PATIENCE,
    seed: int = 0,
    batch_norm: bool = False,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[dict[str, float]], None] | None = None,
) -> Tuning:
    """Fine-tune a classifier as far as the time allows; its weights are then those of the best epoch.

    Args:
        model: image float32 [B, h, w, c] -> probabilities [B, N], with the layers of `trunk` inside.
        trunk: gives the named features.
        train, validation: photos; without validation photos nothing is done, as nothing would tell when to stop.
        preprocessing: of the photos.
        minutes: how long it may take, about.
        class_weights: [N], of the loss.
        patience: a phase ends after so many epochs without a lower validation loss than its lowest; None = never.
        seed: of order and distortions.
        batch_norm: see `kapps.training.fine_tuning.unfreeze`.
        progress: called with (steps done, steps in all); their ratio never falls.
        watch: called with the row of every epoch as soon as it is over.

    Raises:
        RecipeError: a patience below 1.
        TrainingError: the loss became NaN or infinite.
    """
    check_patience(patience)
    done = Tuning()
    if not validation:
        done.note = "no validation photos: nothing would tell when to stop"
        return done
    begun = time.monotonic()
    keras.utils.set_random_seed(seed)
    groups = groups_of(model, trunk)
    steps = max(1, len(train) // _BATCH)
    phases = list(dict.fromkeys(count for count in (2, (len(groups) + 1) // 2 + 1) if count <= len(groups)))
    held = _batches(validation, preprocessing, class_weights, shuffle=False)
    best_loss, best_weights = _loss(model, held)[0], model.get_weights()
    try:
        for phase, count in enumerate(phases, start=1):
            unfreeze(model, groups, count, batch_norm=batch_norm)
            hold(model, groups)
            model.compile(
                layerwise(keras.optimizers.AdamW(1e-4, weight_decay=0.0), rates_of(groups)),
                "sparse_categorical_crossentropy",
                jit_compile=False,
            )
            batches = _batches(train, preprocessing, class_weights, shuffle=True, seed=seed + phase)
            ready = time.monotonic()
            search = find_learning_rate(
                model, batches.take(_SEARCH_STEPS), lowest=1e-6, highest=0.1, steps=_SEARCH_STEPS, smoothing=0.5
            )
            step_seconds = (time.monotonic() - ready) / len(search.rates)
            left = (60 * minutes - (time.monotonic() - begun)) / (len(phases) - phase + 1)
            epochs = min(_MOST_EPOCHS, int(left / (1.15 * steps * step_seconds)))  # the rest is for the validation
            if epochs < _LEAST_EPOCHS:
                done.note = (
                    f"phase {phase} left out: an epoch takes {steps * step_seconds:.0f} s, {left:.0f} s are left"
                )
                break
            peak = float(np.clip(min(search.steepest, search.lowest / 10), *_PEAK_RANGE))
            done.peaks.append(peak)
            schedule = OneCycle(peak, epochs * steps)
            model.compile(
                layerwise(keras.optimizers.AdamW(schedule, weight_decay=0.0), rates_of(groups)),
                "sparse_categorical_crossentropy",
                metrics=["accuracy"],
                jit_compile=False,
            )
            endless = iter(batches.repeat())
            lowest, waited = np.inf, 0
            for epoch in range(epochs):
                started = time.monotonic()
                model.reset_metrics()
                for step in range(steps):
                    figures = model.train_on_batch(*next(endless), return_dict=True)
                    if progress is not None:  # as if all phases were as long as this one, so that it never goes back
                        before = (phase - 1) * epochs + epoch
                        progress(before * steps + step + 1, len(phases) * epochs * steps)
                if not np.isfinite(figures["loss"]):
                    raise TrainingError(f"the loss is {figures['loss']} in phase {phase}: lower the rate")
                loss, accuracy = _loss(model, held)
                done.epochs.append(
                    {
                        "phase": phase,
                        "epoch": len(done.epochs) + 1,
                        "loss": float(figures["loss"]),
                        "accuracy": float(figures["accuracy"]),
                        "validation_loss": loss,
                        "validation_accuracy": accuracy,
                        "seconds": time.monotonic() - started,
                    }
                )
                if watch is not None:
                    watch(done.epochs[-1])
                if loss < best_loss:
                    best_loss, best_weights, done.kept = loss, model.get_weights(), len(done.epochs)
                lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
                if waited == patience and epoch + 1 < epochs:
                    done.stopped.append(phase)
                    break
    finally:
        let_go(model)
        model.set_weights(best_weights)
    return done


def check_patience(patience: int | None) -> None:
    """Refuse what is no number of epochs.

    Raises:
        RecipeError: not None and not a whole number of at least 1.
    """
    if patience is not None and (not isinstance(patience, int) or isinstance(patience, bool) or patience < 1):
        raise RecipeError(f"expected a patience of at least 1 epoch, or None to wait for the end, got {patience!r}")


def _batches(
    photos: Sequence[Photo], preprocessing: Preprocessing, class_weights: np.ndarray, *, shuffle: bool, seed: int = 0
) -> tf.data.Dataset:
    """(images, labels, weights) a batch; shuffled anew and distorted in every pass if asked."""
    labels = np.array([photo.label for photo in photos], np.int32)
    rows = tf.data.Dataset.from_tensor_slices((labels, class_weights[labels].astype(np.float32)))
    images = stream(photos, preprocessing, _BATCH).unbatch()
    data = tf.data.Dataset.zip(images, rows).map(lambda image, row: (image, *row))
    if len(photos) * 4 * preprocessing.channels * preprocessing.size[0] * preprocessing.size[1] <= _MEMORY:
        data = data.cache()
    if not shuffle:
        return data.batch(_BATCH).prefetch(2)
    augment = make_augment(AUGMENT)
    return (
        data.shuffle(len(photos), seed=seed, reshuffle_each_iteration=True)
        .batch(min(_BATCH, len(photos)), drop_remainder=True)
        .map(_with_seeds(augment, seed), tf.data.AUTOTUNE)
        .prefetch(2)
    )


def _with_seeds(
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], seed: int
) -> Callable[..., tuple[tf.Tensor, ...]]:
    generator = tf.random.Generator.from_seed(seed)

    def distort(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return augment(images, generator.uniform_full_int([2], tf.int64)), labels, weights

    return distort


def _loss(model: keras.Model, batches: tf.data.Dataset) -> tuple[float, float]:
    """(mean cross-entropy, share of right answers), every photo counted once."""
    loss, right, count = 0.0, 0, 0
    for images, labels, _ in batches:
        probability = keras.ops.convert_to_numpy(model(images, training=False))
        labels = labels.numpy()
        loss -= float(np.log(np.clip(probability[np.arange(len(labels)), labels], 1e-7, None)).sum())
        right += int((probability.argmax(axis=1) == labels).sum())
        count += len(labels)
    return loss / count, right / count

"""The loop of every long training: goes on after an interruption, logs, backs up, stops at a bad loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kapps.training import callbacks as watch
from kapps.training.recipe import EarlyStopping


def fit_resumable(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    folder: Path,
    *,
    title: str,
    seed: int,
    epochs: int,
    steps: int,
    validation: tf.data.Dataset | None = None,
    stopping: EarlyStopping | None = None,
    watchers: Sequence[keras.callbacks.Callback] = (),
    swap_ema: bool = False,
    progress: bool = True,
) -> list[dict[str, float]]:
    """`model.fit`, in a folder from which a killed run goes on and ends with the same result.

    Args:
        model: compiled; with `stopping` it has the best epoch's weights afterwards.
        batches: the number of the first epoch -> an endless stream of training batches from there on.
        folder: holds `backup/`, `log.csv`, `tensorboard/` and `best.weights.h5`. The backup stays: who calls this
            deletes it (`kapps.training.callbacks.Backup.delete`) when the run's results are written.
        title: of the progress bar.
        seed: of dropout and what else is random inside the model.
        epochs: of the whole run.
        steps: batches an epoch.
        validation: batches that are looked at after every epoch.
        stopping: end early and take the best weights.
        watchers: further callbacks; what they put into `logs` is in the log, and early stopping sees it.
        swap_ema: evaluate and keep the running mean of the weights, which the optimiser makes.
        progress: show a bar (on stderr).

    Returns:
        One row an epoch, as `log.csv` holds them.

    Raises:
        TrainingError: the loss became NaN or infinite; the backup of the last whole epoch stays.
    """
    backup = watch.Backup(folder / "backup")
    log = watch.Log(folder / "log.csv", backup.epoch)
    best = _keep_best(stopping, folder, log) if stopping else None
    bar = watch.Progress(title, epochs=epochs, steps_per_epoch=steps, first_epoch=backup.epoch) if progress else None
    all_watchers: list[Any] = [
        watch.SeedEachEpoch(seed),
        *([keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if swap_ema else []),
        backup,  # after the swap: what is backed up are the weights that go on training
        watch.StopOnBadLoss(backup),
        *watchers,
        log,
        *([best] if best else []),
        keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
        *([bar] if bar else []),
    ]
    try:
        if not (best and _stopped_early(best, log)):
            model.fit(
                batches(backup.epoch),
                steps_per_epoch=steps,
                epochs=epochs,
                initial_epoch=backup.epoch,
                validation_data=validation,
                callbacks=all_watchers,
                shuffle=False,  # the stream is shuffled already
                verbose=0,
            )
    finally:
        if bar:
            bar.close()
    if best:
        model.load_weights(best.path)
    return log.rows


def _keep_best(stopping: EarlyStopping, folder: Path, log: watch.Log) -> watch.KeepBest:
    return watch.KeepBest(
        folder / "best.weights.h5",
        log,
        monitor=stopping.monitor,
        patience=stopping.patience,
        min_delta=stopping.min_delta,
    )


def _stopped_early(best: watch.KeepBest, log: watch.Log) -> bool:
    """Whether the log of an interrupted run already ends where early stopping ends it."""
    if not log.rows:
        return False
    epochs = [int(row["epoch"]) for row in log.rows]
    values = [row.get(best.monitor, float("nan")) for row in log.rows]
    sign = 1 if best.monitor.endswith("loss") else -1
    best_epoch = min(zip(epochs, values, strict=True), key=lambda pair: sign * pair[1])[0]
    return epochs[-1] - best_epoch >= best.patience

"""What watches a run: backups, the best weights, the log, seeds, bad numbers, the progress bar.

Together they keep one promise: a run that is killed at any moment goes on from its last whole epoch and ends with the
same result. For that everything is written to a temporary file first and then renamed, and nothing random depends on
how long the process has lived.
"""

from __future__ import annotations

import csv
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from kapps.errors import TrainingError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and vanishes when it does not."""
    part = path.with_name(f".part-{path.name}")  # the ending stays: Keras goes by it
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class Backup(keras.callbacks.BackupAndRestore):
    """Keras' BackupAndRestore with one whole file an epoch.

    Keras' own writes weights and epoch number into two files, in place: a kill between or within them costs the run.
    Here the number is in the file's name, and the file appears by a rename. It is written when an epoch begins, so that
    the log and the best weights of the epoch before are already on disk.
    """

    def __init__(self, folder: Path):
        super().__init__(str(folder))
        self.folder = folder

    @property
    def epoch(self) -> int:
        """The epoch that the run goes on with: 0 without a backup."""
        return max((int(path.name.split(".")[0].removeprefix("epoch")) for path in self._files()), default=0)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("epoch*.weights.h5"))

    def on_train_begin(self, logs: Any = None) -> None:
        if self.epoch:
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.load_weights(self._file(self.epoch))
            self.model._initial_epoch = self.epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0 or self._file(epoch).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self._file(epoch)) as part:
            self.model.save_weights(part)
        for old in self._files()[:-1]:
            old.unlink()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        pass

    def on_train_end(self, logs: Any = None) -> None:
        pass  # the run deletes its backup when its results are written

    def delete(self) -> None:
        """Remove all backups."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch{epoch:04d}.weights.h5"


class Log(keras.callbacks.Callback):
    """`log.csv`: one row an epoch with losses, metrics, learning rate and seconds.

    A resumed run keeps the rows of the epochs that are in its backup and drops later ones, which it will run again.
    """

    def __init__(self, path: Path, first_epoch: int):
        super().__init__()
        self.path = path
        self.rows = [row for row in read_log(path) if row["epoch"] <= first_epoch] if first_epoch else []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        self.rows.append(row)
        with written_whole(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]), restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a `log.csv`; an absent file has none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if value not in ("", None)}
            for row in csv.DictReader(file)
        ]


class KeepBest(keras.callbacks.EarlyStopping):
    """Early stopping that writes the best weights to a file and survives a resume by replaying the log."""

    def __init__(self, path: Path, log: Log, *, monitor: str, patience: int, min_delta: float):
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, restore_best_weights=False)
        self.path, self.log = path, log

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        for row in self.log.rows:
            super().on_epoch_end(int(row["epoch"]) - 1, row)
        self.model.stop_training = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self.best_epoch == epoch:
            with written_whole(self.path) as part:
                self.model.save_weights(part)


class StopOnBadLoss(keras.callbacks.Callback):
    """Ends the run with a clear line when the loss is no longer a number; the weights of the last whole epoch are
    kept."""

    def __init__(self, backup: Backup):
        super().__init__()
        self.backup, self.epoch = backup, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        kept = f"the weights of epoch {self.backup.epoch} are kept in {self.backup.folder}" if self.backup.epoch else ""
        raise TrainingError(
            f"the loss became {loss} in epoch {self.epoch + 1}, batch {batch + 1}, at learning rate {rate:.3g}: "
            "lower optimizer.learning_rate or set optimizer.clipnorm=1" + (f"; {kept}" if kept else "")
        )


class SeedEachEpoch(keras.callbacks.Callback):
    """Makes dropout and all other randomness inside the model a function of (seed, epoch), so that a resumed run
    repeats it."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for index, layer in enumerate(self.model._flatten_layers()):
            for value in vars(layer).values():
                if isinstance(value, keras.random.SeedGenerator):
                    value.state.assign([self.seed * 1_000 + index, epoch * 1_000_000])


class Progress(keras.callbacks.Callback):
    """A bar on stderr with loss, accuracy and the time left for the whole run; one line an epoch where there is no
    terminal."""

    def __init__(self, title: str, *, epochs: int, steps_per_epoch: int, first_epoch: int):
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.epochs, self.steps_per_epoch, self.epoch = epochs, steps_per_epoch, first_epoch
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            refresh_per_second=4,
        )
        self.task = self.bar.add_task(title, total=epochs * steps_per_epoch, state="")
        self.title = title

    def on_train_begin(self, logs: Any = None) -> None:
        self.bar.start()
        self.bar.update(self.task, completed=self.epoch * self.steps_per_epoch)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = self.epoch * self.steps_per_epoch + batch + 1
        self.bar.update(self.task, completed=done, state=f"epoch {self.epoch + 1}/{self.epochs} {_numbers(logs)}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.console.is_terminal:
            self.console.print(
                f"{self.title}: epoch {epoch + 1}/{self.epochs} {_numbers(logs)}", highlight=False, soft_wrap=True
            )

    def close(self) -> None:
        self.bar.stop()


def _numbers(logs: dict[str, float] | None) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())

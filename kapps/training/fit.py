"""`kapps.train`: one recipe, one seed, one run folder.

A run folder holds
    recipe.json       the recipe as it was run, every change included
    log.csv           one row an epoch
    tensorboard/      the same for TensorBoard
    backup/           the state at the last epoch's end, while the run is not finished
    best.weights.h5   with early stopping: the weights of the best epoch
    model.keras       the trained model
    curves.png        loss and accuracy by epoch
    metrics.json      what was measured on the test split; its presence means that the run is finished
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import kapps
from kapps.create import create_model, load_keras
from kapps.data import load
from kapps.data.dataset import Dataset
from kapps.errors import DataError, KappsError, OutputError, RecipeError
from kapps.losses import get_loss
from kapps.training import callbacks as watch
from kapps.training.augment import make_augment
from kapps.training.evaluate import evaluate
from kapps.training.optimizers import make_optimizer
from kapps.training.plots import plot_curves
from kapps.training.recipe import DataSpec, Recipe, Study, change, describes, load_recipe, parse_changes, to_dict


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run folder, see the module's docstring.
        recipe: the recipe as it was run.
        metrics: what `metrics.json` holds: `test` (accuracy, loss, ...), `epochs`, `seconds`, `params`, `machine`,
        `versions`.
    """

    folder: Path
    recipe: Recipe
    metrics: dict[str, Any]

    @property
    def model(self) -> keras.Model:
        """The trained model, read from the folder."""
        return load_keras(self.folder / "model.keras")


def train(
    recipe: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    seed: int | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = True,
    progress: bool = True,
) -> Run:
    """Train a recipe once; a run that was killed goes on where it was and ends with the same result.

    Args:
        recipe: a name (`kapps.training.recipe.list_recipes()`), a JSON file or a `Recipe`.
        out: the run folder; default `runs/<name>/seed<seed>`.
        data_dir: where TensorFlow Datasets keeps its prepared sets; default `$KAPPS_DATA_DIR`, then TFDS' own.
        seed: instead of the recipe's own.
        changes: fields to change, as a mapping path -> value or as `["optimizer.learning_rate=1e-4"]`.
        resume: go on with an unfinished run in `out`, and return a finished one as it is; False = start anew.
        progress: show a bar (on stderr).

    Raises:
        RecipeError: the recipe cannot be run as written, or `out` holds a run of another recipe.
        DataError: the data cannot be read.
        TrainingError: the loss became NaN or infinite; the backup of the last whole epoch stays in the folder.
        OutputError: the folder cannot be written or the disk is full; the same holds.
    """
    loaded = load_recipe(recipe)
    if isinstance(loaded, Study):
        raise RecipeError(
            f"{recipe!r} is a study of {len(loaded.cases)} cases: run it with kapps.training.study.run_seeds"
        )
    settings = dict(changes) if isinstance(changes, Mapping) else parse_changes(changes)
    if seed is not None:
        settings["seed"] = seed
    loaded = change(loaded, settings)
    name = recipe if isinstance(recipe, str) and not recipe.endswith(".json") else loaded.model.name
    folder = Path(out) if out is not None else Path("runs") / name / f"seed{loaded.seed}"
    with _errors_as_one_line(folder):
        return _train(loaded, folder, data_dir=data_dir, resume=resume, progress=progress)


def _train(recipe: Recipe, folder: Path, *, data_dir: str | Path | None, resume: bool, progress: bool) -> Run:
    finished = _look_into(folder, recipe, resume=resume)
    if finished is not None:
        return finished
    keras.utils.set_random_seed(recipe.seed)
    training, validation, test = _datasets(recipe.data, data_dir)
    with _precision(recipe.mixed_precision):
        model = make_model(recipe, training)
        steps = steps_per_epoch(training, recipe.data.batch_size)
        model.compile(
            optimizer=make_optimizer(recipe.optimizer, recipe.schedule, epochs=recipe.epochs, steps_per_epoch=steps),
            loss=get_loss(recipe.loss, recipe.label_smoothing),
            metrics=["accuracy"],
            jit_compile="auto" if recipe.xla else False,
        )
        _begin(folder, recipe, model)  # not before data and model are known to be right: nothing is left behind
        backup = watch.Backup(folder / "backup")
        log = watch.Log(folder / "log.csv", backup.epoch)
        best = _keep_best(recipe, folder, log)
        bar = (
            watch.Progress(recipe.title, epochs=recipe.epochs, steps_per_epoch=steps, first_epoch=backup.epoch)
            if progress
            else None
        )
        watchers = [
            watch.SeedEachEpoch(recipe.seed),
            *([keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.optimizer.ema else []),
            backup,  # after the swap: what is backed up are the weights that go on training
            watch.StopOnBadLoss(backup),
            log,
            *([best] if best else []),
            keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
            *([bar] if bar else []),
        ]
        try:
            if not (best and _stopped_early(best, log)):
                model.fit(
                    training_batches(training, recipe, first_epoch=backup.epoch),
                    steps_per_epoch=steps,
                    epochs=recipe.epochs,
                    initial_epoch=backup.epoch,
                    validation_data=_plain_batches(validation, recipe) if validation else None,
                    callbacks=watchers,
                    shuffle=False,  # the stream is shuffled already
                    verbose=0,
                )
        finally:
            if bar:
                bar.close()
    if best:
        model.load_weights(best.path)
    metrics = _measure(model, recipe, test, log)
    with watch.written_whole(folder / "model.keras") as part:
        model.save(part)
    plot_curves(log.rows, folder / "curves.png", title=recipe.title)
    _write_json(folder / "metrics.json", metrics)
    backup.delete()
    return Run(folder, recipe, metrics)


def make_model(recipe: Recipe, data: Dataset) -> keras.Model:
    """The recipe's network, its input shaped by the preprocessing and its outputs by the data's classes."""
    preprocessing = recipe.data.preprocessing
    return create_model(
        recipe.model.name,
        num_classes=len(data.class_names),
        input_shape=(*preprocessing.size, preprocessing.channels),
        weights=recipe.model.weights,
        classifier_activation=recipe.model.classifier_activation,
        config=recipe.model.config,
    )


def _measure(model: keras.Model, recipe: Recipe, test: Dataset, log: watch.Log) -> dict[str, Any]:
    result = evaluate(model, test, preprocessing=recipe.data.preprocessing, batch_size=max(recipe.data.batch_size, 256))
    return {
        "title": recipe.title,
        "seed": recipe.seed,
        "test": {
            key: result[key] for key in ("mean_iou", "accuracy", "error", "loss", "num_examples") if key in result
        },
        "labels": list(test.class_names),
        "epochs": len(log.rows),
        "seconds": round(sum(row["seconds"] for row in log.rows), 1),
        "params": model.count_params(),
        "licence": test.licence,
        "machine": machine(),
        "versions": {"kapps": kapps.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
    }


def machine() -> str:
    """The processor and the number of threads that TensorFlow may use, for the tables."""
    threads = tf.config.threading.get_intra_op_parallelism_threads() or int(
        os.environ.get("TF_NUM_INTRAOP_THREADS", 0) or len(os.sched_getaffinity(0))
    )
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {threads} thread{'s' if threads != 1 else ''}"


def _datasets(spec: DataSpec, data_dir: str | Path | None) -> tuple[Dataset, Dataset | None, Dataset]:
    # A folder or file may change between two runs; prepared and built-in sets do not, and decoding one costs seconds.
    opened = load if Path(spec.name).exists() else _load_once
    validation = opened(spec.name, spec.validation, data_dir=data_dir) if spec.validation else None
    return opened(spec.name, spec.train, data_dir=data_dir), validation, opened(spec.name, spec.test, data_dir=data_dir)


# Three splits are what one run holds in memory anyway; the next run of a series finds them decoded.
_load_once = functools.lru_cache(maxsize=3)(load)


def steps_per_epoch(data: Dataset, batch_size: int) -> int:
    """Batches an epoch; the last, smaller one is left out (in another epoch's order others fall into it)."""
    if not data.num_examples:
        raise RecipeError(
            f"expected a training set of known size, but {data.name}/{data.split} has {data.num_examples}"
        )
    return max(1, data.num_examples // batch_size)


def training_batches(data: Dataset, recipe: Recipe, *, first_epoch: int) -> tf.data.Dataset:
    """An endless stream of batches from `first_epoch` on.

    The order is a function of (seed, epoch) and the distortions one of (seed, batch), so a run that is resumed sees
    exactly what it would have seen.
    """
    spec = recipe.data
    steps = steps_per_epoch(data, spec.batch_size)
    batches = data.batches(
        spec.batch_size,
        preprocessing=spec.preprocessing,
        shuffle_seed=recipe.seed,
        drop_remainder=(data.num_examples or 0) >= spec.batch_size,
        start_epoch=first_epoch,
    ).repeat()
    if spec.augment is None:
        return batches
    if data.label_shape:
        raise RecipeError(
            f"data.augment would move the pixels of {data.name} from under their labels: leave it out (None)"
        )
    augment = make_augment(spec.augment)
    return (
        batches.enumerate(first_epoch * steps)
        .map(
            lambda batch, pair: (augment(pair[0], tf.stack([tf.cast(recipe.seed, tf.int64), batch])), pair[1]),
            tf.data.AUTOTUNE,
        )
        .prefetch(tf.data.AUTOTUNE)
    )


def _plain_batches(data: Dataset, recipe: Recipe) -> tf.data.Dataset:
    return data.batches(max(recipe.data.batch_size, 256), preprocessing=recipe.data.preprocessing)


def _keep_best(recipe: Recipe, folder: Path, log: watch.Log) -> watch.KeepBest | None:
    stopping = recipe.early_stopping
    if stopping is None:
        return None
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


def _look_into(folder: Path, recipe: Recipe, *, resume: bool) -> Run | None:
    """Whether the run may go into the folder; returns it if it is already finished there."""
    file = folder / "recipe.json"
    if not resume and file.exists():
        for name in ("metrics.json", "log.csv", "best.weights.h5", "model.keras", "curves.png"):
            (folder / name).unlink(missing_ok=True)
        for name in ("backup", "tensorboard"):
            shutil.rmtree(folder / name, ignore_errors=True)
        file.unlink()
    if file.exists():
        if not describes(json.loads(file.read_text(encoding="utf-8")), recipe):
            raise RecipeError(
                f"{folder} holds a run of another recipe: give another output folder, "
                "or start anew there (resume=False, --no-resume)"
            )
        metrics = folder / "metrics.json"
        if metrics.exists() and (folder / "model.keras").exists():
            return Run(folder, recipe, json.loads(metrics.read_text(encoding="utf-8")))
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"expected an empty or new folder for the run, but {folder} holds other things: give another one"
        )
    return None


def _begin(folder: Path, recipe: Recipe, model: keras.Model) -> None:
    """Make the folder and write the recipe, if there is room for what will follow."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    # Weights with two optimiser slots, three times over (backups old and new, the model), and a little for the rest.
    needed = 3 * 3 * 4 * model.count_params() + 2_000_000
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OutputError(
            f"the run needs about {needed / 1e6:.0f} MB in {folder}, but only {free / 1e6:.0f} MB are free: "
            "make room or give another output folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "recipe.json").exists():
        _write_json(folder / "recipe.json", to_dict(recipe))


@contextmanager
def _errors_as_one_line(folder: Path):
    """Failed reads and writes as one line; what was written whole before stays."""
    try:
        yield
    except KappsError:
        raise
    except tf.errors.InvalidArgumentError as error:  # an image that breaks only where it is decoded, deep in a stream
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "unreadable example")
        raise DataError(f"an example cannot be used: {reason}; find it with `kapps data` and remove it") from error
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise OutputError(
            f"cannot write to the run folder {folder}: {reason}; make room or give another folder, "
            "then run the same command again: it goes on from the last whole epoch"
        ) from error


@contextmanager
def _precision(mixed: bool):
    """Build under float16 computation with float32 weights, and leave the global policy as it was."""
    before = keras.config.dtype_policy()
    if mixed:
        keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _write_json(path: Path, data: Any) -> None:
    with watch.written_whole(path) as part:
        part.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

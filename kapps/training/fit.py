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
import shutil
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kapps.create import create_model, load_keras
from kapps.data import load
from kapps.data.dataset import Dataset
from kapps.errors import RecipeError
from kapps.losses import get_loss
from kapps.training import callbacks as watch
from kapps.training.augment import make_augment
from kapps.training.evaluate import evaluate, images_at_once
from kapps.training.loop import fit_resumable
from kapps.training.optimizers import make_optimizer
from kapps.training.plots import plot_curves
from kapps.training.recipe import (
    DataSpec,
    DetectionRecipe,
    LearnerRecipe,
    Recipe,
    Study,
    change,
    load_recipe,
    parse_changes,
)
from kapps.training.run_folder import Run, begin, errors_as_one_line, look_into, machine, versions, write_json

_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


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
    """Train the recipe of a classifier or a segmentation once; arguments and errors as `kapps.train`."""
    loaded = load_recipe(recipe)
    if isinstance(loaded, Study):
        raise RecipeError(
            f"{recipe!r} is a study of {len(loaded.cases)} cases: run it with kapps.training.study.run_seeds"
        )
    if isinstance(loaded, DetectionRecipe | LearnerRecipe):
        raise RecipeError(f"{recipe!r} trains no classifier: run it with kapps.tasks.train.train")
    settings = dict(changes) if isinstance(changes, Mapping) else parse_changes(changes)
    if seed is not None:
        settings["seed"] = seed
    loaded = change(loaded, settings)
    name = recipe if isinstance(recipe, str) and not recipe.endswith(".json") else loaded.model.name
    folder = Path(out) if out is not None else Path("runs") / name / f"seed{loaded.seed}"
    with errors_as_one_line(folder):
        return _train(loaded, folder, data_dir=data_dir, resume=resume, progress=progress)


def answer(
    recipe: Recipe, trained: Path, *, out: Path, data_dir: str | Path | None = None, resume: bool = True
) -> Run[Recipe]:
    """Measure the network of a recipe with the weights that another run learned: for recipes that differ only in how
    the network answers. The run folder is as if it had been trained; its log and its seconds are the other's.

    Args:
        trained: the folder of a finished run.
        out: the folder of this one.

    Raises:
        RecipeError: `out` holds a run of another recipe, or the layers of the two networks differ in their weights.
        OutputError: `out` holds other things or cannot be written.
    """
    with errors_as_one_line(out):
        finished = look_into(out, recipe, resume=resume)
        if finished is not None:
            return finished
        test = _open(recipe.data.name, recipe.data.test, data_dir)
        with _precision(recipe.mixed_precision):
            model = make_model(recipe, test)
        _take_weights(model, load_keras(trained / "model.keras"), trained)
        begin(out, recipe, model)
        shutil.copyfile(trained / "log.csv", out / "log.csv")
        return _finish(model, recipe, test, watch.read_log(out / "log.csv"), out)


def _take_weights(model: keras.Model, trained: keras.Model, folder: Path) -> None:
    """Those of every layer by its name. A layer that never learns, as a CRF behind the network, need not be there."""
    given = {layer.name: layer.get_weights() for layer in trained.layers if layer.weights}
    for layer in model.layers:
        if layer.trainable_weights or layer.name in given:
            weights = given.pop(layer.name, [])
            expected, got = [tuple(weight.shape) for weight in layer.weights], [weight.shape for weight in weights]
            if expected != got:
                raise RecipeError(
                    f"layer {layer.name!r} has weights of shapes {expected}, in {folder} {got}: give the run of a "
                    "recipe that trains the same network"
                )
            layer.set_weights(weights)
    if given:
        raise RecipeError(f"{folder} has weights for {sorted(given)}, which this recipe's network has no layers for")


def _train(recipe: Recipe, folder: Path, *, data_dir: str | Path | None, resume: bool, progress: bool) -> Run[Recipe]:
    finished = look_into(folder, recipe, resume=resume)
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
        begin(folder, recipe, model)  # not before data and model are known to be right: nothing is left behind
        rows = fit_resumable(
            model,
            lambda first_epoch: training_batches(training, recipe, first_epoch=first_epoch),
            folder,
            title=recipe.title,
            seed=recipe.seed,
            epochs=recipe.epochs,
            steps=steps,
            validation=_plain_batches(validation, recipe) if validation else None,
            stopping=recipe.early_stopping,
            swap_ema=recipe.optimizer.ema is not None,
            progress=progress,
        )
    return _finish(model, recipe, test, rows, folder)


def _finish(
    model: keras.Model, recipe: Recipe, test: Dataset, rows: list[dict[str, float]], folder: Path
) -> Run[Recipe]:
    """Measure, and write what a finished run's folder holds."""
    metrics = _measure(model, recipe, test, rows)
    with watch.written_whole(folder / "model.keras") as part:
        model.save(part)
    plot_curves(rows, folder / "curves.png", title=recipe.title)
    write_json(folder / "metrics.json", metrics)
    watch.Backup(folder / "backup").delete()
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


def _measure(model: keras.Model, recipe: Recipe, test: Dataset, rows: list[dict[str, float]]) -> dict[str, Any]:
    result = evaluate(model, test, preprocessing=recipe.data.preprocessing, batch_size=max(recipe.data.batch_size, 256))
    return {
        "title": recipe.title,
        "seed": recipe.seed,
        "test": {
            key: result[key] for key in ("mean_iou", "accuracy", "error", "loss", "num_examples") if key in result
        },
        "labels": list(test.class_names),
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "params": model.count_params(),
        "licence": test.licence,
        "machine": machine(),
        "versions": versions(),
    }


def _datasets(spec: DataSpec, data_dir: str | Path | None) -> tuple[Dataset, Dataset | None, Dataset]:
    validation = _open(spec.name, spec.validation, data_dir) if spec.validation else None
    return _open(spec.name, spec.train, data_dir), validation, _open(spec.name, spec.test, data_dir)


def _open(name: str, split: str, data_dir: str | Path | None) -> Dataset:
    # A folder or file may change between two runs; prepared and built-in sets do not, and decoding one costs seconds.
    return (load if Path(name).exists() else _load_once)(name, split, data_dir=data_dir)


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
        .prefetch(2)
    )


def _plain_batches(data: Dataset, recipe: Recipe) -> tf.data.Dataset:
    preprocessing = recipe.data.preprocessing
    at_once = images_at_once(data, preprocessing, max(recipe.data.batch_size, 256))
    return data.batches(at_once, preprocessing=preprocessing)


@contextmanager
def _precision(mixed: bool | str):
    """Build and train in the recipe's precision with float32 weights, and leave the global settings as they were."""
    policy, options = keras.config.dtype_policy(), tf.config.optimizer.get_experimental_options()
    if mixed == "bfloat16":
        # A rewrite of the graph instead of Keras' policy: normalisation and sums stay float32, and without the
        # processor's instructions TensorFlow leaves the graph alone, where the policy would have numbers converted.
        tf.config.optimizer.set_experimental_options({_BFLOAT16: True})
    elif mixed:
        keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        tf.config.optimizer.set_experimental_options({_BFLOAT16: options.get(_BFLOAT16, False)})

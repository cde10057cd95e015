"""A detector's recipe, one seed, one run folder; it goes on after an interruption.

A run folder holds
    recipe.json             the recipe as it was run, every change included
    log.csv                 one row an epoch: losses, and average precision where it was measured
    tensorboard/            the same for TensorBoard
    backup/                 the state at the last epoch's end, while the run is not finished
    model.keras             the trained network
    detector.json           its name, classes and configuration
    curves.png              the loss by epoch
    evaluation.json         average precision on the test split, whole and by class, and its curves
    precision_recall.png    those curves
    metrics.json            what was measured, in short; its presence means that the run is finished
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras

from kapps.data.boxes import load_boxes
from kapps.errors import RecipeError
from kapps.tasks.detection.create import create_detector
from kapps.tasks.detection.curves import save_curves
from kapps.training import callbacks as watch
from kapps.training.optimizers import make_optimizer
from kapps.training.plots import plot_curves
from kapps.training.recipe import DetectionRecipe
from kapps.training.run_folder import Run, begin, errors_as_one_line, look_into, machine, versions, write_json


def train_detector(
    recipe: DetectionRecipe,
    folder: Path,
    *,
    data_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Run[DetectionRecipe]:
    """Train and measure one detector; arguments and errors as `kapps.train`.

    Raises:
        RecipeError: the recipe cannot be run as written, or the folder holds a run of another recipe.
        DataError: the data cannot be read.
        TrainingError: the loss became NaN or infinite.
        OutputError: the folder cannot be written.
    """
    with errors_as_one_line(folder):
        return _train(recipe, folder, data_dir=data_dir, resume=resume, progress=progress)


def _train(
    recipe: DetectionRecipe, folder: Path, *, data_dir: str | Path | None, resume: bool, progress: bool
) -> Run[DetectionRecipe]:
    finished = look_into(folder, recipe, resume=resume)
    if finished is not None:
        return finished
    keras.utils.set_random_seed(recipe.seed)
    spec = recipe.data
    training = load_boxes(spec.name, spec.train, data_dir=data_dir)
    classes = training.class_names
    validation = load_boxes(spec.name, spec.validation, data_dir=data_dir, classes=classes) if spec.validation else None
    test = load_boxes(spec.name, spec.test, data_dir=data_dir, classes=classes)
    if not training.num_examples:
        raise RecipeError(f"expected a training set of known size, but {spec.name} [{spec.train}] has none")
    detector: Any = create_detector(
        recipe.detector.name,
        classes=classes,
        backbone=recipe.detector.backbone,
        backbone_weights=recipe.detector.backbone_weights,
        weights=recipe.detector.weights,
        config=recipe.detector.config,
    )
    begin(folder, recipe, detector.network)  # not before data and model are known to be right
    learning: dict[str, Any] = {
        "epochs": recipe.epochs,
        "batch_size": spec.batch_size,
        "validation": validation,
        "seed": recipe.seed,
        "folder": folder,
        "progress": progress,
    }
    takes = inspect.signature(detector.fit).parameters
    if "validate_every" in takes:
        learning["validate_every"] = spec.validate_every
    if spec.augment is not None and "augment" not in takes:
        raise RecipeError(f"data.augment is not for {detector.name}, whose regions are prepared apart: leave it out")
    if spec.augment is not None:
        learning["augment"] = spec.augment
    optimizer = make_optimizer(
        recipe.optimizer,
        recipe.schedule,
        epochs=recipe.epochs,
        steps_per_epoch=max(1, training.num_examples // spec.batch_size),
    )
    rows = detector.fit(training, optimizer=optimizer, **learning)
    detector.save(folder)
    figures = detector.evaluate(test)
    save_curves(figures, folder)
    plot_curves(rows, folder / "curves.png", title=recipe.title)
    metrics = {
        "title": recipe.title,
        "seed": recipe.seed,
        "test": {key: figures[key] for key in ("AP", "AP50", "AP75", "VOC_AP", "num_examples", "seconds_an_image")},
        "labels": list(classes),
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "params": detector.network.count_params(),
        "licence": test.licence,
        "machine": machine(),
        "versions": versions(),
    }
    write_json(folder / "metrics.json", metrics)
    watch.Backup(folder / "backup").delete()
    return Run(folder, recipe, metrics)

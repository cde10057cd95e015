"""`kapps.train`: one recipe of any kind, one seed, one run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kapps.training import fit
from kapps.training.recipe import DetectionRecipe, LearnerRecipe, Recipe, Study, change, load_recipe, parse_changes
from kapps.training.run_folder import Run


def train(
    recipe: str | Path | Recipe | DetectionRecipe | LearnerRecipe,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    seed: int | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = True,
    progress: bool = True,
) -> Run[Any]:
    """Train a recipe once; a run that was killed goes on where it was and ends with the same result.

    Args:
        recipe: a name (see `kapps train --list`), a JSON file, or a recipe itself: `Recipe`, `DetectionRecipe`,
            `LearnerRecipe`.
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
    if isinstance(loaded, Recipe | Study):
        assert not isinstance(recipe, DetectionRecipe | LearnerRecipe)
        return fit.train(
            recipe, out=out, data_dir=data_dir, seed=seed, changes=changes, resume=resume, progress=progress
        )
    settings = dict(changes) if isinstance(changes, Mapping) else parse_changes(changes)
    if seed is not None:
        settings["seed"] = seed
    is_ours = isinstance(recipe, str) and not recipe.endswith(".json")
    if isinstance(loaded, LearnerRecipe):
        from kapps.tasks.unsupervised.train import train_learner

        loaded = change(loaded, settings)
        folder = _folder(out, recipe if is_ours else loaded.learner.name, loaded.seed)
        return train_learner(loaded, folder, data_dir=data_dir, resume=resume, progress=progress)
    from kapps.tasks.detection.train import train_detector

    loaded = change(loaded, settings)
    folder = _folder(out, recipe if is_ours else loaded.detector.name, loaded.seed)
    return train_detector(loaded, folder, data_dir=data_dir, resume=resume, progress=progress)


def _folder(out: str | Path | None, name: Any, seed: int) -> Path:
    return Path(out) if out is not None else Path("runs") / name / f"seed{seed}"

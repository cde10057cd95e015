"""The folder of one training run: whether a run may go there, how it begins, and what a finished one holds."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import keras
import tensorflow as tf

import kapps
from kapps.create import load_keras
from kapps.errors import DataError, KappsError, OutputError, RecipeError
from kapps.training import callbacks as watch
from kapps.training.recipe import AnyRecipe, DetectionRecipe, LearnerRecipe, Recipe, describes, to_dict


@dataclass(frozen=True)
class Run(Generic[AnyRecipe]):
    """A finished run.

    Attributes:
        folder: the run folder; the module that trains says what it holds.
        recipe: the recipe as it was run.
        metrics: what `metrics.json` holds: `test` (accuracy, loss, ...), `epochs`, `seconds`, `params`, `machine`,
        `versions`.
    """

    folder: Path
    recipe: AnyRecipe
    metrics: dict[str, Any]

    @property
    def model(self) -> keras.Model:
        """The trained model, read from the folder."""
        return load_keras(self.folder / "model.keras")


def look_into(folder: Path, recipe: AnyRecipe, *, resume: bool) -> Run[AnyRecipe] | None:
    """Whether the run may go into the folder; returns it if it is already finished there.

    Raises:
        RecipeError: the folder holds a run of another recipe.
        OutputError: it holds other things.
    """
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


def begin(folder: Path, recipe: Recipe | DetectionRecipe | LearnerRecipe, model: keras.Model) -> None:
    """Make the folder and write the recipe, if there is room for what will follow.

    Raises:
        OutputError: the disk is too full.
    """
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
        write_json(folder / "recipe.json", to_dict(recipe))


@contextmanager
def errors_as_one_line(folder: Path) -> Iterator[None]:
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


def write_json(path: Path, data: Any) -> None:
    """Data as a JSON file, whole or not at all."""
    with watch.written_whole(path) as part:
        part.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def versions() -> dict[str, str]:
    """Of what a run was made with."""
    return {"kapps": kapps.__version__, "keras": keras.__version__, "tensorflow": tf.__version__}

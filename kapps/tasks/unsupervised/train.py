"""A feature learner's recipe, one seed, one run folder.

A run folder holds
    recipe.json         the recipe as it was run, every change included
    log.csv             one row an epoch, layer after layer where a learner has several
    model.keras         the way from pictures to codes; inside it is the learner, see `kapps.create.load_learner`
    reconstructions.png some test pictures, and what comes back from their codes
    metrics.json        what was measured; its presence means that the run is finished

A run that was killed starts anew: it takes minutes.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kapps.create import create_learner
from kapps.data.loading import load
from kapps.errors import DataError
from kapps.training import callbacks as watch
from kapps.training.recipe import DataSpec, LearnerRecipe
from kapps.training.run_folder import Run, begin, errors_as_one_line, look_into, machine, versions, write_json

# Codes that the logistic regression learns from: more cost minutes and add little.
_PROBE_EXAMPLES = 10_000

# The training set is held in memory as float32.
_LARGEST_BYTES = 2 * 2**30


def train_learner(
    recipe: LearnerRecipe,
    folder: Path,
    *,
    data_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Run[LearnerRecipe]:
    """Train and measure one feature learner; arguments and errors as `kapps.train`."""
    with errors_as_one_line(folder):
        return _train(recipe, folder, data_dir=data_dir, resume=resume, progress=progress)


def _train(
    recipe: LearnerRecipe, folder: Path, *, data_dir: str | Path | None, resume: bool, progress: bool
) -> Run[LearnerRecipe]:
    finished = look_into(folder, recipe, resume=resume)
    if finished is not None:
        return finished
    keras.utils.set_random_seed(recipe.seed)
    spec = recipe.data
    images, labels, names, _ = read(spec, spec.train, data_dir)
    test_images, test_labels, _, licence = read(spec, spec.test, data_dir)
    steps = spec.preprocessing
    learner = create_learner(
        recipe.learner.name,
        data_shape=(*steps.size, steps.channels),
        config={**recipe.learner.config, "seed": recipe.seed},  # learners draw from their own, not from Keras' seed
    )
    begin(folder, recipe, learner)  # not before data and model are known to be right
    rows = _Rows(recipe.title if progress else None)
    started = time.monotonic()
    learner.fit(
        images,
        labels if getattr(learner.config, "classes", 0) else None,
        epochs=recipe.epochs,
        batch_size=spec.batch_size,
        callbacks=[rows],
        verbose=0,
    )
    seconds = time.monotonic() - started
    learner.forget_optimizer()
    codes = learner.transform(test_images)
    again = learner.inverse_transform(codes)
    encoder = learner.encoder()
    with watch.written_whole(folder / "model.keras") as part:
        encoder.save(part)
    _write_log(rows.rows, folder / "log.csv")
    _draw(test_images[:10], again[:10], folder / "reconstructions.png")
    metrics = {
        "title": recipe.title,
        "seed": recipe.seed,
        "test": {
            "accuracy": probe(
                learner.transform(images[:_PROBE_EXAMPLES]), labels[:_PROBE_EXAMPLES], codes, test_labels
            ),
            "reconstruction_error": float(np.square(again - test_images).mean()),
            "num_examples": len(test_images),
        },
        "labels": list(names),
        "epochs": len(rows.rows),
        "seconds": round(seconds, 1),
        "params": learner.count_params(),
        "licence": licence,
        "machine": machine(),
        "versions": versions(),
    }
    write_json(folder / "metrics.json", metrics)
    return Run(folder, recipe, metrics)


def read(
    spec: DataSpec, split: str, data_dir: str | Path | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """A whole split: pictures float32 [N, h, w, c], labels int64 [N], the classes' names, the data's licence.

    Raises:
        DataError: the split is too large for the memory, has fewer than two classes, or holds no pictures.
    """
    data = load(spec.name, split, data_dir=data_dir)
    if data.kind != "image":
        raise DataError(f"expected pictures in {spec.name} [{split}], got {data.kind}")
    if data.num_classes < 2:
        raise DataError(
            f"expected at least two classes in {spec.name} [{split}], whose labels measure the codes, got "
            f"{data.num_classes}: sort the pictures into folders by class"
        )
    count, (height, width) = data.num_examples or 0, spec.preprocessing.size
    size = 4 * count * height * width * spec.preprocessing.channels
    if not count or size > _LARGEST_BYTES:
        raise DataError(
            f"expected a split of at most {_LARGEST_BYTES / 2**30:.0f} GB as float32, got {spec.name} [{split}] with "
            f"{size / 2**30:.1f} GB: take a part of it, e.g. {split}[:20000], or smaller pictures"
        )
    parts = list(data.batches(1000, preprocessing=spec.preprocessing).as_numpy_iterator())
    images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return images, labels, tuple(data.class_names), data.licence


def probe(codes: np.ndarray, labels: np.ndarray, test_codes: np.ndarray, test_labels: np.ndarray) -> float:
    """Accuracy of a multinomial logistic regression on standardised codes [N, ...]: what a linear layer can read."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    classifier.fit(codes.reshape(len(codes), -1), labels)
    return float(classifier.score(test_codes.reshape(len(test_codes), -1), test_labels))


class _Rows(keras.callbacks.Callback):
    """What every epoch said, whichever of a learner's parts it belonged to; and a line for each, if titled."""

    def __init__(self, title: str | None):
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._title = title

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self._started, 3)
        self.rows.append({"epoch": len(self.rows) + 1, **figures, "seconds": seconds})
        if self._title:
            shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"{self._title}: epoch {len(self.rows)} {shown}", file=sys.stderr, flush=True)


def _write_log(rows: list[dict[str, float]], path: Path) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with watch.written_whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _draw(images: np.ndarray, again: np.ndarray, path: Path) -> None:
    """Pictures in the upper row, what came back of them in the lower, three times enlarged."""
    rows = [np.concatenate(list(np.clip(each, 0, 1)), axis=1) for each in (images, again)]
    pixels = (np.concatenate(rows) * 255).astype(np.uint8).repeat(3, 0).repeat(3, 1)
    with watch.written_whole(path) as part:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(part, format="PNG")

"""`kapps.evaluate`: how good a classifier, of images or of their pixels, is on a labelled data set."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kapps.create import load_keras
from kapps.data import load
from kapps.data.dataset import Dataset
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, RecipeError
from kapps.metrics.mean_iou import intersection_over_union
from kapps.predict import Predictor
from kapps.predict import load as load_predictor

# Where every pixel has scores, at most so many are answered for at once: those of 16 images of 64x64, for each of which
# a dense CRF may need 100 MB.
_MOST_PIXELS = 16 * 64 * 64


def evaluate(
    model: keras.Model | Predictor | str | Path,
    data: Any,
    *,
    split: str = "test",
    data_dir: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    batch_size: int = 256,
) -> dict[str, Any]:
    """Accuracy, loss, the confusion matrix and the figures of each class.

    Args:
        model: a Keras model, a predictor, a `saved_models/` folder, a run folder or a `.keras` file. Its output must be
            one score a class, [B, N], or for every pixel, [B, H, W, N].
        data: whatever `kapps.data.load` takes, or a `Dataset`.
        split: which part of it.
        data_dir: where TensorFlow Datasets keeps its prepared sets.
        preprocessing: for a bare model or `.keras` file; saved models and run folders bring their own.
        batch_size: images at once, fewer where their pixels are labelled and many; it changes the speed only.

    Returns:
        `accuracy` and `error` in [0, 1]; `loss`: the mean of -log of the right class' score, in nats; `num_examples`;
        `per_class`: label -> {`precision`, `recall`, `count`}; `confusion`: rows are true classes, columns answers.
        Where pixels are labelled, all these are about pixels, but `num_examples` counts images; and there are each
        class' `iou` and `mean_iou`, over the classes that are there or were answered.

    Raises:
        DataError: the data has no labels that fit the model's outputs.
        RecipeError: a bare model was given without its preprocessing, or an embedding, which knows no classes.
    """
    scores_of, preprocessing = _scorer(model, preprocessing)
    dataset = data if isinstance(data, Dataset) else load(data, split, data_dir=data_dir)
    names = dataset.class_names
    confusion = np.zeros((len(names), len(names)), np.int64)
    loss, seen = 0.0, 0
    at_once = images_at_once(dataset, preprocessing, batch_size)
    for images, labels in dataset.batches(at_once, preprocessing=preprocessing).as_numpy_iterator():
        scores = scores_of(images)
        if scores.shape != (*labels.shape, len(names)):
            raise DataError(
                f"expected a model with one output for each of the {len(names)} classes of {dataset.name}, "
                f"but its output has the shape {scores.shape}: evaluate it on the data it was made for"
            )
        seen += len(labels)
        labels, scores = labels.reshape(-1), scores.reshape(-1, len(names))
        np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)
        right = scores[np.arange(len(labels)), labels]
        loss += float(-np.log(np.clip(right, 1e-7, None)).sum())
    figures = _figures(confusion, loss, names)
    if dataset.label_shape:
        iou = intersection_over_union(confusion)
        for name, value in zip(names, iou, strict=True):
            figures["per_class"][name]["iou"] = None if np.isnan(value) else float(value)
        figures |= {"num_examples": seen, "mean_iou": float(np.nanmean(iou))}
    return figures


def images_at_once(data: Dataset, preprocessing: Preprocessing, most: int) -> int:
    """How many images to answer for at once: `most`, or fewer where pixels are labelled, whose scores are many."""
    return min(most, max(1, _MOST_PIXELS // math.prod(preprocessing.size))) if data.label_shape else most


def _figures(confusion: np.ndarray, loss: float, names: tuple[str, ...]) -> dict[str, Any]:
    total = int(confusion.sum())
    if not total:
        raise DataError("expected at least one labelled example, but the data set is empty: choose another split")
    hits, true, answered = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    accuracy = float(hits.sum() / total)
    return {
        "accuracy": accuracy,
        "error": (total - int(hits.sum())) / total,
        "loss": loss / total,
        "num_examples": total,
        "per_class": {
            name: {
                "precision": float(hits[k] / answered[k]) if answered[k] else None,
                "recall": float(hits[k] / true[k]) if true[k] else None,
                "count": int(true[k]),
            }
            for k, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
    }


def _scorer(model: keras.Model | Predictor | str | Path, preprocessing: Preprocessing | None):
    """The model as a function images -> scores, and the preprocessing that its images need."""
    if isinstance(model, str | Path):
        path = Path(model)
        recipe = path / "recipe.json"
        if recipe.exists():
            data = json.loads(recipe.read_text(encoding="utf-8"))["data"]
            model, preprocessing = load_keras(path / "model.keras"), Preprocessing.from_dict(data["preprocessing"])
        elif path.suffix == ".keras":
            model = load_keras(path)
        else:
            model = load_predictor(path)
    if isinstance(model, Predictor):
        if model.card.kind == "embedding":
            raise RecipeError(f"{model.path} is an embedding and knows no classes: evaluate a classifier on top of it")
        if preprocessing is None:
            preprocessing = Preprocessing.from_dict(model.card.input["preprocessing"])
        return model.predict_tensors, preprocessing
    if preprocessing is None:
        raise RecipeError(
            "expected the preprocessing that this model was trained with, but got none: "
            "pass preprocessing=Preprocessing(...)"
        )
    network = model
    return lambda images: np.asarray(network.predict_on_batch(images)), preprocessing

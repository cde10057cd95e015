"""`kapps.evaluate`: how good a model of any kind is on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError
from kapps.exporting.card import Card
from kapps.predict import Predictor, version_folder
from kapps.predict import load as load_predictor
from kapps.tasks.detection.detector import Detector, as_pixels
from kapps.training.evaluate import evaluate as evaluate_classifier


def evaluate(
    model: keras.Model | Predictor | Detector | str | Path,
    data: Any,
    *,
    split: str = "test",
    data_dir: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    batch_size: int = 256,
) -> dict[str, Any]:
    """Accuracy of a classifier or a segmentation, average precision of a detector.

    Args:
        model: a Keras model, a predictor, a detector, a `saved_models/` folder, a run folder or a `.keras` file.
        data: whatever `kapps.data.load` takes, or a `Dataset`; for a detector what `kapps.data.load_boxes` takes, or a
            `BoxDataset`.
        split: which part of it.
        data_dir: where TensorFlow Datasets keeps its prepared sets.
        preprocessing: for a bare model or `.keras` file; all others bring their own.
        batch_size: images at once; it changes the speed only. A detector takes one image after the other.

    Returns:
        See `kapps.training.evaluate.evaluate`; of a detector `kapps.tasks.detection.evaluate.evaluate_detector`.

    Raises:
        DataError: the data has no labels that fit the model.
        RecipeError: a bare model was given without its preprocessing, or an embedding, which knows no classes.
    """
    detector = _detector(model)
    if detector is None:
        return evaluate_classifier(
            model, data, split=split, data_dir=data_dir, preprocessing=preprocessing, batch_size=batch_size
        )
    from kapps.data.boxes import BoxDataset, load_boxes
    from kapps.tasks.detection.evaluate import evaluate_detector

    names = detector.class_names if isinstance(detector, Detector) else detector.labels
    dataset = data if isinstance(data, BoxDataset) else load_boxes(data, split, data_dir=data_dir, classes=names)
    if tuple(dataset.class_names) != tuple(names):
        raise DataError(
            f"expected data with the classes {', '.join(names)}, got {', '.join(dataset.class_names)}: load it with "
            "classes=[...] in this order"
        )
    return evaluate_detector(detector.find if isinstance(detector, Detector) else _finder(detector), dataset)


def _detector(model: Any) -> Detector | Predictor | None:
    """The detector that is meant; None if the model is of another kind."""
    if isinstance(model, Detector):
        return model
    if isinstance(model, Predictor):
        return model if model.card.kind == "detection" else None
    if isinstance(model, str | Path):
        path = Path(model)
        if (path / "detector.json").is_file():
            from kapps.tasks.detection.create import load_detector

            return load_detector(path)
        is_exported = path.is_dir() and not (path / "recipe.json").is_file()
        if is_exported and Card.read(version_folder(path) / "card.json").kind == "detection":
            return load_predictor(path)
    return None


def _finder(predictor: Predictor) -> Any:
    """An exported detector's answers as `Detector.find` gives them."""
    numbers = {name: number for number, name in enumerate(predictor.labels)}

    def find(image: np.ndarray) -> dict[str, np.ndarray]:
        found = predictor(as_pixels(image))
        return {
            "boxes": np.array([each["box"] for each in found], np.float32).reshape(-1, 4),
            "scores": np.array([each["score"] for each in found], np.float32),
            "classes": np.array([numbers[each["label"]] for each in found], np.int32),
        }

    return find

"""The report of a transfer: one HTML file that needs nothing else, for a browser or an attachment."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from kapps import catalog
from kapps.errors import OutputError
from kapps.tasks.transfer.photos import Photo
from kapps.tasks.transfer.probes import weights_of

if TYPE_CHECKING:
    from kapps.tasks.transfer.transfer import Transfer

_MATRIX_CLASSES = 30  # a larger matrix cannot be read
_MISTAKES = 18
_PAIRS = 15
_NOTES = 40


def write_report(result: Transfer) -> Path:
    """Write `report.html` into the result's folder.

    Raises:
        OutputError: it cannot be written; an older report stays as it is.
    """
    path = result.folder / "report.html"
    part = path.with_name(f".{path.name}.{os.getpid()}")
    # Names of folders and files are anybody's text: everything is escaped.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    page = template.render(_content(result))
    try:
        part.write_text(page, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): give another folder") from error
    return path


def _content(result: Transfer) -> dict[str, Any]:
    photos, names = result.photos, result.class_names
    counts = result.confusion()
    entry = catalog.info(result.settings["backbone"])
    return {
        "title": f"{len(names)} classes of {Path(result.settings['folder']).resolve().name}",
        "subtitle": f"{entry.title} with weights {result.settings['weights']}, taught {len(photos.train):,} photos",
        "cards": _cards(result),
        "verdict": _verdict(result),
        "side": "validation",
        "names": names,
        "matrix": _matrix(counts, names) if photos.validation and len(names) <= _MATRIX_CLASSES else [],
        "pairs": _pairs(counts, names) if len(names) > _MATRIX_CLASSES else [],
        "mistakes": [
            _mistake(photo, names, answer, confidence) for photo, answer, confidence in result.mistakes()[:_MISTAKES]
        ],
        "plots": _plots(result),
        "facts": _facts(result),
        "command": result.settings["command"],
        "model": result.model.parent,
        "notes": [
            *result.notes[:_NOTES],
            *([f"{len(result.notes) - _NOTES} more"] if len(result.notes) > _NOTES else []),
        ],
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _cards(result: Transfer) -> list[tuple[str, str]]:
    cards = []
    for side in ("test", "validation"):
        if side in result.metrics:
            figures = result.metrics[side]
            cards.append(
                (
                    _percent(figures["accuracy"]),
                    f"of {figures['num_examples']:,} {side} photos are right; with 95 % confidence "
                    f"{_percent(figures['low'])} to {_percent(figures['high'])}",
                )
            )
    if "validation" in result.metrics:
        figures = result.metrics["validation"]
        cards.append((_percent(figures["calibration_error"]), "is the mean distance of its confidence from the truth"))
        if result.settings["mirror"]:
            other = "accuracy_without_mirroring", "right without the mirror image; the model averages both"
        else:
            other = "accuracy_with_mirroring", "right with the mean of a photo and its mirror image (--tta)"
        cards.append((_percent(figures[other[0]]), other[1]))
    cards.append((f"{result.seconds['in all'] / 60:.1f} min", "from the folder to this page"))
    return cards


def _verdict(result: Transfer) -> list[str]:
    lines = []
    frozen, tuning = result.metrics["frozen"], result.tuning
    if "validation" not in result.metrics:
        return ["There were no photos to keep back, so nothing is known of its quality: add photos."]
    if tuning is not None and tuning.kept:
        lines.append(
            f"Fine-tuning helped: {_percent(frozen['accuracy'])} with the network as it came, "
            f"{_percent(result.metrics['validation']['accuracy'])} after {tuning.kept} epochs."
        )
    elif tuning is not None and tuning.epochs:
        lines.append("Fine-tuning did not help: the network is used as it came, only its head is new.")
    lines.append(
        "The validation photos were not trained on, but they chose the epoch and the temperature, so their figures are "
        "a little too good. Photos in a folder named test are only counted."
    )
    return lines


def _matrix(counts: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    totals = np.maximum(counts.sum(axis=1), 1)
    return [
        {
            "name": name,
            "cells": [
                {"count": int(count) or "", "right": column == row, "shade": round(70 * int(count) / totals[row])}
                for column, count in enumerate(counts[row])
            ],
        }
        for row, name in enumerate(names)
    ]


def _pairs(counts: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, str, int]]:
    off = counts - np.diag(np.diag(counts))
    best = np.argsort(-off, axis=None, kind="stable")[:_PAIRS]
    found = [(int(index) // len(names), int(index) % len(names)) for index in best]
    return [(names[row], names[column], int(off[row, column])) for row, column in found if off[row, column]]


def _mistake(photo: Photo, names: tuple[str, ...], answer: int, confidence: float) -> dict[str, str]:
    return {
        "uri": _thumbnail(photo.path),
        "name": photo.path.name,
        "answer": names[answer],
        "confidence": _percent(confidence),
        "folder": names[photo.label],
    }


def _thumbnail(path: Path) -> str:
    """A small copy inside an address; an empty picture if the file has gone meanwhile."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.draft("RGB", (320, 320))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((240, 240))
    except OSError:
        small = Image.new("RGB", (8, 8), (128, 128, 128))
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _plots(result: Transfer) -> list[dict[str, str]]:
    plots = []
    if result.reliability["after"]:
        figure = Figure(figsize=(4.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.75", linewidth=1, label="as it should be")
        for name, colour in (("before", "#c9a227"), ("after", "#3a7ca5")):
            rows = result.reliability[name]
            axes.plot(
                [row["confidence"] for row in rows],
                [row["accuracy"] for row in rows],
                "o-",
                color=colour,
                markersize=4,
                label=f"{name} temperature scaling",
            )
        axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.04))
        axes.legend(frameon=False, fontsize=8)
        plots.append({"uri": _plot(figure), "text": f"Calibration; temperature {result.temperature:.2f}"})
    if result.tuning is not None and result.tuning.epochs:
        rows = result.tuning.epochs
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        epochs = [0, *(row["epoch"] for row in rows)]
        frozen = result.metrics["frozen"]
        axes.plot(epochs[1:], [row["loss"] for row in rows], color="#c9a227", label="training loss, distorted photos")
        losses = [frozen["loss"], *(row["validation_loss"] for row in rows)]
        axes.plot(epochs, losses, color="#3a7ca5", label="validation loss")
        axes.plot(result.tuning.kept, losses[result.tuning.kept], "o", color="#3a7ca5", label="kept")
        axes.set(xlabel="epoch of fine-tuning", ylabel="cross-entropy", ylim=(0, None))
        axes.legend(frameon=False, fontsize=8)
        plots.append({"uri": _plot(figure), "text": "Fine-tuning"})
    return plots


def _plot(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _facts(result: Transfer) -> list[tuple[str, str]]:
    photos, tuning = result.photos, result.tuning
    head = ", ".join(
        [result.probe["kind"].replace("_", " "), *(f"{k} = {v:g}" for k, v in result.probe.items() if k != "kind")]
    )
    counted = [(side, getattr(photos, side)) for side in ("train", "validation", "test")]
    facts = [
        ("photos", ", ".join(f"{len(rows):,} {side}" for side, rows in counted if rows)),
        ("head", head),
        ("class weights", _class_weights(result)),
        ("mirror image", "averaged with each photo, in the model" if result.settings["mirror"] else "not looked at"),
        ("fine-tuning", "not asked for" if tuning is None else _tuned(result)),
        ("temperature", f"{result.temperature:.3f}"),
    ]
    facts += [(name, f"{value:.1f} s") for name, value in result.seconds.items() if value >= 0.05]
    return facts


def _class_weights(result: Transfer) -> str:
    if result.settings["class_weights"] == "none":
        return "none: every photo counts the same"
    labels = np.array([photo.label for photo in result.photos.train], np.int64)
    weights = weights_of(labels, len(result.class_names))
    if np.ptp(weights) < 0.005:
        return "balanced; there are equally many photos of all classes"
    ends = int(weights.argmin()), int(weights.argmax())
    low, high = (f"{weights[end]:.2f} for a photo of {result.class_names[end]}" for end in ends)
    return f"balanced: every class counts the same, from {low} to {high}"


def _tuned(result: Transfer) -> str:
    tuning = result.tuning
    assert tuning is not None
    if not tuning.epochs:
        return tuning.note
    peaks = " and ".join(f"{peak:.1g}" for peak in tuning.peaks)
    kept = f"epoch {tuning.kept}" if tuning.kept else "none"
    early = "".join(
        f"; phase {phase} ended early, after {result.settings['patience']} epochs that were no better"
        for phase in tuning.stopped
    )
    return f"{len(tuning.epochs)} epochs, highest rates {peaks}; kept: {kept}{early}"

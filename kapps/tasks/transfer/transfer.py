"""`kapps.transfer`: a folder of photos by class -> a classifier of them, its report and its SavedModel.

folder of photos -> split, copies kept on one side            photos.py
-> features of a frozen, pre-trained network                  features.py
-> a head that is learned from these                          probes.py
-> the whole network fine-tuned, if that helps                tuning.py
-> a photo and its mirror image averaged, if asked for        here
-> calibrated probabilities                                   calibration.py
-> report.html, result.json and model/<version>/              report.py, kapps.exporting
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kapps
from kapps import catalog
from kapps.create import create_backbone
from kapps.data.preprocessing import Preprocessing
from kapps.errors import OutputError, RecipeError
from kapps.exporting.saved_model import export
from kapps.tasks.transfer import probes
from kapps.tasks.transfer.calibration import (
    expected_calibration_error,
    find_temperature,
    probabilities,
    reliability,
    wilson_interval,
)
from kapps.tasks.transfer.features import extract, pooled, stream
from kapps.tasks.transfer.photos import Photo, Photos, read_photos
from kapps.tasks.transfer.tuning import PATIENCE, Tuning, check_patience, fine_tune
from kapps.weights import sources

BACKBONE = "efficientnet_lite0"

CLASS_WEIGHTS = ("balanced", "none")

# Told how far the work is: (the step, how much of it is done, of how much; 0 where nobody knows). Every step is told at
# its beginning.
Progress = Callable[[str, int, int], None]

# What publishers do to an image, to try where weights come as a bare file.
_USUAL: dict[str, dict[str, Any]] = {
    "torchvision": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "Caffe": {"scale": 1.0, "mean": (104.0, 117.0, 123.0), "channel_order": "bgr"},
    "-1 to 1": {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    "0 to 1": {},
    "0 to 255": {"scale": 1.0},
}
_TRIED_ON = 200  # photos


@dataclass(frozen=True)
class Transfer:
    """What came out.

    Attributes:
        folder: holds `report.html`, `result.json` and `model/<version>/`.
        model: the version's folder, for `kapps.load`.
        class_names: sorted.
        photos: which were on which side.
        metrics: `validation` and, if there were photos, `test`: `accuracy`, its 95 % interval `low` and `high`, `loss`,
            `calibration_error`, `num_examples`, all of the exported model; beside them `accuracy_without_mirroring` and
            `accuracy_with_mirroring` (of the mean of a photo and its mirror image), one of which is `accuracy`; and
            `frozen`: the same of the validation photos before fine-tuning.
        probabilities: of the validation photos, [N, classes].
        probe: which head, with its tuned number.
        tuning: what fine-tuning did; None if it was not asked for.
        temperature: what the scores were divided by.
        reliability: rows of `kapps.tasks.transfer.calibration.reliability`, before and after the temperature.
        settings: what was asked for, and the preprocessing that was taken.
        seconds: what took how long, by step.
        notes: what was left out or decided, one line each.
    """

    folder: Path
    model: Path
    class_names: tuple[str, ...]
    photos: Photos
    metrics: dict[str, dict[str, Any]]
    probabilities: np.ndarray
    probe: dict[str, Any]
    tuning: Tuning | None
    temperature: float
    reliability: dict[str, list[dict[str, float]]]
    settings: dict[str, Any]
    seconds: dict[str, float]
    notes: tuple[str, ...] = field(default=())

    def confusion(self) -> np.ndarray:
        """How many validation photos of each class (row) got each answer (column): int [classes, classes]."""
        counts = np.zeros((len(self.class_names),) * 2, np.int64)
        for photo, likely in zip(self.photos.validation, self.probabilities, strict=True):
            counts[photo.label, likely.argmax()] += 1
        return counts

    def mistakes(self) -> list[tuple[Photo, int, float]]:
        """The validation photos that are answered wrongly, the answer and its probability; the surest first."""
        wrong = [
            (photo, int(likely.argmax()), float(likely.max()))
            for photo, likely in zip(self.photos.validation, self.probabilities, strict=True)
            if likely.argmax() != photo.label
        ]
        return sorted(wrong, key=lambda mistake: -mistake[2])


def transfer(
    folder: str | Path,
    *,
    backbone: str = BACKBONE,
    weights: str | Path = "imagenet",
    preprocessing: Preprocessing | None = None,
    head: str = "logistic_regression",
    tune: bool = True,
    minutes: float = 2.5,
    patience: int | None = PATIENCE,
    batch_norm: bool = False,
    class_weights: str = "balanced",
    mirror: bool = False,
    validation: float = 0.2,
    out: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    watch: Callable[[dict[str, float]], None] | None = None,
) -> Transfer:
    """Teach a pre-trained network the classes of a folder of photos.

    Args:
        folder: `folder/<class>/*.jpg`, or with `train` and `val` (and `test`) inside; see `photos.read_photos`.
        backbone: an architecture of the catalogue for images.
        weights: what it was trained on: `"imagenet"`, or whatever `kapps.create_model` takes.
        preprocessing: what these weights expect; None = as their publisher says, and where nobody does, that of the
            usual ones with which the head is learned best.
        head: `"logistic_regression"`, `"softmax"`, `"svm"` or `"nearest"`.
        tune: fine-tune the network, too, and keep that if the validation photos are answered better. Not for
            `"nearest"`, which keeps photos and no weights.
        minutes: how long fine-tuning may take, about.
        patience: a phase of fine-tuning ends early after so many epochs without a lower loss on the validation photos;
            None = never.
        batch_norm: let batch normalisations learn from these photos, too.
        class_weights: `"balanced"`: every class counts as much as any other, however many photos it has, for the head
            and for fine-tuning; `"none"`: every photo counts as much as any other. Nearest neighbours count photos.
        mirror: let the exported model answer with the mean score of a photo and its mirror image (test-time
            augmentation): often a little better, always twice the work. Not for what is read, such as digits.
        validation: the share kept back where the folder does not say.
        out: where report and model go; None = `runs/transfer/<folder's name>`. A new version if there is one.
        seed: of everything random.
        progress: called with (step, done, of how many).
        watch: called with the row of every epoch of fine-tuning, as `tuning.Tuning.epochs` holds it.

    Raises:
        DataError: the folder cannot be learned from; see `photos.read_photos`.
        UnknownNameError: no such backbone, weights, head or class weights.
        RecipeError: a backbone for other inputs than images, or an impossible patience.
        WeightsError, MissingExtraError: the weights cannot be had.
        OutputError: `out` holds other things, or cannot be written.
    """
    begun = time.monotonic()
    seconds: dict[str, float] = {}

    def step(name: str) -> Callable[[int, int], None]:
        """Ends the last step's time and begins another's."""
        seconds[name] = time.monotonic()
        if progress is not None and name:
            progress(name, 0, 0)
        return lambda done, of: progress(name, done, of) if progress is not None else None

    folder = Path(folder)
    out = Path(out) if out is not None else Path("runs") / "transfer" / folder.resolve().name
    _check_out(out)
    if head not in probes.PROBES:
        raise kapps.errors.UnknownNameError("head", head, probes.PROBES)
    if class_weights not in CLASS_WEIGHTS:
        raise kapps.errors.UnknownNameError("choice of class weights", class_weights, CLASS_WEIGHTS)
    check_patience(patience)
    entry = catalog.info(backbone)
    if len(entry.input_shape) != 3 or entry.input_shape[-1] != 3:
        raise RecipeError(f"expected a backbone for colour images, {backbone} takes {list(entry.input_shape)}")

    tell = step("reading the photos")
    read = 0

    def count(new: int) -> None:
        nonlocal read
        read += new
        tell(read, 0)

    photos = read_photos(folder, validation=validation, progress=count)
    notes = list(photos.notes)
    tell = step("loading the network")
    trunk, steps = _trunk(backbone, weights, preprocessing, photos, notes, seed)
    network = pooled(trunk)

    tell = step("computing features")
    parts = {"train": photos.train, "validation": photos.validation, "test": photos.test}
    everything = [photo for part in parts.values() for photo in part]
    done = 0

    def more(new: int) -> None:
        nonlocal done
        done += new
        tell(done, len(everything))

    rows = extract(network, everything, steps, progress=more)
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    features = dict(zip(parts, np.split(rows, ends), strict=True))
    labels = {name: np.array([photo.label for photo in part], np.int64) for name, part in parts.items()}

    step("learning the head")
    classes = len(photos.class_names)
    groups = np.array([photo.group for photo in photos.train])
    balanced = class_weights == "balanced"
    probe = probes.learn(head, features["train"], labels["train"], groups, classes, class_weights=balanced, seed=seed)
    model = _classifier(network, probe.layer)
    scores = {name: _view_scores(probe, part) for name, part in features.items()}
    metrics: dict[str, dict[str, Any]] = {"frozen": _figures(scores["validation"], labels["validation"], 1.0, mirror)}

    tuning = None
    if tune and head != "nearest":
        tell = step("fine-tuning")
        tuning = fine_tune(
            model,
            trunk,
            photos.train,
            photos.validation,
            steps,
            minutes=minutes,
            class_weights=probes.weights_of(labels["train"], classes) if balanced else np.ones(classes),
            patience=patience,
            seed=seed,
            batch_norm=batch_norm,
            progress=tell,
            watch=watch,
        )
        if tuning.note:
            notes.append(f"fine-tuning: {tuning.note}")
        if tuning.kept:
            scores = {name: _tuned_scores(model, part, steps) for name, part in parts.items()}

    step("calibrating")
    answers = {name: _exported(part, mirror) for name, part in scores.items()}
    temperature = find_temperature(answers["validation"], labels["validation"])
    if head == "nearest":
        temperature = 1.0  # its scores are logarithms of shares that were counted
    layer = model.get_layer("scores")
    if temperature != 1.0:
        layer.set_weights([weight / temperature for weight in layer.get_weights()])
    for name in ("validation", "test"):
        if parts[name]:
            metrics[name] = _figures(scores[name], labels[name], temperature, mirror)
    likely = probabilities(answers["validation"], temperature)
    curves = {
        "before": reliability(probabilities(answers["validation"]), labels["validation"]),
        "after": reliability(likely, labels["validation"]),
    }

    step("writing the model")
    settings: dict[str, Any] = {
        "folder": str(folder),
        "backbone": backbone,
        "weights": str(weights),
        "head": head,
        "tune": tune,
        "minutes": minutes,
        "patience": patience,
        "batch_norm": batch_norm,
        "class_weights": class_weights,
        "mirror": mirror,
        "validation": validation,
        "seed": seed,
    }
    settings |= {"command": _command(settings), "preprocessing": steps.to_dict()}
    version = export(
        _mirrored(model) if mirror else model,
        out / "model",
        preprocessing=steps,
        labels=photos.class_names,
        features=[name for name in trunk.output if len(trunk.output[name].shape) == 4],
        card=_card(folder, entry, weights, photos, metrics, settings),
    )
    step("")
    marks = [*seconds.values()]
    times = {name: end - start for name, start, end in zip(seconds, marks, marks[1:], strict=False)}
    result = Transfer(
        folder=out,
        model=version,
        class_names=photos.class_names,
        photos=photos,
        metrics=metrics,
        probabilities=likely,
        probe={"kind": probe.kind, **probe.chosen},
        tuning=tuning,
        temperature=temperature,
        reliability=curves,
        settings=settings,
        seconds={**times, "in all": time.monotonic() - begun},
        notes=tuple(notes),
    )
    from kapps.tasks.transfer.report import write_report  # Matplotlib and Jinja only where there is something to draw

    write_report(result)
    _write(out / "result.json", json.dumps(summary(result), indent=2, ensure_ascii=False) + "\n")
    return result


def summary(result: Transfer) -> dict[str, Any]:
    """The result as plain JSON, without the photos."""
    return {
        "model": str(result.model),
        "report": str(result.folder / "report.html"),
        "class_names": list(result.class_names),
        "photos": {side: len(getattr(result.photos, side)) for side in ("train", "validation", "test")},
        "metrics": result.metrics,
        "head": result.probe,
        "fine_tuning": dataclasses.asdict(result.tuning) if result.tuning else None,
        "confusion": result.confusion().tolist() if result.photos.validation else [],
        "mistakes": [
            {
                "file": str(photo.path),
                "folder": result.class_names[photo.label],
                "answer": result.class_names[answer],
                "confidence": confidence,
            }
            for photo, answer, confidence in result.mistakes()
        ],
        "temperature": result.temperature,
        "settings": result.settings,
        "seconds": {name: round(value, 2) for name, value in result.seconds.items()},
        "notes": list(result.notes),
    }


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "result.json").is_file())):
        raise OutputError(f"expected a new folder or one of an earlier transfer, but {out} holds other things")


def _trunk(
    backbone: str,
    weights: str | Path,
    preprocessing: Preprocessing | None,
    photos: Photos,
    notes: list[str],
    seed: int,
) -> tuple[keras.Model, Preprocessing]:
    """The frozen network with its named features, and the preprocessing that its weights expect."""
    if preprocessing is None and str(weights).startswith("imagenet"):
        preprocessing = Preprocessing(**sources.find(backbone, str(weights)).preprocessing)
    height, width = preprocessing.size if preprocessing else catalog.info(backbone).input_shape[:2]
    if height is None or width is None:
        raise RecipeError(f"{backbone} has no usual input size: give a preprocessing")
    trunk = create_backbone(backbone, input_shape=(height, width, 3), weights=weights)
    if preprocessing is None:
        preprocessing, name = _likeliest_preprocessing(trunk, (height, width), photos, seed)
        notes.append(f"what {weights} expects is not known; of the usual preprocessings {name!r} serves best")
    return trunk, preprocessing


def _likeliest_preprocessing(
    trunk: keras.Model, size: tuple[int, int], photos: Photos, seed: int
) -> tuple[Preprocessing, str]:
    """Of the usual ones that with which a head learns best: the network then sees what it was trained on."""
    order = np.random.default_rng(seed).permutation(len(photos.train))[:_TRIED_ON]
    some = [photos.train[index] for index in order]
    network = pooled(trunk)
    labels = np.array([photo.label for photo in some])
    names = np.unique(labels)
    losses = {}
    for name, numbers in _USUAL.items():
        steps = Preprocessing(size=size, fit="crop", crop_ratio=0.875, **numbers)
        rows = extract(network, some, steps, mirrored=False)[:, 0]
        losses[name] = _held_out_loss(rows, np.searchsorted(names, labels), seed)
    best = min(losses, key=losses.__getitem__)
    return Preprocessing(size=size, fit="crop", crop_ratio=0.875, **_USUAL[best]), best


def _held_out_loss(features: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Of a nearest-centroid classifier: each photo against the means of the others."""
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    classes = labels.max() + 1
    sums = np.stack([features[labels == label].sum(axis=0) for label in range(classes)])
    counts = np.bincount(labels)
    wrong = 0
    for row, label in zip(features, labels, strict=True):
        means = sums / counts[:, None]
        if counts[label] > 1:
            means[label] = (sums[label] - row) / (counts[label] - 1)
        wrong += int((means / np.linalg.norm(means, axis=1, keepdims=True) @ row).argmax() != label)
    return wrong / len(labels)


def _classifier(network: keras.Model, layer: keras.layers.Layer) -> keras.Model:
    """Image -> probabilities, of layers that the card and the explanations know by name."""
    scores = layer(network.output)
    probability = keras.layers.Activation("softmax", dtype="float32", name="predictions")(scores)
    return keras.Model(network.input, probability, name=network.name)


def _mirrored(model: keras.Model) -> keras.Model:
    """The same classifier, answering with the mean score of an image and its mirror image.

    Every layer is called twice, first with the image itself. So the weights are there once, and a named feature, which
    is a layer's first output, is still that of the image.
    """
    scores = keras.Model(model.input, model.get_layer("scores").output)
    other = scores.call(keras.ops.flip(model.input, axis=2))  # `call`: layer by layer, not as a model inside the model
    mean = keras.layers.Average(name="both_views")([scores.output, other])
    probability = keras.layers.Activation("softmax", dtype="float32", name="predictions")(mean)
    return keras.Model(model.input, probability, name=model.name)


def _exported(scores: np.ndarray, mirror: bool) -> np.ndarray:
    """The scores that the exported model gives: of [N, V, classes], whose first view is the photo itself, [N, classes].

    Scores are averaged, not probabilities: the model then still ends in a softmax, which the temperature scales and
    what explains it looks behind.
    """
    return scores.mean(axis=1) if mirror else scores[:, 0]


def _view_scores(probe: probes.Probe, features: np.ndarray) -> np.ndarray:
    """[N, V, D] -> [N, V, classes]."""
    count, views, size = features.shape
    if not count:
        return np.zeros((0, views, 1), np.float32)
    return probe.scores(features.reshape(-1, size)).reshape(count, views, -1)


def _tuned_scores(model: keras.Model, photos: Sequence[Photo], preprocessing: Preprocessing) -> np.ndarray:
    """[N, V, classes] of the whole network."""
    if not photos:
        return np.zeros((0, 2, 1), np.float32)
    scores = keras.Model(model.input, model.get_layer("scores").output)
    rows = [
        np.stack([scores(view, training=False).numpy() for view in (images, images[:, :, ::-1])], axis=1)
        for images in stream(photos, preprocessing, 32)
    ]
    return np.concatenate(rows)


def _figures(scores: np.ndarray, labels: np.ndarray, temperature: float, mirror: bool) -> dict[str, Any]:
    """What is reported of one side; scores [N, V, classes], the first view is the photo itself."""
    if not len(labels):
        return {"num_examples": 0}
    likely = probabilities(_exported(scores, mirror), temperature)
    right = int((likely.argmax(axis=1) == labels).sum())
    low, high = wilson_interval(right, len(labels))
    return {
        "accuracy": right / len(labels),
        "low": low,
        "high": high,
        "loss": float(-np.log(np.clip(likely[np.arange(len(labels)), labels], 1e-7, None)).mean()),
        "calibration_error": expected_calibration_error(likely, labels),
        "accuracy_without_mirroring": float((_exported(scores, False).argmax(axis=1) == labels).mean()),
        "accuracy_with_mirroring": float((_exported(scores, True).argmax(axis=1) == labels).mean()),
        "num_examples": len(labels),
    }


def _command(settings: dict[str, Any]) -> str:
    """The command that does the same again; what is as it is by default is not said."""
    words = ["kapps", "transfer", settings["folder"]]
    for name in ("backbone", "weights", "head"):
        words += [f"--{name}", settings[name]]
    defaults = inspect.signature(transfer).parameters
    changed = {name: value for name, value in settings.items() if value != defaults[name].default}
    for name, flag in (("tune", "--no-fine-tune"), ("batch_norm", "--batch-norm"), ("mirror", "--tta")):
        words += [flag] if name in changed else []
    for name in ("minutes", "patience", "class_weights", "validation"):
        words += [f"--{name.replace('_', '-')}", str(changed[name] or 0)] if name in changed else []
    return shlex.join([*words, "--seed", str(settings["seed"])])


def _card(
    folder: Path,
    entry: catalog.Entry,
    weights: str | Path,
    photos: Photos,
    metrics: dict[str, dict[str, Any]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    side = "test" if "test" in metrics else "validation"
    licence = "not stated"
    if str(weights).startswith("imagenet"):
        licence = sources.find(entry.name, str(weights)).licence
    card: dict[str, Any] = {
        "title": f"{entry.title} taught {len(photos.class_names)} classes of {folder.resolve().name}",
        "architecture": entry.name,
        "task": "classification",
        "paper": entry.paper,
        "licence": licence,
        "data": f"{len(photos.train)} photos of {folder.resolve().name}, on top of {weights}",
        "data_licence": "the user's own",
        "command": settings["command"],
        "limits": ["It knows these classes and nothing else: whatever it is shown, it names one of them."],
    }
    if settings["mirror"]:
        card["limits"].append(
            "Every answer is the mean of an image and its mirror image, in the graph: it cannot tell left from right, "
            "and takes twice the time. Its features and what Grad-CAM shows are those of the image itself."
        )
    if side in metrics:
        shown = metrics[side]
        measured_on = f"{shown['num_examples']} {side} photos"
        card["metrics"] = {
            "accuracy": {"value": shown["accuracy"], "data": measured_on},
            "expected calibration error": {"value": shown["calibration_error"], "data": measured_on},
        }
    return card


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): give another folder") from error

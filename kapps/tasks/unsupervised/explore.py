"""To look into what learned without labels: its filters, what it makes of noise, its dreams, its map, its neighbours.

    found = shipped(Path("saved_models"))[0]
    learner = load(found)
    seen = examples(learner, 1000)
    sheet = grid(filters(learner), low=-1, high=1)
    frames = chain(learner, seen.data[:16], steps=50)
    places, distances = nearest(learner.transform(seen.data), learner.transform(drawn(learner, png)), 10)

Pictures are float32 [N, h, w, c]; data is as the learner takes it, [N, *data_shape].
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kapps import catalog
from kapps.errors import DataError, KappsError
from kapps.exporting.card import Card

if TYPE_CHECKING:
    from kapps.architectures.unsupervised.feature_learner import FeatureLearner

# A digit fills 20 of 28 pixels, as in MNIST.
_BOX_PART = 20 / 28

# Patches are no larger; what is larger shows whole things.
_LARGEST_PATCH = 16


# --- what there is


@dataclass(frozen=True)
class Shipped:
    """An exported learner.

    Attributes:
        name: of its folder.
        title: of its card.
        architecture: the catalogue's name.
        file: the `.keras` file that holds it.
    """

    name: str
    title: str
    architecture: str
    file: Path


def shipped(folder: Path) -> list[Shipped]:
    """The learners among the exported models of a folder, by name; a damaged card is left out."""
    known, found = set(catalog.list_learners()), []
    for path in sorted(folder.glob("*/card.json")):
        try:
            card = Card.read(path)
        except KappsError:
            continue
        file = path.parent / str(card.version) / "model.keras"
        if card.architecture in known and file.is_file():
            found.append(Shipped(card.name, card.title, card.architecture, file))
    return found


def load(found: Shipped) -> FeatureLearner:
    """The learner itself.

    Raises:
        WeightsError: the file is damaged.
    """
    from kapps.create import load_learner  # only now: TensorFlow takes seconds

    return load_learner(found.file)


def recorded() -> list[dict[str, Any]]:
    """What the experiments without labels measured, each as its `results.json` has it, by name."""
    files = [
        entry for entry in resources.files("kapps.tasks.unsupervised").iterdir() if entry.name.endswith(".results.json")
    ]
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(files, key=lambda file: file.name)]


# --- pictures


def picture_shape(learner: FeatureLearner) -> tuple[int, int, int]:
    """(height, width, channels) of the learner's data.

    Raises:
        DataError: its data is no picture.
    """
    shape = learner.data_shape
    if len(shape) == 3 and shape[-1] in (1, 3):
        return shape
    if len(shape) == 2:
        return (*shape, 1)
    side = math.isqrt(shape[0])
    if len(shape) == 1 and side**2 == shape[0]:
        return (side, side, 1)
    raise DataError(
        f"{learner.name}: expected pictures as data, [h, w, 1 or 3] or a square in a row, got {list(shape)}: "
        "look at its codes instead"
    )


def layers_of(learner: FeatureLearner) -> list[str]:
    """The layers whose filters can be told apart: of a stack of machines its first and its top one; else none."""
    return ["first layer", "top layer"] if _is_stack(learner) and len(learner.rbms) > 1 else []


def filters(learner: FeatureLearner, most: int = 100, *, layer: str | None = None) -> np.ndarray:
    """What the units look for, as pictures from -1 to 1, 0 in the middle: float32 [n, h, w, c], the strongest first.

    Args:
        most: how many at most.
        layer: one of `layers_of(learner)`, where it has some; None = the first. What a top layer looks for is seen
            through the layers below it.

    Raises:
        DataError: the learner's filters are no pictures.
    """
    source = learner.rbms[0] if layers_of(learner) and layer in (None, "first layer") else learner
    try:
        components = np.asarray(source.components_, np.float32)
    except NotImplementedError:
        raise DataError(f"{learner.name} has no filters that could be shown: look at its codes instead") from None
    shape = picture_shape(learner) if components.ndim == 2 else components.shape[1:]
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or math.prod(shape) * len(components) != components.size:
        raise DataError(f"{learner.name}: expected filters [K, h, w, c], got {list(components.shape)}")
    if shape[-1] not in (1, 3):  # of maps, not of pixels: their mean is shown
        components, shape = components.reshape(-1, *shape).mean(axis=-1), (*shape[:2], 1)
    rows = components.reshape(len(components), -1)
    order = np.argsort(-np.linalg.norm(rows, axis=1), kind="stable")[:most]
    rows = rows[order]
    largest = np.abs(rows).max(axis=1, keepdims=True)
    return (rows / np.maximum(largest, 1e-12)).reshape(-1, *shape)


def grid(
    pictures: np.ndarray, *, low: float = 0.0, high: float = 1.0, columns: int | None = None, gap: int = 1
) -> np.ndarray:
    """Pictures side by side on a transparent ground.

    Args:
        pictures: [n, h, w, 1 or 3].
        low, high: the values that are black and white; what lies outside is cut off.
        columns: in a row; as many as make a square where none are given.
        gap: pixels between two.

    Returns:
        uint8 [rows (h + gap) - gap, columns (w + gap) - gap, 4].
    """
    count, height, width, _ = pictures.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    share = np.clip((pictures - low) / (high - low), 0, 1)
    pixels = np.broadcast_to((255 * share).round().astype(np.uint8), (count, height, width, 3))
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for index in range(count):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width, :3] = pixels[index]
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


def as_pictures(learner: FeatureLearner, data: np.ndarray) -> np.ndarray:
    """Data [N, *data_shape] as pictures [N, h, w, c], 0 to 1 where the learner's data is, else scaled to that."""
    pictures = np.asarray(data, np.float32).reshape(-1, *picture_shape(learner))
    if shows_patches(learner):
        largest = np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
        return 0.5 + 0.5 * pictures / np.maximum(largest, 1e-12)
    return np.clip(pictures, 0, 1)


# --- data to look at


@dataclass(frozen=True, eq=False)
class Examples:
    """Data for a learner.

    Attributes:
        data: float32 [N, *data_shape].
        labels: int64 [N]; None where nothing is to be read.
        source: what it is, in words.
    """

    data: np.ndarray
    labels: np.ndarray | None
    source: str


def shows_patches(learner: FeatureLearner) -> bool:
    """Whether it is one for whitened patches: small grey pictures that need not lie in [0, 1]."""
    height, width, channels = picture_shape(learner)
    return not learner.bounded and channels == 1 and max(height, width) <= _LARGEST_PATCH


def examples(learner: FeatureLearner, count: int, *, seed: int = 0, data_dir: str | Path | None = None) -> Examples:
    """Data of the learner's kind: whitened patches, pieces of photographs for one of colours, else digits.

    Args:
        count: how many at most.
        seed: which ones.
        data_dir: where TensorFlow Datasets keeps MNIST; None is `$KAPPS_DATA_DIR`, else `~/tensorflow_datasets`.
            Where it is not there, the digits are scikit-learn's scans, brought into MNIST's form.

    Raises:
        DataError: the learner's data is no picture.
    """
    height, width, channels = picture_shape(learner)
    rng = np.random.default_rng(seed)
    labels = None
    if shows_patches(learner) and height == width:
        from kapps.data.patches import natural_patches

        pictures = natural_patches(height, count, seed=seed)
        source = "whitened patches of two photographs"
    elif channels == 3:
        pictures = _pieces(height, width, count, rng)
        source = "pieces of two photographs"
    else:
        pictures, labels, source = _digits(height, width, count, rng, data_dir)
    return Examples(pictures.reshape(-1, *learner.data_shape), labels, source)


def drawn(learner: FeatureLearner, image: bytes) -> np.ndarray:
    """A drawn or photographed digit as the learner's data, float32 [1, *data_shape], size-normalised.

    Args:
        image: an encoded picture, ink and paper of any brightness.

    Raises:
        ImageError: it is no picture that can be read rightly.
        DataError: the learner is not one for digits, or nothing can be seen in the picture.
    """
    from kapps.data.images import read_image  # only now: TensorFlow takes seconds
    from kapps.data.preprocessing import Preprocessing

    height, width, channels = picture_shape(learner)
    if channels != 1 or shows_patches(learner):
        raise DataError(f"{learner.name}: expected a learner of digits for a drawn one: choose another learner")
    steps = Preprocessing(size=(height, width), channels=1, fit="digit")
    digit = steps(read_image(image)).numpy()
    if not np.ptp(digit):
        raise DataError("expected ink on paper, got a picture of one colour: draw a digit")
    return digit.reshape(1, *learner.data_shape)


def noisy(learner: FeatureLearner, data: np.ndarray, level: float, *, seed: int = 0) -> np.ndarray:
    """Data with noise: pixels that become black or white, each with probability `level` (salt and pepper).

    Of patches, which have no black and no white: a normal number is added, `level` deviations of the data wide.
    """
    rng = np.random.default_rng(seed)
    if shows_patches(learner):
        return (data + level * data.std() * rng.normal(size=data.shape)).astype(np.float32)
    chosen = rng.random(data.shape) < level
    return np.where(chosen, rng.integers(0, 2, data.shape), data).astype(np.float32)


# --- what a learner does


def reconstruct(learner: FeatureLearner, data: np.ndarray) -> np.ndarray:
    """What comes back from the codes of data, [N, *data_shape]."""
    return learner.inverse_transform(learner.transform(data))


def classes(learner: FeatureLearner) -> int:
    """How many classes it can be asked to dream of; 0 where it knows none."""
    return int(getattr(learner.config, "classes", 0)) if hasattr(learner, "generate") else 0


def dream(learner: FeatureLearner, label: int, count: int, steps: int) -> np.ndarray:
    """Examples of a class, made up by Gibbs sampling with its label held: [count, *data_shape].

    Raises:
        DataError: the learner knows no such class.
    """
    known = classes(learner)
    if not known:
        raise DataError(f"{learner.name} knows no classes: choose a learner that has units for labels")
    if not 0 <= label < known:
        raise DataError(f"{learner.name}: expected a class from 0 to {known - 1}, got {label}")
    return np.asarray(learner.generate(label, count, steps))


def has_chains(learner: FeatureLearner) -> bool:
    """Whether it has Gibbs chains: a Boltzmann machine, or a stack of them."""
    return hasattr(learner, "gibbs") or _is_stack(learner)


def chain(learner: FeatureLearner, start: np.ndarray, steps: int) -> np.ndarray:
    """Gibbs chains, step by step: [steps + 1, N, *data_shape]; the first is where they start.

    Those of a stack run in its topmost machine, as its model says; every step goes down to the data by means.

    Raises:
        DataError: the learner is no Boltzmann machine.
    """
    if not has_chains(learner):
        raise DataError(f"{learner.name} is no Boltzmann machine and has no chains: choose another learner")
    frames = [np.asarray(start, np.float32)]
    if hasattr(learner, "gibbs"):
        for _ in range(steps):
            frames.append(np.asarray(learner.gibbs(frames[-1], 1)))
        return np.stack(frames)
    top, below = learner.rbms[-1], len(learner.rbms) - 1
    units = learner.up(frames[0], below)
    labels = top.n_features_in_ - units.shape[1]  # off at first; then whatever the chain says
    state = np.pad(units, ((0, 0), (0, labels)))
    for _ in range(steps):
        state = top.gibbs_step(state)
        frames.append(learner.down(state[:, : units.shape[1]]).numpy())
    return np.stack(frames)


def _is_stack(learner: FeatureLearner) -> bool:
    return hasattr(learner, "rbms") and hasattr(learner, "up")


def sheet_of_codes(learner: FeatureLearner, codes: np.ndarray, side: int = 15) -> np.ndarray:
    """What lies where on a map of two numbers: pictures [side * side, h, w, c], row after row from the top.

    Args:
        codes: of examples, [N, 2]; the places lie evenly between their 2nd and 98th percentile.

    Raises:
        DataError: the codes have not two numbers.
    """
    if codes.ndim != 2 or codes.shape[1] != 2:
        raise DataError(f"{learner.name}: expected codes of two numbers for a map, got {list(codes.shape[1:])}")
    low, high = np.percentile(codes, [2, 98], axis=0)
    x, y = np.meshgrid(np.linspace(low[0], high[0], side), np.linspace(high[1], low[1], side))
    places = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    return as_pictures(learner, learner.inverse_transform(places))


def nearest(codes: np.ndarray, code: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of the codes that are nearest to one, and their Euclidean distances, nearest first.

    Args:
        codes: [N, ...].
        code: [...] or [1, ...].
        count: how many.
    """
    differences = codes.reshape(len(codes), -1) - code.reshape(1, -1)
    distances = np.sqrt(np.square(differences).sum(axis=1))
    places = np.argsort(distances, kind="stable")[:count]
    return places, distances[places]


# --- where digits come from


def _digits(
    height: int, width: int, count: int, rng: np.random.Generator, data_dir: str | Path | None
) -> tuple[np.ndarray, np.ndarray, str]:
    folder = Path(data_dir or os.environ.get("KAPPS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()
    if (folder / "mnist").is_dir():
        from kapps.data import load as load_data
        from kapps.data.preprocessing import Preprocessing

        data = load_data("mnist", "test", data_dir=folder)
        steps = Preprocessing(size=(height, width), channels=1)
        parts = list(data.batches(1000, preprocessing=steps).as_numpy_iterator())
        images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        source = "MNIST's test digits"
    else:
        from kapps.data.digits import digit_images

        scans, labels = digit_images()
        images = in_mnist_form(scans[..., 0] / np.float32(255), height, width)
        source = "scikit-learn's scanned digits" + ("" if scans.shape[1:3] == (height, width) else ", enlarged")
    order = rng.permutation(len(images))[:count]
    return images[order], labels[order], source


def in_mnist_form(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Tightly cut digits [N, h, w], 0 to 1, as MNIST has them: [N, height, width, 1], centred by mass, with a border.

    Images that have that size already stay as they are.
    """
    if images.shape[1:] == (height, width):
        return images[..., np.newaxis].astype(np.float32)
    import tensorflow as tf

    box = round(_BOX_PART * height), round(_BOX_PART * width)
    digits = np.clip(tf.image.resize(images[..., np.newaxis], box, "bicubic", antialias=True).numpy()[..., 0], 0, 1)
    digits /= np.maximum(digits.max(axis=(1, 2), keepdims=True), 1e-6)
    placed = np.zeros((len(digits), height, width, 1), np.float32)
    rows, columns = np.arange(box[0]), np.arange(box[1])
    mass = np.maximum(digits.sum(axis=(1, 2)), 1e-6)
    middles = (digits.sum(axis=2) @ rows) / mass, (digits.sum(axis=1) @ columns) / mass
    tops, lefts = (
        np.clip(np.round(side / 2 - middle), 0, side - inner).astype(int)
        for side, middle, inner in zip((height, width), middles, box, strict=True)
    )
    for digit, target, top, left in zip(digits, placed, tops, lefts, strict=True):
        target[top : top + box[0], left : left + box[1], 0] = digit
    return placed


def _pieces(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Pieces of scikit-learn's photographs, [count, height, width, 3], 0 to 1."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    pieces = np.empty((count, height, width, 3), np.float32)
    for piece in pieces:
        photograph = photographs[int(rng.integers(len(photographs)))]
        top = int(rng.integers(photograph.shape[0] - height + 1))
        left = int(rng.integers(photograph.shape[1] - width + 1))
        piece[:] = photograph[top : top + height, left : left + width] / np.float32(255)
    return pieces

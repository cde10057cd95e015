"""Generated scenes: shapes and handwritten digits in named colours and sizes on textured backgrounds.

Everything about a scene is known exactly: boxes, masks, what hides what, a caption, questions with answers. Scene
number i of a seed is a function of (seed, i) alone, so any scene is made at once, wherever a run starts or however it
is divided.

The digits are scikit-learn's 8x8 scans, enlarged. Shapes are drawn four times too large and averaged down, so edges are
anti-aliased; a pixel belongs to a mask if at least half of it is covered and nothing nearer hides it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from kapps.data.boxes import BoxDataset
from kapps.data.dataset import Dataset
from kapps.data.digits import digit_images
from kapps.data.splits import split_slices
from kapps.errors import DataError, OutputError

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "crescent")
CLASS_NAMES = (*SHAPES, *"0123456789")
COLOURS = {
    "red": (205, 30, 35),
    "orange": (240, 130, 20),
    "yellow": (245, 215, 30),
    "green": (35, 150, 60),
    "cyan": (30, 195, 205),
    "blue": (35, 70, 200),
    "purple": (125, 45, 165),
    "pink": (240, 120, 180),
}
# Diameters as parts of the image's shorter side; the gaps between them keep the words true.
SIZES = {"small": (0.14, 0.2), "medium": (0.24, 0.32), "large": (0.38, 0.5)}
BACKGROUNDS = ("plain", "noisy", "graded", "striped", "chequered", "cloudy")

# The built-in classification set: one object in every image; the splits are ranges of scene numbers.
SPLIT_SIZES = {"train": 10_000, "validation": 2_000, "test": 2_000}
SPLIT_IMAGE_SIZE = (64, 64)

# The built-in segmentation set: the scenes of another seed, with up to five objects.
MASK_SPLIT_SIZES = {"train": 10_000, "validation": 1_000, "test": 1_000}
MASK_CLASS_NAMES = (*CLASS_NAMES, "background")
_MASK_SEED = 1

# The built-in detection set: the scenes of a third seed, larger, also empty ones.
BOX_SPLIT_SIZES = {"train": 10_000, "validation": 1_000, "test": 1_000}
BOX_IMAGE_SIZE = (128, 128)
_BOX_SEED = 2

_SUPERSAMPLING = 4
_MIN_DIAMETER = 6
_MIN_VISIBLE = 0.4  # no object is hidden further than that
_PLACING_TRIES = 20


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        name: a shape or a digit, one of `CLASS_NAMES`.
        colour: one of `COLOURS`.
        size: one of `SIZES`.
        centre: (x, y) of the whole object in pixels.
        box: (x1, y1, x2, y2) of what can be seen of it, in pixels, "xyxy"; the edges of its outermost pixels.
        visible: which part of its pixels is not hidden by nearer objects, over 0 to 1.
    """

    name: str
    colour: str
    size: str
    centre: tuple[float, float]
    box: tuple[float, float, float, float]
    visible: float

    @property
    def class_id(self) -> int:
        return CLASS_NAMES.index(self.name)

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.name}"


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene with everything that is known about it.

    Attributes:
        image: uint8 `[H, W, 3]`.
        objects: from the farthest to the nearest.
        masks: bool `[n, H, W]`, what can be seen of each object; no two overlap.
        background: one of `BACKGROUNDS`.
        caption: an English sentence without full stop.
        questions: (question, answer) pairs about counts, colours, shapes, existence and position. "yes" and "no" are
            equally likely.
    """

    image: np.ndarray
    objects: tuple[SceneObject, ...]
    masks: np.ndarray
    background: str
    caption: str
    questions: tuple[tuple[str, str], ...]

    @property
    def boxes(self) -> np.ndarray:
        """float32 `[n, 4]`, "xyxy" in pixels."""
        return np.array([thing.box for thing in self.objects], np.float32).reshape(-1, 4)

    @property
    def labels(self) -> np.ndarray:
        """int64 `[n]`, indices into `CLASS_NAMES`."""
        return np.array([thing.class_id for thing in self.objects], np.int64)

    @property
    def visible(self) -> np.ndarray:
        """float32 `[n]`, the visible part of each object."""
        return np.array([thing.visible for thing in self.objects], np.float32)


def make_scene(
    seed: int, index: int, size: tuple[int, int] = (128, 128), *, num_objects: tuple[int, int] = (1, 5)
) -> Scene:
    """Scene number `index` of a seed.

    Args:
        seed: at least 0.
        index: at least 0.
        size: (height, width), each 32 to 4096.
        num_objects: fewest and most objects, every number equally likely; (0, 5) also gives empty scenes. Where there
            is no room left for another object that hides nothing too far, there are fewer.

    Raises:
        DataError: a number outside its range.
    """
    _check_arguments(seed, size, num_objects)
    if index < 0:
        raise DataError(f"expected a scene number from 0, got {index}")
    rng = np.random.default_rng((seed, index))
    height, width = size
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    canvas = _draw_background(rng, background, height, width)

    wholes: list[np.ndarray] = []  # every object's whole mask
    masks: list[np.ndarray] = []  # what nearer objects leave of it
    things: list[tuple[str, str, str, tuple[float, float]]] = []
    for _ in range(rng.integers(num_objects[0], num_objects[1] + 1)):
        for _ in range(_PLACING_TRIES):
            name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
            colour = list(COLOURS)[rng.integers(len(COLOURS))]
            size_name = list(SIZES)[rng.integers(len(SIZES))]
            diameter = max(rng.uniform(*SIZES[size_name]) * min(height, width), _MIN_DIAMETER)
            radius = diameter / 2
            centre = (rng.uniform(radius + 1, width - radius - 1), rng.uniform(radius + 1, height - radius - 1))
            rows, columns, cover = _draw_object(rng, name, centre, radius)
            whole = np.zeros((height, width), bool)
            whole[rows, columns] = cover >= 0.5
            left = [mask & ~whole for mask in masks]
            if whole.any() and all(
                np.count_nonzero(seen) >= _MIN_VISIBLE * np.count_nonzero(all_of_it)
                for seen, all_of_it in zip(left, wholes, strict=True)
            ):
                break
        else:
            break  # the image is full
        shade = np.clip(np.array(COLOURS[colour], np.float32) + rng.uniform(-12, 12, 3), 0, 255).astype(np.float32)
        patch = canvas[rows, columns]
        patch += cover[..., np.newaxis] * (shade - patch)
        wholes.append(whole)
        masks = [*left, whole]
        things.append((name, colour, size_name, centre))

    objects = tuple(
        SceneObject(*thing, box=_extent(mask), visible=np.count_nonzero(mask) / np.count_nonzero(whole))
        for thing, mask, whole in zip(things, masks, wholes, strict=True)
    )
    return Scene(
        image=np.clip(np.rint(canvas), 0, 255).astype(np.uint8),
        objects=objects,
        masks=np.array(masks, bool).reshape(-1, height, width),
        background=background,
        caption=_caption(rng, objects, background),
        questions=_questions(rng, objects),
    )


def load_split(split: str = "train") -> Dataset:
    """Scenes with exactly one object as a classification set: image uint8 `[64, 64, 3]`, label = index of
    `CLASS_NAMES`.

    Raises:
        DataError: not one of the splits `SPLIT_SIZES` nor a slice of one.
    """
    indices = _split_indices(split, SPLIT_SIZES, "scenes")

    def draw(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scene = make_scene(0, int(index), SPLIT_IMAGE_SIZE, num_objects=(1, 1))
        return scene.image, scene.labels[0]

    def decode(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(draw, [index], (tf.uint8, tf.int64), stateful=False)
        return tf.ensure_shape(image, (*SPLIT_IMAGE_SIZE, 3)), tf.ensure_shape(label, ())

    return Dataset(
        records=tf.data.Dataset.from_tensor_slices(indices.astype(np.int64)),
        decode=decode,
        num_examples=len(indices),
        input_shape=(*SPLIT_IMAGE_SIZE, 3),
        class_names=CLASS_NAMES,
        name="scenes",
        split=split,
        source="generated scenes (kapps.data.scenes, seed 0)",
        licence="generated; the digits in it CC BY 4.0, UCI Machine Learning Repository",
    )


def load_masks(split: str = "train") -> Dataset:
    """Scenes of up to five objects as a segmentation set: image uint8 `[64, 64, 3]`, label int64 `[64, 64]`, for each
    pixel the index of `MASK_CLASS_NAMES`, whose last is the background.

    Raises:
        DataError: not one of the splits `MASK_SPLIT_SIZES` nor a slice of one.
    """
    indices = _split_indices(split, MASK_SPLIT_SIZES, "scene_masks")

    def draw(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scene = make_scene(_MASK_SEED, int(index), SPLIT_IMAGE_SIZE, num_objects=(1, 5))
        return scene.image, label_map(scene)

    def decode(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(draw, [index], (tf.uint8, tf.int64), stateful=False)
        return tf.ensure_shape(image, (*SPLIT_IMAGE_SIZE, 3)), tf.ensure_shape(label, SPLIT_IMAGE_SIZE)

    return Dataset(
        records=tf.data.Dataset.from_tensor_slices(indices.astype(np.int64)),
        decode=decode,
        num_examples=len(indices),
        input_shape=(*SPLIT_IMAGE_SIZE, 3),
        class_names=MASK_CLASS_NAMES,
        name="scene_masks",
        split=split,
        source=f"generated scenes (kapps.data.scenes, seed {_MASK_SEED})",
        licence="generated; the digits in it CC BY 4.0, UCI Machine Learning Repository",
    )


def load_boxes(split: str = "train") -> BoxDataset:
    """Scenes of up to five objects as a detection set: image uint8 `[128, 128, 3]` and the targets of
    `kapps.data.boxes`, classes = indices of `CLASS_NAMES`, areas = the pixels that are seen of each object. About one
    image in six is without objects.

    Raises:
        DataError: not one of the splits `BOX_SPLIT_SIZES` nor a slice of one.
    """
    indices = _split_indices(split, BOX_SPLIT_SIZES, "scene_boxes")

    def draw(index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        scene = make_scene(_BOX_SEED, int(index), BOX_IMAGE_SIZE, num_objects=(0, 5))
        return scene.image, scene.boxes, scene.labels.astype(np.int32), scene.masks.sum((1, 2)).astype(np.float32)

    def decode(index: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        types = (tf.uint8, tf.float32, tf.int32, tf.float32)
        image, boxes, classes, areas = tf.numpy_function(draw, [index], types, stateful=False)
        classes = tf.ensure_shape(classes, (None,))
        no = tf.zeros_like(classes, tf.bool)
        targets = {
            "boxes": tf.ensure_shape(boxes, (None, 4)),
            "classes": classes,
            "crowd": no,
            "difficult": no,
            "areas": tf.ensure_shape(areas, (None,)),
        }
        return tf.ensure_shape(image, (*BOX_IMAGE_SIZE, 3)), targets

    return BoxDataset(
        records=tf.data.Dataset.from_tensor_slices(indices.astype(np.int64)),
        decode=decode,
        num_examples=len(indices),
        class_names=CLASS_NAMES,
        name="scene_boxes",
        split=split,
        source=f"generated scenes (kapps.data.scenes, seed {_BOX_SEED})",
        licence="generated; the digits in it CC BY 4.0, UCI Machine Learning Repository",
    )


def label_map(scene: Scene) -> np.ndarray:
    """int64 `[H, W]`: for each pixel the index of its class in `MASK_CLASS_NAMES`."""
    labels = np.full(scene.image.shape[:2], len(CLASS_NAMES), np.int64)
    for mask, label in zip(scene.masks, scene.labels, strict=True):
        labels[mask] = label
    return labels


def _split_indices(split: str, sizes: dict[str, int], name: str) -> np.ndarray:
    """The scene numbers of a split; the splits follow each other."""
    first = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    return np.concatenate(
        [first[part] + np.arange(sizes[part])[rows] for part, rows in split_slices(split, sizes, name)]
    )


def scene_dataset(
    seed: int = 0,
    *,
    size: tuple[int, int] = (128, 128),
    num_objects: tuple[int, int] = (0, 5),
    start: int = 0,
    count: int | None = None,
) -> tf.data.Dataset:
    """Scenes `start`, `start + 1`, ... as a stream of dictionaries; nothing is kept in memory.

    `image` uint8 `[H, W, 3]`, `boxes` float32 `[n, 4]` ("xyxy", pixels), `labels` int64 `[n]`, `masks` bool `[n, H,
    W]`, `visible` float32 `[n]`, `caption` string, `questions` and `answers` string `[q]`, `index` int64.
    As n and q vary, batch with `.ragged_batch(b)` or `.padded_batch(b)`.

    Args:
        seed: at least 0.
        size: (height, width) of the images.
        num_objects: fewest and most objects in a scene.
        start: the number of the first scene; another part of the same stream for another worker or a resumed run.
        count: how many scenes; None never ends.

    Raises:
        DataError: a number outside its range.
    """
    _check_arguments(seed, size, num_objects)
    if start < 0 or (count is not None and count < 1):
        raise DataError(f"expected a start from 0 and a count from 1 or None, got {start} and {count}")
    shape = {
        "image": tf.TensorSpec((*size, 3), tf.uint8),
        "boxes": tf.TensorSpec((None, 4), tf.float32),
        "labels": tf.TensorSpec((None,), tf.int64),
        "masks": tf.TensorSpec((None, *size), tf.bool),
        "visible": tf.TensorSpec((None,), tf.float32),
        "caption": tf.TensorSpec((), tf.string),
        "questions": tf.TensorSpec((None,), tf.string),
        "answers": tf.TensorSpec((None,), tf.string),
    }

    def draw(index: np.ndarray) -> list[np.ndarray]:
        scene = make_scene(seed, int(index), size, num_objects=num_objects)
        questions, answers = (np.array([pair[side].encode() for pair in scene.questions], object) for side in (0, 1))
        caption = np.array(scene.caption.encode(), object)
        return [scene.image, scene.boxes, scene.labels, scene.masks, scene.visible, caption, questions, answers]

    def describe(index: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(draw, [index], [spec.dtype for spec in shape.values()], stateful=False)
        named = {
            key: tf.ensure_shape(value, spec.shape) for (key, spec), value in zip(shape.items(), values, strict=True)
        }
        return {**named, "index": index}

    stop = np.iinfo(np.int64).max if count is None else start + count
    return tf.data.Dataset.range(start, stop).map(describe, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def write_scenes(
    folder: str | Path,
    count: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (128, 128),
    num_objects: tuple[int, int] = (0, 5),
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Writes scenes 0 to `count` - 1 as files that other tools read, all of them or nothing.

    `images/<index>.png`; `instances.json` (COCO: boxes "xywh", masks as uncompressed run lengths, category ids from 1,
    and `visible` for what is not hidden); `captions.json` (COCO); `questions.json` and `answers.json` (VQA).

    Args:
        folder: is made; must not exist yet, or be empty.
        count: how many scenes, at least 1.
        seed, size, num_objects: as in `make_scene`.
        progress: called with the number of scenes that are done after each one.

    Raises:
        DataError: a number outside its range.
        OutputError: the folder holds something already, or cannot be written.
    """
    folder = Path(folder)
    _check_arguments(seed, size, num_objects)
    if count < 1:
        raise DataError(f"expected to write at least 1 scene, got {count}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(
                f"expected a new or empty folder to write scenes to, {folder} holds something: give another"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder} cannot be written ({error.strerror}): give another folder") from error
    try:
        _write_files(partial, count, seed, size, num_objects, progress)
        partial.chmod(0o755)
        os.replace(partial, folder)  # also over an empty folder
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}): make room or give another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


# Drawing ------------------------------------------------------------------------------------------------------------


def _draw_background(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    """float32 `[H, W, 3]` between two muted colours, which no object has."""
    grey = rng.uniform(90, 200)
    first, second = (
        np.clip(grey + rng.uniform(-25, 25) + rng.uniform(-18, 18, 3), 0, 255).astype(np.float32) for _ in range(2)
    )
    if abs(first.mean() - second.mean()) < 15:  # otherwise the pattern could not be seen
        second += 25
    y, x = np.ogrid[:height, :width]
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    period = rng.uniform(0.08, 0.2) * min(height, width)
    mix: np.ndarray
    if name == "plain":
        mix = np.zeros((height, width))
    elif name == "noisy":
        mix = rng.random((height, width), np.float32)
    elif name == "graded":
        mix = (along - along.min()) / (along.max() - along.min())
    elif name == "striped":
        mix = (along % period) < period / 2
    elif name == "chequered":
        across = y * math.cos(angle) - x * math.sin(angle)
        mix = ((along % period) < period / 2) ^ ((across % period) < period / 2)
    else:
        mix = _clouds(rng, height, width)
    return first + np.asarray(mix, np.float32)[..., np.newaxis] * (second - first)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of falling strength at four scales, 0..1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(4):
        cells = 3 * 2**octave
        grid = Image.fromarray(rng.random((cells, cells), np.float32))
        total += np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    return (total - total.min()) / (total.max() - total.min())


def _draw_object(
    rng: np.random.Generator, name: str, centre: tuple[float, float], radius: float
) -> tuple[slice, slice, np.ndarray]:
    """The rows and columns that an object touches, and how much of each of those pixels it covers (0..1)."""
    left, top = math.floor(centre[0] - radius), math.floor(centre[1] - radius)
    side = math.ceil(2 * radius) + 1
    middle = (centre[0] - left, centre[1] - top)
    if name in SHAPES:
        cover = _shape_cover(rng, name, side, middle, radius)
    else:
        cover = _digit_cover(rng, int(name), side, middle, radius)
    return slice(top, top + side), slice(left, left + side), cover


def _shape_cover(
    rng: np.random.Generator, name: str, side: int, middle: tuple[float, float], radius: float
) -> np.ndarray:
    scale = _SUPERSAMPLING
    drawing = Image.new("L", (side * scale, side * scale))
    draw = ImageDraw.Draw(drawing)
    x, y, r = middle[0] * scale, middle[1] * scale, radius * scale
    turn = rng.uniform(-0.4, 0.4) if name == "heart" else rng.uniform(0, 2 * math.pi)

    def disc(at_x: float, at_y: float, of_radius: float, fill: int) -> None:
        draw.ellipse((at_x - of_radius, at_y - of_radius, at_x + of_radius - 1, at_y + of_radius - 1), fill=fill)

    if name in ("circle", "ring", "crescent"):
        disc(x, y, r, 255)
        if name == "ring":
            disc(x, y, 0.55 * r, 0)
        elif name == "crescent":
            disc(x + 0.5 * r * math.cos(turn), y + 0.5 * r * math.sin(turn), 0.75 * r, 0)
    else:
        cos, sin = math.cos(turn) * r, math.sin(turn) * r
        draw.polygon([(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in _outline(name)], fill=255)
    return np.asarray(drawing.reduce(scale), np.float32) / 255


@cache
def _outline(name: str) -> tuple[tuple[float, float], ...]:
    """A polygon inside the unit circle, y downwards."""

    def at(angle: float, radius: float = 1.0) -> tuple[float, float]:
        return radius * math.sin(angle), -radius * math.cos(angle)

    if name == "square":
        return tuple(at(math.pi / 4 + i * math.pi / 2) for i in range(4))
    if name == "triangle":
        return tuple(at(i * 2 * math.pi / 3) for i in range(3))
    if name == "star":
        return tuple(at(i * math.pi / 5, 1.0 if i % 2 == 0 else 0.42) for i in range(10))
    if name == "cross":
        long, short = 0.94, 0.31
        corner = [(-short, -long), (short, -long), (short, -short)]
        return tuple(
            (px * c - py * s, px * s + py * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for px, py in corner
        )
    steps = (2 * math.pi * i / 48 for i in range(48))
    return tuple(
        (
            16 * math.sin(t) ** 3 / 18,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 18,
        )
        for t in steps
    )


def _digit_cover(
    rng: np.random.Generator, digit: int, side: int, middle: tuple[float, float], radius: float
) -> np.ndarray:
    scans = _scans()[digit]
    scan = scans[rng.integers(len(scans))]
    angle = rng.uniform(-0.25, 0.25)
    cos, sin = math.cos(angle), math.sin(angle)
    # Pixel of the patch -> pixel of the scan, whose 10 (8 and a margin) span the diameter.
    step = 10 / (2 * radius)
    matrix = (
        *(step * cos, step * sin, 5 - step * (cos * middle[0] + sin * middle[1])),
        *(-step * sin, step * cos, 5 - step * (-sin * middle[0] + cos * middle[1])),
    )
    turned = scan.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    # A steeper slope makes of the blurred enlargement a stroke with an edge.
    return np.clip((np.asarray(turned, np.float32) / 255 - 0.5) * max(radius / 5, 1) + 0.5, 0, 1)


@cache
def _scans() -> tuple[tuple[Image.Image, ...], ...]:
    """scikit-learn's digits by number, each with a margin of one pixel."""
    images, labels = digit_images()
    padded = np.pad(images[..., 0], ((0, 0), (1, 1), (1, 1)))
    return tuple(tuple(Image.fromarray(scan) for scan in padded[labels == digit]) for digit in range(10))


def _extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


# Words --------------------------------------------------------------------------------------------------------------


def relation(first: SceneObject, second: SceneObject) -> str:
    """Where the first object is, seen from the second, by the larger distance of their centres."""
    dx, dy = first.centre[0] - second.centre[0], first.centre[1] - second.centre[1]
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _caption(rng: np.random.Generator, objects: Sequence[SceneObject], background: str) -> str:
    ground = f"a {background} background"
    if not objects:
        return f"{ground} without objects"
    order = [objects[i] for i in rng.permutation(len(objects))]
    text = f"a {order[0]}"
    if len(order) > 1:
        text += f" {relation(order[0], order[1])} a {order[1]}"
    if len(order) > 2:
        names = [f"a {thing}" for thing in order[2:]]
        text += ", with " + " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{text} on {ground}"


def _questions(rng: np.random.Generator, objects: Sequence[SceneObject]) -> tuple[tuple[str, str], ...]:
    def described(thing: SceneObject) -> str:
        return f"{thing.colour} {thing.name}"

    pairs = [("how many objects are there?", str(len(objects)))]
    present = {described(thing) for thing in objects}

    # As often about what is there as about what is not. An empty scene has no "yes", so it is not asked.
    if objects and rng.random() < 0.5:
        pairs.append((f"is there {_article(sorted(present)[rng.integers(len(present))])}?", "yes"))
    elif objects:
        absent = [f"{colour} {name}" for colour in COLOURS for name in CLASS_NAMES if f"{colour} {name}" not in present]
        pairs.append((f"is there {_article(absent[rng.integers(len(absent))])}?", "no"))

    if objects:
        colours, names = [thing.colour for thing in objects], [thing.name for thing in objects]
        kind = names[rng.integers(len(names))]
        pairs.append((f"how many {_plural(kind)} are there?", str(names.count(kind))))
        for thing in objects:
            if names.count(thing.name) == 1:
                pairs.append((f"what colour is the {thing.name}?", thing.colour))
            if colours.count(thing.colour) == 1:
                pairs.append((f"what is the {thing.colour} object?", thing.name))

    unique = [thing for thing in objects if sum(described(other) == described(thing) for other in objects) == 1]
    if len(unique) > 1:
        first, second = (unique[i] for i in rng.permutation(len(unique))[:2])
        true = relation(first, second)
        opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[true]
        asked, answer = (true, "yes") if rng.random() < 0.5 else (opposite, "no")
        pairs.append((f"is the {described(first)} {asked} the {described(second)}?", answer))
    return tuple(pairs)


def _article(noun: str) -> str:
    return f"an {noun}" if noun.startswith("orange") else f"a {noun}"


def _plural(name: str) -> str:
    return {"cross": "crosses"}.get(name, f"{name}s")


# Files --------------------------------------------------------------------------------------------------------------


def _write_files(
    folder: Path,
    count: int,
    seed: int,
    size: tuple[int, int],
    num_objects: tuple[int, int],
    progress: Callable[[int], None] | None,
) -> None:
    images: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    (folder / "images").mkdir()
    for index in range(count):
        scene = make_scene(seed, index, size, num_objects=num_objects)
        file_name = f"{index:06d}.png"
        Image.fromarray(scene.image).save(folder / "images" / file_name)
        images.append({"id": index, "file_name": file_name, "height": size[0], "width": size[1]})
        captions.append({"id": index, "image_id": index, "caption": scene.caption})
        for thing, mask in zip(scene.objects, scene.masks, strict=True):
            x1, y1, x2, y2 = thing.box
            instances.append(
                {
                    "id": len(instances) + 1,
                    "image_id": index,
                    "category_id": thing.class_id + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(np.count_nonzero(mask)),
                    "segmentation": {"size": list(size), "counts": run_lengths(mask)},
                    "iscrowd": 0,
                    "visible": round(thing.visible, 4),
                    "colour": thing.colour,
                }
            )
        for question, answer in scene.questions:
            number = len(questions)
            questions.append({"question_id": number, "image_id": index, "question": question})
            answers.append({"question_id": number, "image_id": index, "multiple_choice_answer": answer})
        if progress is not None:
            progress(index + 1)
    information = {"description": f"kapps scenes, seed {seed}, {size[0]}x{size[1]}"}
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASS_NAMES)]
    for name, content in {
        "instances": {"images": images, "annotations": instances, "categories": categories},
        "captions": {"images": images, "annotations": captions},
        "questions": {"questions": questions},
        "answers": {"annotations": answers},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps({"info": information, **content}), encoding="utf-8")


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths of a bool mask `[H, W]`: column by column, starting with the number of zeros."""
    pixels = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    lengths = np.diff(np.concatenate([[0], changes, [mask.size]]))
    # A mask that reaches the last pixel has its last change there already.
    return [int(length) for length in (lengths if lengths[-1] else lengths[:-1])]


def _check_arguments(seed: int, size: tuple[int, int], num_objects: tuple[int, int]) -> None:
    if seed < 0:
        raise DataError(f"expected a seed from 0, got {seed}")
    if len(size) != 2 or not all(32 <= side <= 4096 for side in size):
        raise DataError(f"expected a scene size (height, width) with sides of 32 to 4096, got {size}")
    if not 0 <= num_objects[0] <= num_objects[1] <= 20:
        raise DataError(f"expected the fewest and most objects of a scene, 0 to 20, got {num_objects}")

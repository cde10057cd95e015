"""Moving digits: short films of handwritten digits that drift over a black square and bounce off its sides.

In the manner of moving MNIST (Srivastava, Mansimov, Salakhutdinov: "Unsupervised learning of video representations
using LSTMs", ICML 2015), with two differences: places are fractions of a pixel, so that slow motions are motions too,
and the motion is one of seven kinds, so that there is something to recognise that no single frame tells:

    still; across, down or slanting, each slow or fast

A bounce turns a digit round and keeps its kind. Films are made when they are read; what film number i shows follows
from the split, the seed and i alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from kapps.data.dataset import Dataset
from kapps.errors import DataError, UnknownNameError

# The axes along which a kind moves, (down, right), and its speed.
_KINDS = {
    "still": ((0, 0), ""),
    "across slowly": ((0, 1), "slow"),
    "across fast": ((0, 1), "fast"),
    "down slowly": ((1, 0), "slow"),
    "down fast": ((1, 0), "fast"),
    "slanting slowly": ((1, 1), "slow"),
    "slanting fast": ((1, 1), "fast"),
}
MOTIONS = tuple(_KINDS)

# Pixels a frame, as parts of a digit's side, lowest and highest.
_SPEEDS = {"slow": (0.03, 0.06), "fast": (0.12, 0.18), "": (0.0, 0.0)}

_SPLITS = ("train", "test")


@dataclass(frozen=True)
class MovingDigits:
    """What the films are like.

    Attributes:
        source: `"digits"` (scikit-learn's, built in) or `"mnist"` (of TFDS).
        frames: in a film.
        side: of the square, in pixels.
        digit_side: of a digit's image, in pixels.
        digits: at once in a film; all move in the same kind of way, and cross each other.
        label: `"motion"` (an index of `MOTIONS`) or, with one digit, `"digit"`.
        seed: other films with the same digits.
    """

    source: Literal["digits", "mnist"] = "digits"
    frames: int = 12
    side: int = 32
    digit_side: int = 16
    digits: int = 1
    label: Literal["motion", "digit"] = "motion"
    seed: int = 0


def load_split(
    split: str = "train",
    count: int = 1000,
    films: MovingDigits | None = None,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Dataset:
    """Films uint8 `[frames, side, side, 1]` with their label, as a stream: digits of `"train"` are never in `"test"`.

    Args:
        split: `"train"` or `"test"`.
        count: films; the first n of a larger count are those of the count n.
        films: None = `MovingDigits()`.
        data_dir, download: as in `kapps.data.load`, for MNIST.

    Raises:
        UnknownNameError: no such source or label.
        DataError: no such split, or sizes that cannot be.
    """
    films = films or MovingDigits()
    _check(films, split, count)
    images, classes = map(tf.constant, _digits(films.source, split, films.digit_side, data_dir, download))
    world = (films.seed * len(_SPLITS) + _SPLITS.index(split)) % 2**31

    def film(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = [tf.stack([tf.constant(world, tf.int64), 5 * number + part]) for part in range(5)]
        draw_which, draw_kind, draw_place, draw_sign, draw_speed = seeds
        which = tf.random.stateless_uniform([films.digits], draw_which, 0, len(classes), tf.int32)
        kind = tf.random.stateless_uniform([], draw_kind, 0, len(MOTIONS), tf.int32)
        room = float(films.side - films.digit_side)
        start = room * tf.random.stateless_uniform([films.digits, 2], draw_place)
        sign = tf.where(tf.random.stateless_uniform([films.digits, 2], draw_sign) < 0.5, -1.0, 1.0)
        low, high = tf.unstack(tf.gather(_speeds(films.digit_side), kind))
        speed = low + (high - low) * tf.random.stateless_uniform([films.digits, 1], draw_speed)
        velocity = speed * sign * tf.gather(_axes(), kind)
        shown = paint(tf.gather(images, which), places(start, velocity, room, films.frames), films.side)
        pixels = tf.cast(tf.round(255 * shown), tf.uint8)[..., None]
        label = kind if films.label == "motion" else tf.gather(classes, which[0])
        return tf.ensure_shape(pixels, (films.frames, films.side, films.side, 1)), tf.cast(label, tf.int64)

    names = MOTIONS if films.label == "motion" else tuple("0123456789")
    return Dataset(
        records=tf.data.Dataset.range(count),
        decode=film,
        num_examples=count,
        input_shape=(films.frames, films.side, films.side, 1),
        class_names=names,
        name="moving_digits",
        split=split,
        source=f"films of {films.source} (kapps.data.moving_digits)",
        licence="generated; the digits CC BY 4.0" if films.source == "digits" else "generated; the digits CC BY-SA 3.0",
        kind="array",
    )


def places(start: tf.Tensor, velocity: tf.Tensor, room: float, frames: int) -> tf.Tensor:
    """Where digits are that bounce between 0 and `room`: [frames, digits, 2].

    Straight on in a hall of mirrors: the way there, folded back into the room.

    Args:
        start: top and left of each digit, from 0 to `room`, [digits, 2].
        velocity: in pixels a frame, [digits, 2].
    """
    if room == 0:
        return tf.zeros([frames, *start.shape])
    straight = start + tf.range(frames, dtype=tf.float32)[:, None, None] * velocity
    return room - tf.abs(tf.math.floormod(straight, 2 * room) - room)


def paint(images: tf.Tensor, where: tf.Tensor, side: int) -> tf.Tensor:
    """Digits [digits, h, h] at places [frames, digits, 2] of a black square: [frames, side, side], 0 to 1.

    Between pixels a digit is interpolated linearly; where digits cross, the brighter pixel is seen.
    """
    pixels = tf.range(side, dtype=tf.float32)
    rows = tf.range(images.shape[1], dtype=tf.float32)
    # How much of a digit's row i (column i) falls on row y (column x) of the square: [frames, digits, side, h].
    down = tf.nn.relu(1 - tf.abs(pixels[:, None] - where[:, :, 0, None, None] - rows))
    across = tf.nn.relu(1 - tf.abs(pixels[:, None] - where[:, :, 1, None, None] - rows))
    return tf.reduce_max(tf.einsum("tdyi,dij,tdxj->tdyx", down, images, across), axis=1)


def _axes() -> tf.Tensor:
    return tf.constant([axes for axes, _ in _KINDS.values()], tf.float32)


def _speeds(digit_side: int) -> tf.Tensor:
    """Lowest and highest speed of each kind in pixels a frame, [kinds, 2]."""
    return digit_side * tf.constant([_SPEEDS[speed] for _, speed in _KINDS.values()], tf.float32)


@cache
def _digits(
    source: str, split: str, side: int, data_dir: str | Path | None, download: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The digits of a split, float32 [N, side, side] from 0 to 1, and their classes int64 [N]."""
    from kapps.data.loading import load
    from kapps.data.preprocessing import Preprocessing

    data = load(source, split, data_dir=data_dir, download=download)
    batches = data.batches(data.num_examples, preprocessing=Preprocessing(size=(side, side), channels=1))
    images, classes = next(iter(batches.as_numpy_iterator()))
    return np.clip(images[..., 0], 0, 1), classes


def _check(films: MovingDigits, split: str, count: int) -> None:
    for what, name, known in (
        ("source", films.source, ("digits", "mnist")),
        ("label", films.label, ("motion", "digit")),
    ):
        if name not in known:
            raise UnknownNameError(f"{what} of moving digits", name, known)
    if split not in _SPLITS:
        raise DataError(
            f"expected the split train or test of moving_digits, got {split!r}: give `count` for fewer films"
        )
    for what, number in (("film", count), ("frame", films.frames), ("digit", films.digits)):
        if number < 1:
            raise DataError(f"expected at least 1 {what} of moving digits, got {number}")
    if not 4 <= films.digit_side <= films.side:
        raise DataError(
            f"expected digits of at least 4 pixels that fit into {films.side}x{films.side}, got {films.digit_side}: "
            f"change digit_side or side"
        )
    if films.label == "digit" and films.digits > 1:
        raise DataError(
            f"expected one digit a film where its class is the label, got {films.digits}: take label='motion'"
        )

"""Pairs of a handwritten and a spoken digit: MNIST's images with recordings of the same digit.

Images are MNIST's; sounds are those of the Free Spoken Digit Dataset (TFDS "spoken_digit", 8 kHz) as log-mel
spectrograms of one fixed size. Which recording an image gets follows from the seed and from the image's rank among the
images of its digit: every recording of a digit is used equally often, once more or less.

A recording is called `<digit>_<speaker>_<take>.wav`. Takes 0 to 9 are for testing, as far as a copy of the set has them
(0 to 4 are its official test takes, which some copies leave out): the same speakers, but recordings that no training
image was ever paired with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from kapps.data import tfds
from kapps.data.dataset import Dataset
from kapps.errors import DataError

TEST_TAKES = 10

SAMPLE_RATE = 8000

# Windows of 32 ms, a new one every 8 ms: a word of 0.3 s has some 35.
_WINDOW, _HOP = 256, 64
_LOWEST, _HIGHEST = 60.0, 4000.0
# Of a recording's loudest point; what is fainter is 0.
_RANGE_DECIBELS = 60.0

_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav$")


@dataclass(frozen=True, eq=False)
class DigitPairs:
    """Pairs; number i is `images[i]`, `sounds[i]` and `labels[i]`.

    Attributes:
        images: float32 [N, 28, 28, 1], 0 to 1.
        recordings: the log-mel spectrograms of this side, float32 [R, steps, bands, 1], 0 to 1.
        recording_labels: the digits of the recordings, int64 [R].
        chosen: the recording of each pair, int64 [N].
        labels: the digit of each pair, int64 [N].
    """

    images: np.ndarray
    recordings: np.ndarray
    recording_labels: np.ndarray
    chosen: np.ndarray
    labels: np.ndarray

    @property
    def sounds(self) -> np.ndarray:
        """The spectrogram of each pair, float32 [N, steps, bands, 1]."""
        return self.recordings[self.chosen]


def load_pairs(
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    size: tuple[int, int] = (32, 32),
    seed: int = 0,
) -> DigitPairs:
    """Pairs for a split of MNIST.

    Args:
        split: of MNIST, `"train"`, `"test"` or a slice such as `"train[:20000]"`; recordings are of the side it names.
        data_dir, download: as in `kapps.data.load`.
        size: of the spectrograms, (steps of time, mel bands).
        seed: of the choice of recordings.

    Raises:
        DataError: not a slice of one side, or a set that is not there or not as expected.
    """
    side = re.fullmatch(r"(train|test)(\[.*\])?", split)
    if side is None:
        raise DataError(f"expected a split of MNIST, train or test or a slice of one of them, got {split!r}")
    spectrograms, digits, takes = read_recordings(data_dir, download, size)
    ours = (takes < TEST_TAKES) == (side.group(1) == "test")
    if len(missing := sorted(set(range(10)) - set(digits[ours].tolist()))):
        raise DataError(
            f"expected recordings of all digits for {split!r}, got none of {missing}: prepare the set again"
        )
    images = tfds.load_split("mnist", split, data_dir=data_dir, download=download)
    pixels, labels = _whole(images)
    chosen = choose(labels, digits[ours], seed)
    return DigitPairs(pixels, spectrograms[ours], digits[ours], chosen, labels)


def choose(labels: np.ndarray, recording_labels: np.ndarray, seed: int) -> np.ndarray:
    """For each image a recording of its digit, in turn, in an order that the seed gives: int64 [N].

    Args:
        labels: of the images, [N].
        recording_labels: of the recordings, [R]; every digit of an image is among them.
    """
    chosen = np.zeros(len(labels), np.int64)
    for digit in np.unique(labels):
        order = np.random.default_rng((seed, int(digit))).permutation(np.flatnonzero(recording_labels == digit))
        rows = np.flatnonzero(labels == digit)
        chosen[rows] = order[np.arange(len(rows)) % len(order)]
    return chosen


@cache
def read_recordings(
    data_dir: str | Path | None, download: bool = False, size: tuple[int, int] = (32, 32)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All recordings, in the order of their names.

    Returns:
        log-mel spectrograms float32 [R, steps, bands, 1], their digits int64 [R] and their takes int64 [R].

    Raises:
        DataError: the set is not there, or its files have other names.
    """
    builder = tfds.open_builder("spoken_digit", data_dir, download)
    try:
        examples = [
            (row["audio/filename"].decode(), int(row["label"]), row["audio"].astype("float32"))
            for row in builder.as_dataset(split="train").as_numpy_iterator()
        ]
    except (KeyError, ValueError, OSError, tf.errors.OpError) as error:
        raise DataError(
            f"{builder.data_path} cannot be read as spoken_digit ({tfds.first_line(error)}): prepare it again"
        ) from error
    named = []
    for name, label, wave in examples:
        parts = _NAME.search(name)
        if parts is None or int(parts[1]) != label:
            raise DataError(f"expected recordings called <digit>_<speaker>_<take>.wav, got {name!r} of a {label}")
        named.append((label, parts[2], int(parts[3]), wave))
    named.sort(key=lambda row: row[:3])
    spectrograms = np.stack([log_mel(tf.constant(wave / 32768), *size).numpy() for *_, wave in named])
    return spectrograms, np.array([row[0] for row in named], np.int64), np.array([row[2] for row in named], np.int64)


@tf.function(reduce_retracing=True)
def log_mel(wave: tf.Tensor, steps: int = 32, bands: int = 32) -> tf.Tensor:
    """A recording at 8 kHz, whole, as a log-mel spectrogram of a fixed size: float32 [steps, bands, 1], 0 to 1.

    The word is stretched or squeezed to `steps`, so that how fast it is said matters little; 1 is its loudest point, 0
    what is 60 decibels under it or fainter. A silent recording is all zeros.

    Args:
        wave: float32 [samples], -1 to 1.
    """
    short = tf.maximum(_WINDOW - tf.size(wave), 0)
    wave = tf.pad(wave, [[0, short]])
    spectrum = tf.abs(tf.signal.stft(wave, _WINDOW, _HOP, _WINDOW))  # [frames, 129]
    matrix = tf.signal.linear_to_mel_weight_matrix(bands, _WINDOW // 2 + 1, SAMPLE_RATE, _LOWEST, _HIGHEST)
    mel = tf.matmul(tf.square(spectrum), matrix)  # power, [frames, bands]
    mel = tf.image.resize(mel[..., None], (steps, bands), antialias=True)
    loudest = tf.reduce_max(mel)
    decibels = 10 * tf.math.log(tf.maximum(mel / tf.maximum(loudest, 1e-12), 1e-12)) / tf.math.log(10.0)
    return tf.ensure_shape(tf.nn.relu(1 + decibels / _RANGE_DECIBELS), (steps, bands, 1))


def _whole(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, float32 [N, 28, 28, 1] from 0 to 1, and their labels."""
    images, labels = next(iter(data.batches(data.num_examples).as_numpy_iterator()))
    return images / np.float32(255), labels

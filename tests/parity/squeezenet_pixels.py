"""The pixels that both implementations of SqueezeNet see: made here, with Pillow alone, for the recording and the test.

The preprocessing is the one that the weights file names: short side 256, 227x227 from the middle, BGR in 0..255 minus
the mean of ImageNet.
"""

from __future__ import annotations

import csv
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RECORDING = Path(__file__).with_name("squeezenet1_0.caffe_in1k.npz")
SHORT_SIDE, CROP = 256, 227
MEAN_BGR = np.array([104, 117, 123], "float32")


def samples(folder: Path) -> list[tuple[Path, int]]:
    """(picture, class index) of the folder's `labels.csv`, in its order."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [(folder / name, int(index)) for name, _, index in rows]


def crop(path: Path, side: int = CROP) -> np.ndarray:
    """uint8 [side, side, 3], RGB: bilinear to the short side 256, then the middle."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    image = image.resize([max(SHORT_SIDE, round(length * scale)) for length in image.size], Image.Resampling.BILINEAR)
    left, top = ((length - side) // 2 for length in image.size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def network_input(pixels: np.ndarray) -> np.ndarray:
    """float32 [227, 227, 3], BGR without the mean."""
    return pixels[..., ::-1].astype("float32") - MEAN_BGR


def checksum(pixels: np.ndarray) -> int:
    """Equal for equal pixels; another version of Pillow or of its JPEG decoder may give others."""
    return zlib.crc32(pixels.tobytes())

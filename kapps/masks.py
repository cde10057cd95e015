"""Masks of a segmentation as pictures: a colour for each class, and PNGs whose pixels still are the classes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kapps.errors import OutputError

# What is no thing is a quiet dark grey, whatever its index, so that the things stand out.
_NO_THING = ("background", "void")
_DARK = (45, 48, 54)

# Saturation and value of neighbours in the list: where there are many classes, their hues alone are too near.
_SHADES = ((0.75, 0.95), (0.95, 0.65), (0.45, 1.0))
_GOLDEN = (5**0.5 - 1) / 2  # steps of this part of the circle never come near each other again soon

_UNSEEN = 255  # the palette's last entry, transparent


def palette(labels: Sequence[str]) -> np.ndarray:
    """One colour for each class, always the same for the same list: uint8 [N, 3]."""
    colours = [
        _DARK
        if label in _NO_THING
        else tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index * _GOLDEN % 1, *_SHADES[index % 3]))
        for index, label in enumerate(labels)
    ]
    return np.array(colours, np.uint8).reshape(-1, 3)


def coloured(mask: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Each pixel in its class' colour, white where there is none: integers [H, W], uint8 [N, 3] -> uint8 [H, W, 3]."""
    return np.where(mask[..., np.newaxis] < 0, np.uint8(255), colours[mask])


def over(image: np.ndarray, mask: np.ndarray, colours: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The image with the classes' colours laid over it: uint8 [H, W, 1 or 3], integers [H, W] -> uint8 [H, W, 3]."""
    return ((1 - strength) * image + strength * coloured(mask, colours)).round().astype(np.uint8)


def write_png(mask: np.ndarray, labels: Sequence[str], file: Path) -> None:
    """A mask as a PNG with a palette: a viewer shows colours, a program reads the indices of the classes.

    Args:
        mask: integers [H, W]; what is below 0 becomes 255 and is transparent.
        labels: the class names, at most 255.
        file: to write.

    Raises:
        OutputError: more classes than a palette has room for.
    """
    if len(labels) > _UNSEEN:
        raise OutputError(f"a palette has room for {_UNSEEN} classes, got {len(labels)}: take the mask from kapps.load")
    picture = Image.fromarray(np.where(mask < 0, _UNSEEN, mask).astype(np.uint8), mode="P")
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(labels)] = palette(labels)
    picture.putpalette(colours.tobytes())
    picture.save(file, format="PNG", transparency=_UNSEEN)

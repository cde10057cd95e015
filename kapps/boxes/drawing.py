"""Found objects drawn onto their image: a frame and a name tag each, one colour a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kapps.masks import palette

_SMALLEST_TEXT = 10  # pixels; what is smaller cannot be read


def draw(
    image: np.ndarray, objects: Sequence[Mapping[str, Any]], labels: Sequence[str], *, tags: bool = True
) -> np.ndarray:
    """Frames and tags; where objects lie over each other, the first of the list is in front.

    Args:
        image: uint8 [H, W, 1 or 3].
        objects: `label`, `box` (`"xyxy"` in pixels) and, unless it is None or absent, `score`.
        labels: all class names of the detector, so that a class has the same colour in every image.
        tags: write name and score to the frames.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(np.broadcast_to(image, (height, width, 3)).copy())
    pen = ImageDraw.Draw(picture)
    line = max(1, round(min(height, width) / 250))
    font = ImageFont.load_default(max(_SMALLEST_TEXT, round(min(height, width) / 36)))
    colours = {label: tuple(map(int, colour)) for label, colour in zip(labels, palette(labels), strict=True)}
    for found in reversed(objects):
        colour = colours[found["label"]]
        left, top, right, bottom = found["box"]
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=colour, width=line)
    for found in reversed(objects if tags else ()):
        colour = colours[found["label"]]
        score = found.get("score")
        text = found["label"] if score is None else f"{found['label']} {score:.0%}"
        left, top, *_ = found["box"]
        _, _, text_width, text_height = pen.textbbox((0, 0), text, font=font)
        tag_width, tag_height = text_width + 2 * line, text_height + 2 * line
        # above the frame where there is room, else in it; never outside the image
        x = max(0, min(left, width - tag_width))
        y = top - tag_height if top >= tag_height else max(0, min(top, height - tag_height))
        pen.rectangle((x, y, x + tag_width - 1, y + tag_height - 1), fill=colour)
        pen.text((x + line, y + line), text, fill=_readable(colour), font=font)
    return np.asarray(picture)


def _readable(colour: tuple[int, ...]) -> tuple[int, int, int]:
    """Black on a bright colour, white on a dark one (ITU-R BT.601)."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)

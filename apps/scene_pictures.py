"""A generated scene with its boxes and masks drawn in, and many of them as one file to take home."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from kapps.data.scenes import Scene

SIDE = 448  # pixels: what is drawn into a scene is drawn at about this size, so that lines and words are fine
# One colour an object, in an order in which neighbours differ (Okabe and Ito 2008, without black).
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def colours() -> Iterator[tuple[int, int, int]]:
    """The objects' colours, from the first object on, without end."""
    while True:
        yield from PALETTE


def enlarged(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] a whole number of times larger, at least `SIDE` on its shorter side, without smoothing."""
    factor = -(-SIDE // min(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def with_boxes(scene: Scene) -> np.ndarray:
    """The scene with a box and the name of every object: uint8 [H, W, 3], enlarged."""
    picture = Image.fromarray(enlarged(scene.image))
    factor = picture.width // scene.image.shape[1]
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for thing, colour in zip(scene.objects, colours(), strict=False):
        left, top, right, bottom = (factor * edge for edge in thing.box)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=4)
        _, _, width, height = pen.textbbox((0, 0), thing.name, font=font)
        # Above the box, or inside it where there is no room above; never beyond the right edge.
        x, y = min(left, picture.width - width - 8), top - height - 6 if top >= height + 6 else top
        pen.rectangle((x, y, x + width + 8, y + height + 6), fill=colour)
        pen.text((x + 4, y + 2), thing.name, fill=(0, 0, 0), font=font)
    return np.asarray(picture)


def with_masks(scene: Scene) -> np.ndarray:
    """The scene in pale grey with every object's mask in its colour: uint8 [h, w, 3]."""
    grey = scene.image.mean(axis=-1, keepdims=True)
    picture = np.repeat(150 + 0.35 * grey, 3, axis=-1)
    for mask, colour in zip(scene.masks, colours(), strict=False):
        picture[mask] = 0.2 * grey[mask] + 0.8 * np.array(colour)
    return picture.clip(0, 255).astype(np.uint8)


def zip_of(count: int, seed: int, size: tuple[int, int], num_objects: tuple[int, int]) -> bytes:
    """Scenes 0 to `count` - 1 as a zip file, in the layout of `kapps.data.scenes.write_scenes`."""
    from kapps.data.scenes import write_scenes  # only now: TensorFlow takes seconds

    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w") as archive:
        scenes = write_scenes(Path(folder) / "scenes", count, seed=seed, size=size, num_objects=num_objects)
        for file in sorted(scenes.rglob("*")):
            # PNGs are packed already.
            packing = zipfile.ZIP_STORED if file.suffix == ".png" else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(scenes.parent), packing)
    return buffer.getvalue()

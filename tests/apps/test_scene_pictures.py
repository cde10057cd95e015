"""Boxes and masks lie where the scene says, and the zip file holds what the page shows."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
from PIL import Image

from apps import scene_pictures
from apps.scene_pictures import PALETTE
from kapps.data.scenes import Scene, SceneObject, make_scene


def square_scene() -> Scene:
    """A grey scene of 32x32 with one object in the square from (8, 10) to (20, 22)."""
    mask = np.zeros((1, 32, 32), bool)
    mask[0, 10:22, 8:20] = True
    thing = SceneObject("square", "red", "small", (14.0, 16.0), (8.0, 10.0, 20.0, 22.0), 1.0)
    return Scene(np.full((32, 32, 3), 100, np.uint8), (thing,), mask, "plain", "a square", ())


def test_enlarging_repeats_pixels() -> None:
    image = np.arange(32 * 40 * 3, dtype=np.uint8).reshape(32, 40, 3)
    large = scene_pictures.enlarged(image)
    assert large.shape == (448, 560, 3)
    assert (large[::14, ::14] == image).all()
    assert (large[13::14, 13::14] == image).all()


def test_a_box_is_drawn_on_the_edges_of_its_object() -> None:
    picture = scene_pictures.with_boxes(square_scene())
    factor = 14
    for row, column in [(10 * factor, 14 * factor), (22 * factor - 1, 14 * factor), (16 * factor, 8 * factor)]:
        assert tuple(picture[row, column]) == PALETTE[0]
    assert tuple(picture[16 * factor, 20 * factor - 1]) == PALETTE[0]
    assert tuple(picture[16 * factor, 14 * factor]) == (100, 100, 100)  # the inside is left free
    assert tuple(picture[16 * factor, 22 * factor]) == (100, 100, 100)


def test_a_mask_colours_its_pixels_and_no_other() -> None:
    scene = square_scene()
    picture = scene_pictures.with_masks(scene)
    assert (picture[scene.masks[0]] == (0.2 * 100 + 0.8 * np.array(PALETTE[0])).astype(np.uint8)).all()
    assert (picture[~scene.masks[0]] == 185).all()


def test_more_objects_than_colours_are_drawn() -> None:
    scene = make_scene(0, 0, (256, 256), num_objects=(10, 10))
    assert len(scene.objects) > len(PALETTE)
    assert scene_pictures.with_boxes(scene).shape == (512, 512, 3)
    assert scene_pictures.with_masks(scene).shape == (256, 256, 3)


def test_the_zip_file_holds_the_scenes_in_cocos_layout() -> None:
    content = scene_pictures.zip_of(3, seed=5, size=(64, 64), num_objects=(2, 4))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert {f"scenes/images/{index:06d}.png" for index in range(3)} < names
        image = np.asarray(Image.open(io.BytesIO(archive.read("scenes/images/000001.png"))))
        instances = json.loads(archive.read("scenes/instances.json"))
    scene = make_scene(5, 1, (64, 64), num_objects=(2, 4))
    assert (image == scene.image).all()
    boxes = [one["bbox"] for one in instances["annotations"] if one["image_id"] == 1]
    assert boxes == [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in scene.boxes.tolist()]

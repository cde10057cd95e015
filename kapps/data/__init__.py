"""Data sets as `tf.data` pipelines: TFDS by name, built-in sets, folders of images, array files and arrays.

`load(source, split)` opens sets with labels, `load_boxes(source, split)` sets with boxes; `SOURCES` says what
there is. Importing this package loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kapps.data.boxes import BoxDataset, load_boxes
    from kapps.data.dataset import Dataset
    from kapps.data.images import check_image_bytes, decode_image, read_image
    from kapps.data.loading import load
    from kapps.data.preprocessing import Preprocessing
    from kapps.data.scenes import make_scene, scene_dataset, write_scenes

_PUBLIC = {
    "BoxDataset": "kapps.data.boxes",
    "Dataset": "kapps.data.dataset",
    "Preprocessing": "kapps.data.preprocessing",
    "check_image_bytes": "kapps.data.images",
    "decode_image": "kapps.data.images",
    "load": "kapps.data.loading",
    "load_boxes": "kapps.data.boxes",
    "make_scene": "kapps.data.scenes",
    "read_image": "kapps.data.images",
    "scene_dataset": "kapps.data.scenes",
    "write_scenes": "kapps.data.scenes",
}

__all__ = [
    "SOURCES",
    "BoxDataset",
    "Dataset",
    "Preprocessing",
    "Source",
    "check_image_bytes",
    "decode_image",
    "load",
    "load_boxes",
    "make_scene",
    "read_image",
    "scene_dataset",
    "write_scenes",
]


@dataclass(frozen=True)
class Source:
    """One thing that `load` or `load_boxes` can open, as plain data for lists and pages.

    Attributes:
        name: what to give to it; a form such as `"FOLDER/"` where the user's own data goes.
        kind: `"image"`, `"audio"` or `"any"`, which `load` opens, or `"boxes"`, which `load_boxes` opens.
        title: one line: what it is and how much of it there is.
        licence: the licence of the data and its makers; `"yours"` for the user's own.
        splits: the splits with their sizes, empty where only the data can tell.
        needs: where the data comes from: `"built in"`, `"TFDS"` (prepared under a data folder), `"folder"` or `"file"`.
    """

    name: str
    kind: str
    title: str
    licence: str
    splits: dict[str, int]
    needs: str


SOURCES: tuple[Source, ...] = (
    Source(
        name="digits",
        kind="image",
        title="1,797 real handwritten digits, 8x8 grey (UCI Optical Recognition, as scikit-learn carries them)",
        licence="CC BY 4.0; E. Alpaydin, C. Kaynak, UCI Machine Learning Repository",
        splits={"train": 1437, "test": 360},
        needs="built in",
    ),
    Source(
        name="scenes",
        kind="image",
        title="generated scenes: one shape or handwritten digit on a textured background, 64x64 colour, 18 classes",
        licence="generated; the digits in it CC BY 4.0, UCI Machine Learning Repository",
        splits={"train": 10000, "validation": 2000, "test": 2000},
        needs="built in",
    ),
    Source(
        name="scene_masks",
        kind="image",
        title="generated scenes of one to five shapes and digits, 64x64 colour; 18 classes or background a pixel",
        licence="generated; the digits in it CC BY 4.0, UCI Machine Learning Repository",
        splits={"train": 10000, "validation": 1000, "test": 1000},
        needs="built in",
    ),
    Source(
        name="scene_boxes",
        kind="boxes",
        title="generated scenes of up to five shapes and digits, 128x128 colour; a box and one of 18 classes for each",
        licence="generated; the digits in it CC BY 4.0, UCI Machine Learning Repository",
        splits={"train": 10000, "validation": 1000, "test": 1000},
        needs="built in",
    ),
    Source(
        name="mnist",
        kind="image",
        title="70,000 handwritten digits, 28x28 grey",
        licence="CC BY-SA 3.0; Y. LeCun, C. Cortes, C. Burges",
        splits={"train": 60000, "test": 10000},
        needs="TFDS",
    ),
    Source(
        name="distorted_mnist",
        kind="image",
        title="MNIST's digits turned, scaled and moved on 42x42 pixels, each always in the same way (Jaderberg 2015)",
        licence="CC BY-SA 3.0; Y. LeCun, C. Cortes, C. Burges",
        splits={"train": 60000, "test": 10000},
        needs="TFDS",
    ),
    Source(
        name="cifar10",
        kind="image",
        title="60,000 small photographs of 10 kinds of things, 32x32 colour",
        licence="no licence stated; A. Krizhevsky 2009",
        splits={"train": 50000, "test": 10000},
        needs="TFDS",
    ),
    Source(
        name="spoken_digit",
        kind="audio",
        title="2,700 or more recordings of spoken English digits, 8 kHz",
        licence="CC BY-SA 4.0; Free Spoken Digit Dataset, Z. Jackson",
        splits={},
        needs="TFDS",
    ),
    Source(
        name="FOLDER/",
        kind="image",
        title="your images: FOLDER/<class>/*.jpg|png|gif|bmp, or FOLDER/train/<class> and FOLDER/test/<class>",
        licence="yours",
        splits={},
        needs="folder",
    ),
    Source(
        name="FILE.npz",
        kind="any",
        title="your arrays: x_train, y_train, x_test, y_test, or x and y, or images and labels",
        licence="yours",
        splits={},
        needs="file",
    ),
    Source(
        name="VOC_FOLDER/",
        kind="boxes",
        title="your boxes as Pascal VOC has them: Annotations/*.xml, JPEGImages/, ImageSets/Main/*.txt if any",
        licence="yours",
        splits={},
        needs="folder",
    ),
    Source(
        name="FILE.json",
        kind="boxes",
        title="your boxes as COCO has them: FILE.json with images/ beside it, or FOLDER/annotations/instances_*.json",
        licence="yours",
        splits={},
        needs="file",
    ),
)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kapps.data' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

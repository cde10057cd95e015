"""`load`: one way to open every kind of data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from kapps.data.dataset import Dataset
from kapps.errors import DataError

# Each reader is imported when it is asked for: scikit-learn alone costs a second.


def load(
    source: str | Path | tuple[np.ndarray, np.ndarray],
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Dataset:
    """Opens a split of a data set. Examples are read when they are needed.

    Args:
        source: one of

            - `"digits"`: scikit-learn's 1,797 handwritten digits, built in;
            - `"scenes"`: generated images of one shape or digit, built in;
            - `"scene_masks"`: generated images of several, with the class of every pixel, built in;
            - a TFDS name such as `"mnist"`, prepared under `data_dir`;
            - `"distorted_mnist"`: its digits turned, scaled and moved, each always in the same way;
            - a folder of images by class (`folder/<class>/*.jpg`, or `folder/train/<class>` and `folder/test/<class>`);
            - a `.npz` or `.npy` file;
            - `(inputs, labels)` arrays.

            Names of built-in and TFDS sets come first: a folder called like one is meant when it is written
            `"./mnist"`.
        split: `"train"`, `"test"`, `"validation"` where the set has it, or TFDS' slices: `"train[:55000]"`,
            `"train[80%:]"`, `"train+test"`.
        data_dir: the folder in which TFDS sets lie prepared; None is `$KAPPS_DATA_DIR`, else `~/tensorflow_datasets`.
        download: let TFDS download and prepare a set that is not there. Nothing else ever uses the network.

    Raises:
        UnknownNameError: no set is called so; with the nearest names.
        DataError: the set is not there, is not what it should be, or has no such split.
    """
    if isinstance(source, tuple):
        from kapps.data import arrays

        if len(source) != 2:
            raise DataError(f"expected (inputs, labels), got a tuple of {len(source)}")
        return arrays.from_arrays(source[0], source[1], split)
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(
            f"expected the name of a data set, a path or (inputs, labels) as the source, got {type(source).__name__}"
        )
    text = os.fspath(source)
    if text == "digits":
        from kapps.data import digits

        return digits.load_split(split)
    if text == "scenes":
        from kapps.data import scenes

        return scenes.load_split(split)

    if text == "scene_masks":
        from kapps.data import scenes

        return scenes.load_masks(split)
    if text == "distorted_mnist":
        from kapps.data import distorted_mnist

        return distorted_mnist.load_split(split, data_dir=data_dir, download=download)

    path = Path(text).expanduser()
    if text == "scene_boxes" or path.suffix == ".json":
        raise DataError(f"{text} holds boxes, not one label an image: open it with kapps.data.load_boxes")
    if path.suffix in (".npz", ".npy"):
        from kapps.data import arrays

        return arrays.load_split(path, split)
    is_path = isinstance(source, Path) or text.startswith((".", "~", os.sep))
    from kapps.data import tfds

    if is_path or (path.exists() and not tfds.is_known(text)):
        from kapps.data import folders

        return folders.load_split(path, split)
    return tfds.load_split(text, split, data_dir=data_dir, download=download)

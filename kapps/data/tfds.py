"""TensorFlow Datasets by name, read from a folder in which they lie prepared.

Reading never uses the network. Only `download=True` lets TFDS download and prepare a set that is not there yet.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from kapps.data import SOURCES
from kapps.data.dataset import Dataset
from kapps.data.splits import split_slices
from kapps.errors import DataError, UnknownNameError

# Encoded examples that a streamed shuffle holds at once: 10,000 photographs of 100 KB take 1 GB.
SHUFFLE_BUFFER = 10_000


def load_split(
    name: str, split: str = "train", *, data_dir: str | Path | None = None, download: bool = False
) -> Dataset:
    """A split of a TFDS set for classification, of images or of sounds.

    Args:
        name: TFDS' name, with its config and version where wanted: `"mnist"`, `"cifar10:3.0.2"`, `"imagenette/160px"`.
        split: any of TFDS' split expressions.
        data_dir: the folder that holds `<name>/<version>/`; None is `$KAPPS_DATA_DIR`, else
            TFDS' own `~/tensorflow_datasets`.
        download: download and prepare the set if it is not there.

    Raises:
        UnknownNameError: TFDS has no set of this name.
        DataError: the set is not prepared, has no such split, or is not (image or audio) -> class.
    """
    builder = open_builder(name, data_dir, download)
    sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
    if not sizes:
        raise DataError(f"expected splits in {builder.data_path}, found none: prepare {name!r} again")
    num_examples = sum(rows.stop - rows.start for _, rows in split_slices(split, sizes, name))
    input_key, label_key = _keys(builder.info, name)
    feature, label = builder.info.features[input_key], builder.info.features[label_key]
    is_audio = isinstance(feature, tfds.features.Audio)

    # Images stay encoded until they are needed: they are shuffled at a tenth of the size.
    try:
        records = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(
                {input_key: feature, label_key: label},
                decoders=None if is_audio else {input_key: tfds.decode.SkipDecoding()},
            ),
            read_config=tfds.ReadConfig(try_autocache=False, add_tfds_id=False),
        )
    except (ValueError, AssertionError, OSError, tf.errors.OpError) as error:
        raise DataError(
            f"{builder.data_path} cannot be read as {name} {split!r} ({first_line(error)}): prepare it again"
        ) from error

    def decode(example):
        if is_audio:
            return tf.cast(example[input_key], tf.int16), example[label_key]
        return feature.decode_example(example[input_key]), example[label_key]

    kind: Literal["audio", "image"] = "audio" if is_audio else "image"
    if kind == "image" and feature.np_dtype != "uint8":
        raise DataError(f"expected 8-bit images, {name} holds {feature.np_dtype}: kapps does not read these")
    known = next((source for source in SOURCES if source.name == builder.name), None)
    return Dataset(
        records=records,
        decode=decode,
        num_examples=num_examples,
        input_shape=tuple(feature.shape),
        class_names=tuple(label.names),
        name=builder.name,
        split=split,
        source=f"TensorFlow Datasets {builder.info.full_name}",
        licence=known.licence if known else (builder.info.redistribution_info.license or "see the data set's own page"),
        kind=kind,
        sample_rate=getattr(feature, "sample_rate", None),
        shuffle_buffer=SHUFFLE_BUFFER,
    )


def open_builder(name: str, data_dir: str | Path | None, download: bool) -> tfds.core.DatasetBuilder:
    """The prepared set, from its files alone, so that nothing is asked of the network."""
    folder = Path(data_dir or os.environ.get("KAPPS_DATA_DIR") or tfds.core.constants.DATA_DIR).expanduser()
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        pass
    except (ValueError, OSError, KeyError, json_format.Error) as error:
        raise DataError(
            f"{folder} holds {name} but not as TFDS prepares it ({first_line(error)}): prepare it again"
        ) from error

    base = _base(name)
    names = _names()
    if base not in names:
        known = [source.name for source in SOURCES if source.needs in ("built in", "TFDS")]
        prepared = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        raise UnknownNameError("data set", name, {*known, *prepared, *names}, hint="see `kapps data`")
    if not download:
        raise DataError(
            f"{name} is not prepared under {folder}: give the folder that holds {base}/<version> (--data-dir DIR), "
            f"or prepare it with `python -c \"import tensorflow_datasets as t; t.load('{name}', data_dir='DIR')\"`"
        )
    try:
        builder = tfds.builder(name, data_dir=folder)
        builder.download_and_prepare()
    except Exception as error:  # TFDS passes on whatever its downloaders and builders raise
        raise DataError(f"TFDS could not prepare {name} under {folder} ({first_line(error)})") from error
    return builder


def is_known(name: str) -> bool:
    """Whether TFDS has a set of this name."""
    return _base(name) in _names()


@cache
def _names() -> frozenset[str]:
    return frozenset(tfds.list_builders(with_community_datasets=False))


def _base(name: str) -> str:
    """The name without its config and version."""
    return name.split("/")[0].split(":")[0]


def _keys(info: tfds.core.DatasetInfo, name: str) -> tuple[str, str]:
    """The names of the input and of the label among the features."""
    features = info.features
    inputs = [key for key in features if isinstance(features[key], (tfds.features.Image, tfds.features.Audio))]
    labels = [key for key in features if isinstance(features[key], tfds.features.ClassLabel)]
    supervised: Any = info.supervised_keys
    if supervised and len(supervised) == 2 and supervised[0] in inputs and supervised[1] in labels:
        return supervised[0], supervised[1]
    if len(inputs) == 1 and len(labels) == 1:
        return inputs[0], labels[0]
    raise DataError(
        f"expected one image or audio feature and one class label in {name}, it has {', '.join(features)}: "
        "choose a data set for classification"
    )


def first_line(error: Exception) -> str:
    """The first line of a foreign error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""TensorFlow Datasets of boxes by name: `voc`, `coco`, and every set in their form.

The form: an image and a sequence of things, each with a `BBoxFeature` (TFDS' relative y, x, y, x) and a `ClassLabel`.
`is_difficult`, `is_crowd` and `area`, where a thing has them, are read too. A box without area is left out; TFDS itself
refuses boxes outside the image when a set is prepared.

TFDS' `voc` holds VOC's coordinates divided by the image's size, and those count pixels from 1 (see `kapps.data.voc`).
Of that set alone, left and top are moved by a pixel, so that the boxes are the ones that the folder gives.

Reading never uses the network. Only `download=True` lets TFDS download and prepare a set that is not there yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.features.bounding_boxes import BBoxFeature

from kapps.data.boxes import BoxDataset, Targets, in_colour
from kapps.data.splits import split_slices
from kapps.data.tfds import SHUFFLE_BUFFER, first_line, open_builder
from kapps.errors import DataError

# Sets whose coordinates are VOC's: 1 is the first pixel.
_COUNTED_FROM_ONE = ("voc",)


def load_split(
    name: str, split: str = "train", *, data_dir: str | Path | None = None, download: bool = False
) -> BoxDataset:
    """A split of a TFDS set of boxes.

    Args:
        name: TFDS' name, with its config and version where wanted: `"voc/2007"`, `"coco/2017"`.
        split: any of TFDS' split expressions.
        data_dir: the folder that holds `<name>/<version>/`; None is `$KAPPS_DATA_DIR`, else
            TFDS' own `~/tensorflow_datasets`.
        download: download and prepare the set if it is not there.

    Raises:
        UnknownNameError: TFDS has no set of this name.
        DataError: the set is not prepared, has no such split, or is not in the form of the module's docstring.
    """
    builder = open_builder(name, data_dir, download)
    sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
    if not sizes:
        raise DataError(f"expected splits in {builder.data_path}, found none: prepare {name!r} again")
    num_examples = sum(rows.stop - rows.start for _, rows in split_slices(split, sizes, name))
    features = builder.info.features
    keys = _keys(features, name)
    image_feature, things_feature = features[keys.image], features[keys.things]
    if image_feature.np_dtype != "uint8":
        raise DataError(f"expected 8-bit images, {name} holds {image_feature.np_dtype}: kapps does not read these")

    # Images stay encoded until they are needed: they are shuffled at a tenth of the size.
    try:
        records = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(
                {keys.image: image_feature, keys.things: things_feature},
                decoders={keys.image: tfds.decode.SkipDecoding()},
            ),
            read_config=tfds.ReadConfig(try_autocache=False, add_tfds_id=False),
        )
    except (ValueError, AssertionError, OSError, tf.errors.OpError) as error:
        raise DataError(
            f"{builder.data_path} cannot be read as {name} {split!r} ({first_line(error)}): prepare it again"
        ) from error
    first_pixel = 1.0 if builder.name in _COUNTED_FROM_ONE else 0.0

    def decode(example) -> tuple[tf.Tensor, Targets]:
        image = in_colour(image_feature.decode_example(example[keys.image]))
        things = example[keys.things]
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        top, left, bottom, right = tf.unstack(tf.ensure_shape(things[keys.box], [None, 4]), axis=-1)
        left, top = tf.maximum(left * width - first_pixel, 0), tf.maximum(top * height - first_pixel, 0)
        right, bottom = tf.minimum(right * width, width), tf.minimum(bottom * height, height)
        own_area = (right - left) * (bottom - top)
        none = tf.zeros_like(left, tf.bool)
        targets = {
            "boxes": tf.stack([left, top, right, bottom], axis=-1),
            "classes": tf.cast(things[keys.label], tf.int32),
            "crowd": things.get("is_crowd", none),
            "difficult": things.get("is_difficult", none),
            "areas": tf.cast(things["area"], tf.float32) if "area" in things else own_area,
        }
        kept = (right > left) & (bottom > top)
        return image, {key: tf.boolean_mask(values, kept) for key, values in targets.items()}

    return BoxDataset(
        records=records,
        decode=decode,
        num_examples=num_examples,
        class_names=tuple(things_feature[keys.label].names),
        name=builder.name,
        split=split,
        source=f"TensorFlow Datasets {builder.info.full_name}",
        licence=builder.info.redistribution_info.license or "see the data set's own page",
        shuffle_buffer=SHUFFLE_BUFFER,
    )


class _Keys(NamedTuple):
    """The names of the features; of a thing: `box` and `label`."""

    image: str
    things: str
    box: str
    label: str


def _keys(features: tfds.features.FeaturesDict, name: str) -> _Keys:
    """What to read; where there are several of a kind, the ones that are named as in `voc` and `coco`."""
    images = [key for key in features if isinstance(features[key], tfds.features.Image)]
    sequences = [
        key
        for key in features
        if isinstance(features[key], tfds.features.Sequence)
        and isinstance(features[key].feature, tfds.features.FeaturesDict)
        and any(isinstance(inner, BBoxFeature) for inner in features[key].feature.values())
    ]
    image, things = _chosen(images, "image"), _chosen(sequences, "objects")
    if image is None or things is None:
        raise DataError(
            f"expected an image and a sequence of boxes with labels in {name}, it has {', '.join(sorted(features))}: "
            "choose a data set of boxes"
        )
    inner = features[things].feature
    box = _chosen([key for key in inner if isinstance(inner[key], BBoxFeature)], "bbox")
    label = _chosen([key for key in inner if isinstance(inner[key], tfds.features.ClassLabel)], "label")
    if box is None or label is None:
        raise DataError(
            f"expected one box and one label a thing in {name}, its {things} have {', '.join(sorted(inner))}: "
            "choose another data set"
        )
    if getattr(inner[box].bbox_format, "value", inner[box].bbox_format) != "REL_YXYX":
        raise DataError(
            f"expected boxes in TFDS' format REL_YXYX in {name}, got {inner[box].bbox_format}: prepare it so"
        )
    return _Keys(image, things, box, label)


def _chosen(keys: list[str], usual: str) -> str | None:
    if usual in keys:
        return usual
    return keys[0] if len(keys) == 1 else None

"""A data set of boxes: images with where each thing in them is and what it is.

An example is `(image, targets)`: a uint8 image `[H, W, 3]` and a dictionary of what is in it,

    boxes      float32 [M, 4]  "xyxy" in pixels of the image, inside it; a box of one pixel is 1 wide
    classes    int32 [M]       index into the set's class names; background is none of them
    crowd      bool [M]        a group of things in one box (COCO's `iscrowd`)
    difficult  bool [M]        hardly to be recognised (VOC's `difficult`)
    areas      float32 [M]     square pixels: of the thing where the file tells it (COCO's `area`), else of its box

An image without boxes, M = 0, is an example like any other. `BoxDataset.batches` makes padded batches of them.

What readers do with boxes as people draw them, one rule for all: what reaches over the image's border is clipped to it;
what has no area, as written or after that, is left out; both are counted in `BoxDataset.notes`. What cannot be meant
(numbers that are not finite, right of left exchanged, a class that the set does not have) is an error that names the
file and the place in it.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kapps.data.dataset import every_epoch, shuffled
from kapps.data.decoding import decode_image
from kapps.data.images import MAX_FILE_BYTES, image_size
from kapps.errors import DataError, nearest
from kapps.streams import untuned

# More boxes in one image than any camera sees: a file with more is damaged, or made to harm.
MAX_BOXES = 20_000

# So far a clipped box may have reached over the border without a word about it: roundings of x + width.
_CLIPPED_UNSEEN = 0.01

logger = logging.getLogger(__name__)

Targets = dict[str, tf.Tensor]


@dataclass(frozen=True, eq=False)
class BoxDataset:
    """A split of a data set of boxes.

    Attributes:
        records: what is cheap to hold and to shuffle, in a fixed order: numbers, encoded bytes, or whole examples.
        decode: turns one record into `(image, targets)`; None where the records are the examples.
        num_examples: how many; None where nobody knows before reading.
        class_names: the names, index = class.
        name: what the set is called, e.g. `"scene_boxes"`.
        split: which part, as it was asked for, e.g. `"train[:80%]"`.
        source: where it comes from, for a model's card.
        licence: of the data, for a model's card.
        shuffle_buffer: how many records a shuffle holds at once; None for all of them.
        notes: what the reader left out or mended, one line each.
    """

    records: tf.data.Dataset
    decode: Callable[..., tuple[tf.Tensor, Targets]] | None
    num_examples: int | None
    class_names: tuple[str, ...]
    name: str
    split: str
    source: str
    licence: str
    shuffle_buffer: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def examples(self) -> tf.data.Dataset:
        """Unbatched `(image uint8 [H, W, 3], targets)` in the set's own order; `targets` as in the module's words."""
        return self.records if self.decode is None else self.records.map(self.decode, tf.data.AUTOTUNE)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def take(self, count: int) -> BoxDataset:
        """The first `count` examples.

        Raises:
            DataError: `count` is below 1.
        """
        if count < 1:
            raise DataError(f"expected to take at least 1 example of {self.name}, got {count}")
        left = count if self.num_examples is None else min(count, self.num_examples)
        return dataclasses.replace(self, records=self.records.take(count), num_examples=left)

    def batches(
        self,
        batch_size: int,
        prepare: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        *,
        shuffle_seed: int | None = None,
        start_epoch: int = 0,
        augment: Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]] | None = None,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Batches to learn from, prefetched, padded at the right and at the bottom to their largest image:

            ({"image": float32 [B, H', W', 3], zero where there is no image,
              "sizes": float32 [B, 2], height and width of each image without the padding},
             {"boxes": float32 [B, M, 4], "xyxy" in pixels of the prepared image,
              "classes": int32 [B, M], "valid": bool [B, M], False where a row is padding})

        Boxes of crowds and difficult ones are left out, as py-faster-rcnn and Detectron leave them out of training.
        M is the number of boxes of the batch's fullest image, and 0 where no image of it has any. Images are read
        when they are needed; of the set itself only `records` are held.

        Args:
            batch_size: examples in a batch; the last one of an epoch may be smaller.
            prepare: what makes of an image the network's input, in graph mode: `uint8 [H, W, 3] -> (float32 [H', W',
                3], float32 [2])`, the second the height and width of what in it is not padding. Boxes are scaled by
                that size over (H, W).
            shuffle_seed: None keeps the set's order. Otherwise the set is shuffled anew for every pass over the
                returned data set: pass k takes epoch `start_epoch + k`, whose order depends on the seed and on the
                epoch's number alone. Shuffling goes through a buffer of `shuffle_buffer` records.
            start_epoch: the number of the first epoch; give the number of finished epochs when a run is resumed.
            augment: before `prepare`, in graph mode: `(uint8 [H, W, 3], boxes [M, 4], classes [M], seed) -> (uint8
                image, boxes, classes)`, e.g. a `kapps.data.box_augment.BoxAugment`; it may drop boxes. The seed, int64
                [2], follows from the shuffle seed, the epoch's number and the place in its order.
            drop_remainder: leave a smaller last batch out.

        Raises:
            DataError: a batch size below 1, or `augment` without `shuffle_seed`.
        """
        if batch_size < 1:
            raise DataError(f"expected a batch size of at least 1, got {batch_size}")
        if augment is not None and shuffle_seed is None:
            raise DataError("expected a shuffle_seed with augment, got None: what is drawn follows from it")

        def ready(record: Any, seed: tf.Tensor | None) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
            image, targets = self._decoded(record)
            kept = ~(targets["crowd"] | targets["difficult"])
            boxes, classes = tf.boolean_mask(targets["boxes"], kept), tf.boolean_mask(targets["classes"], kept)
            if augment is not None:
                image, boxes, classes = augment(image, boxes, classes, seed)
            before = tf.cast(tf.shape(image)[:2], tf.float32)
            prepared, size = prepare(image)
            prepared, size = tf.ensure_shape(prepared, [None, None, 3]), tf.ensure_shape(size, [2])
            scale = tf.reverse(size / before, [0])  # of x, of y
            boxes = tf.ensure_shape(boxes, [None, 4]) * tf.concat([scale, scale], axis=0)
            return (
                {"image": prepared, "sizes": size},
                {"boxes": boxes, "classes": classes, "valid": tf.ones_like(classes, tf.bool)},
            )

        if shuffle_seed is None:
            examples = self.records.enumerate().map(lambda place, record: ready(record, None), tf.data.AUTOTUNE)
        else:
            examples = self._shuffled(shuffle_seed, start_epoch).map(ready, tf.data.AUTOTUNE)
        batched = examples.padded_batch(batch_size, drop_remainder=drop_remainder)
        if self.num_examples is not None:
            rounded = math.floor if drop_remainder else math.ceil
            batched = batched.apply(tf.data.experimental.assert_cardinality(rounded(self.num_examples / batch_size)))
        return untuned(batched.prefetch(2))

    def _decoded(self, record: Any) -> tuple[tf.Tensor, Targets]:
        if self.decode is None:
            return record
        return self.decode(*record) if isinstance(record, tuple) else self.decode(record)

    def _shuffled(self, shuffle_seed: int, start_epoch: int) -> tf.data.Dataset:
        """`(record, seed int64 [2])`: every pass takes the next epoch's order and seeds."""
        buffer = self.shuffle_buffer or self.num_examples or 10_000
        # Two numbers for each epoch: one for its order, as `Dataset` draws it, and one for what is drawn in it.
        epochs = every_epoch(
            lambda epoch: np.random.SeedSequence((shuffle_seed, epoch)).generate_state(2).astype(np.int64),
            tf.TensorSpec([2], tf.int64),
            start_epoch,
        )

        def one_epoch(seeds: tf.Tensor) -> tf.data.Dataset:
            order = shuffled(self.records, buffer, seeds[0]).enumerate()
            return order.map(lambda place, record: (record, tf.stack([seeds[1], place])))

        return epochs.flat_map(one_epoch)


def load_boxes(
    source: str | Path,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    classes: Sequence[str] | None = None,
) -> BoxDataset:
    """Opens a split of a data set of boxes. Images are decoded when they are needed.

    Args:
        source: one of

            - `"scene_boxes"`: generated images of up to five shapes and digits, built in;
            - a folder in the form of Pascal VOC: `Annotations/*.xml`, `JPEGImages/`, and where it has them
              `ImageSets/Main/{train,val,trainval,test}.txt`; see `kapps.data.voc`;
            - a COCO file `FILE.json`, or a folder with `annotations/instances_<split>.json`, `instances_<split>.json`
              or `instances.json`; see `kapps.data.coco`;
            - the name of such a folder or file under `data_dir`;
            - a TFDS name such as `"voc/2007"` or `"coco/2017"`, prepared under `data_dir`; see `kapps.data.tfds_boxes`.

            Names of built-in and TFDS sets come first: a folder called like one is meant when it is written `"./voc"`.
        split: `"train"`, `"test"`, `"validation"` (also `"val"`) where the set has it, or TFDS' slices:
            `"train[:80%]"`, `"train+validation"`.
        data_dir: the folder in which TFDS sets lie prepared, and your own by name; for TFDS, None is
            `$KAPPS_DATA_DIR`, else `~/tensorflow_datasets`.
        download: let TFDS download and prepare a set that is not there. Nothing else ever uses the network.
        classes: the class names in the order of their numbers. None takes those of the annotations: VOC's sorted by
            name, COCO's by the categories' ids. Sets that name their own must have these.

    Raises:
        UnknownNameError: no set is called so; with the nearest names.
        DataError: the set is not there, is not what it should be, or has no such split.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(f"expected the name of a data set or a path as the source, got {type(source).__name__}")
    names = _checked_classes(classes)
    text = os.fspath(source)
    part = re.sub(r"\bval\b", "validation", split)

    # Each reader is imported when it is asked for.
    own = None if text == "scene_boxes" else _own_path(source, data_dir)
    if own is not None:
        from kapps.data import coco, voc

        if own.suffix == ".json":
            data = coco.load_file(own, part, names)
        elif voc.is_voc(own):
            data = voc.load_split(own, part, names)
        elif coco.annotation_files(own):
            data = coco.load_folder(own, part, names)
        else:
            raise DataError(
                f"expected Annotations/*.xml (VOC), annotations/instances_*.json or instances.json (COCO) in {own}, "
                f"found {'neither' if own.is_dir() else 'no folder'}: give such a folder or a .json file"
            )
    elif text == "scene_boxes":
        from kapps.data import scenes

        data = scenes.load_boxes(part)
    else:
        from kapps.data import tfds_boxes

        data = tfds_boxes.load_split(text, part, data_dir=data_dir, download=download)
    if names is not None and data.class_names != names:
        raise DataError(
            f"expected the classes {', '.join(names)}, {text} has {', '.join(data.class_names)} by itself: "
            "leave classes out"
        )
    for note in data.notes:
        logger.warning("%s: %s", text, note)
    return dataclasses.replace(data, split=split)


# For readers of files -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One image of a folder with what is in it; arrays as in the module's words.

    Attributes:
        path: of the encoded image.
        boxes: float32 `[M, 4]`.
        classes: int32 `[M]`.
        crowd: bool `[M]`.
        difficult: bool `[M]`.
        areas: float32 `[M]`.
    """

    path: Path
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray


def from_files(
    images: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    *,
    name: str,
    split: str,
    source: str,
    notes: Sequence[str],
) -> BoxDataset:
    """The data set of at least one annotated image file; their boxes are held, their pixels are not."""
    targets = {
        key: tf.constant(np.concatenate([getattr(image, key) for image in images]), dtype)
        for key, dtype in {
            "boxes": tf.float32,
            "classes": tf.int32,
            "crowd": tf.bool,
            "difficult": tf.bool,
            "areas": tf.float32,
        }.items()
    }
    ends = tf.constant(np.cumsum([0, *(len(image.classes) for image in images)]), tf.int64)
    paths = tf.constant([os.fsencode(image.path) for image in images])

    def decode(number: tf.Tensor) -> tuple[tf.Tensor, Targets]:
        first, end = ends[number], ends[number + 1]
        image = in_colour(decode_image(tf.io.read_file(paths[number])))
        return image, {key: values[first:end] for key, values in targets.items()}

    return BoxDataset(
        records=tf.data.Dataset.range(len(images)),
        decode=decode,
        num_examples=len(images),
        class_names=tuple(class_names),
        name=name,
        split=split,
        source=source,
        licence="the user's own",
        notes=tuple(notes),
    )


def in_colour(image: tf.Tensor) -> tf.Tensor:
    """uint8 `[H, W, 1 or 3]` -> `[H, W, 3]`: grey becomes three equal channels."""
    return tf.ensure_shape(tf.tile(image, [1, 1, 3 // tf.shape(image)[2]]), [None, None, 3])


def image_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """(height, width) of each image as it is decoded, after a look at whether the file is a whole image.

    Raises:
        ImageError: a file that is no image, cut off, or with too many pixels.
        DataError: a file that cannot be read.
    """

    def size(path: Path) -> tuple[int, int]:
        try:
            size_in_bytes = path.stat().st_size
            if size_in_bytes > MAX_FILE_BYTES:
                raise DataError(f"{path}: expected at most {MAX_FILE_BYTES:,} bytes, got {size_in_bytes:,}")
            return image_size(path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(size, paths))


@dataclass
class Mending:
    """Boxes as they are written -> boxes inside their images, with an account of it.

    Attributes:
        clipped: how many reached over the border of their image.
        left_out: where those without area are written, e.g. `"a.xml line 3"`.
    """

    clipped: int = 0
    left_out: list[str] = field(default_factory=list)

    def __call__(
        self, boxes: np.ndarray, size: tuple[int, int], places: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Clips the boxes of one image.

        Args:
            boxes: `[M, 4]`, "xyxy" in pixels; neither inverted nor NaN.
            size: (height, width) of the image.
            places: of length M: where each box is written.

        Returns:
            float32 `[M, 4]`, and bool `[M]`: which have an area.
        """
        height, width = size
        inside = np.clip(boxes, 0, [width, height, width, height])
        # In the numbers that are handed on: a box thinner than they can tell has no area either.
        mended = inside.astype(np.float32)
        kept = (mended[:, 2] > mended[:, 0]) & (mended[:, 3] > mended[:, 1])
        self.clipped += int(np.count_nonzero(kept & (np.abs(boxes - inside) > _CLIPPED_UNSEEN).any(axis=1)))
        self.left_out += [place for place, has_area in zip(places, kept, strict=True) if not has_area]
        return mended, kept

    def notes(self) -> list[str]:
        """The account, one line for each kind."""
        lines = []
        if self.clipped:
            lines.append(f"clipped {self.clipped:,} boxes that reached over the border of their image")
        if self.left_out:
            lines.append(f"left out {len(self.left_out):,} boxes without area in their image, first {self.left_out[0]}")
        return lines


def unknown_class(place: str, name: str, classes: Sequence[str]) -> DataError:
    """The error for a class that the set does not have; `place` is the file and the place in it."""
    near = nearest(name, classes)
    advice = "did you mean " + " or ".join(map(repr, near)) if near else f"known: {', '.join(classes)}"
    return DataError(f"{place}: expected one of the {len(classes)} classes, found {name[:80]!r}: {advice}")


def _checked_classes(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = () if isinstance(classes, str) else tuple(classes)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise DataError(f"expected classes as different names, such as ('cat', 'dog'), got {classes!r}")
    return names


def _own_path(source: str | Path, data_dir: str | Path | None) -> Path | None:
    """The folder or file of the user's own that is meant; None where it is to be a TFDS set."""
    from kapps.data import coco, tfds, voc

    text = os.fspath(source)
    path = Path(text).expanduser()
    if isinstance(source, Path) or text.startswith((".", "~", os.sep)):
        return path
    known = path.suffix != ".json" and tfds.is_known(text)
    if data_dir is not None and (known or not path.exists()):
        # TFDS keeps its own sets there, too, in folders by version, also such as it does not know by name. Some that it
        # knows are published in one of these forms, and may lie there as they were fetched.
        below = Path(data_dir).expanduser() / text
        if below.is_file() or voc.is_voc(below) or coco.annotation_files(below):
            return below
    if known:
        return None
    return path if path.exists() or path.suffix == ".json" else None

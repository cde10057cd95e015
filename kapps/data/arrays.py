"""Arrays as a data set: in memory, from a `.npz` file, or memory-mapped from a `.npy` file.

Nothing in a file is executed: `allow_pickle` stays off.

- `(inputs, labels)`: the whole is the split `"train"`.
- `.npz` with `x_train, y_train, x_test, y_test` (Keras' form; `x_val, y_val` too), or with one pair named `x, y`,
  `images, labels` or `inputs, labels`, which is the split `"train"`. Uncompressed size is looked at before reading.
- `.npy` with inputs `[N, ...]`, labels in `<same name>_labels.npy` beside it; inputs are read from the disk as needed.

uint8 inputs `[N, H, W]` or `[N, H, W, 1 to 4]` are images. All else, such as points `[N, d]` or pictures that are
floats already, goes to the model as it is: the kind is `"array"`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from kapps.data.dataset import Dataset
from kapps.data.splits import split_slices
from kapps.errors import DataError

# A .npz is read whole; what unpacks to more is refused (a small file can unpack to anything).
MAX_NPZ_BYTES = 4 * 2**30

_SPLIT_KEYS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
_PAIR_KEYS = (("x", "y"), ("images", "labels"), ("inputs", "labels"))


def from_arrays(inputs: np.ndarray, labels: np.ndarray, split: str = "train", *, name: str = "arrays") -> Dataset:
    """A data set of `inputs [N, ...]` and whole-number `labels [N]` or `[N, 1]`; `split` is `"train"` or a slice of it.

    Raises:
        DataError: shapes, types or lengths that do not fit, NaN or infinite inputs, negative labels.
    """
    return _dataset({"train": (np.asarray(inputs), np.asarray(labels))}, split, name, source="arrays")


def load_split(path: Path, split: str = "train") -> Dataset:
    """A split of a `.npz` or `.npy` file; see the module's docstring for the forms.

    Raises:
        DataError: not such a file, damaged, or arrays that do not fit.
    """
    if not path.is_file():
        raise DataError(f"expected an array file at {path}, found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        parts = _npz_parts(path) if path.suffix == ".npz" else _npy_parts(path)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
        if "pickle" in str(error):
            raise DataError(
                f"{path} holds Python objects, which can run code and are never loaded: save plain numeric arrays"
            ) from error
        raise DataError(f"{path} is not a readable {path.suffix} file ({error}): save it again with numpy") from error
    return _dataset(parts, split, path.stem, source=f"array file {path.name}")


def _npz_parts(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_NPZ_BYTES:
        raise DataError(
            f"{path} unpacks to {unpacked:,} bytes, expected at most {MAX_NPZ_BYTES:,}: save a .npy, which is streamed"
        )
    with np.load(path, allow_pickle=False) as arrays:
        parts = {split: (arrays[x], arrays[y]) for split, (x, y) in _SPLIT_KEYS.items() if x in arrays and y in arrays}
        if not parts:
            pair = next((pair for pair in _PAIR_KEYS if pair[0] in arrays and pair[1] in arrays), None)
            if pair is None:
                raise DataError(
                    f"expected the arrays x_train, y_train (and x_test, y_test), or x, y, or images, labels in {path}, "
                    f"found {', '.join(arrays.files) or 'none'}"
                )
            parts = {"train": (arrays[pair[0]], arrays[pair[1]])}
    return parts


def _npy_parts(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    labels_path = path.with_name(f"{path.stem}_labels.npy")
    if not labels_path.is_file():
        raise DataError(
            f"expected the labels of {path.name} in {labels_path}: save them there, or use a .npz with x and y"
        )
    return {"train": (np.load(path, mmap_mode="r", allow_pickle=False), np.load(labels_path, allow_pickle=False))}


def _dataset(parts: dict[str, tuple[np.ndarray, np.ndarray]], split: str, name: str, source: str) -> Dataset:
    parts = {key: _checked(inputs, labels, f"{name} ({key})") for key, (inputs, labels) in parts.items()}
    shapes = {(inputs.shape[1:], inputs.dtype) for inputs, _ in parts.values()}
    if len(shapes) > 1:
        raise DataError(f"the splits of {name} differ in shape or type: {sorted(map(str, shapes))}: make them alike")
    slices = split_slices(split, {key: len(labels) for key, (_, labels) in parts.items()}, name)
    inputs = _joined([parts[key][0][rows] for key, rows in slices])
    labels = _joined([parts[key][1][rows] for key, rows in slices])
    # Every split has the classes of the whole: a small slice must not make a smaller model.
    num_classes = 1 + max(int(labels.max()) for _, labels in parts.values())
    kind: Literal["image", "array"] = (
        "image" if inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[-1] <= 4 else "array"
    )
    if isinstance(inputs, np.memmap):
        records = tf.data.Dataset.range(len(labels))
        decode = _row_reader(inputs, labels, np.uint8 if kind == "image" else np.float32)
    else:
        records = tf.data.Dataset.from_tensor_slices((inputs if kind == "image" else np.float32(inputs), labels))
        decode = None
    return Dataset(
        records=records,
        decode=decode,
        num_examples=len(labels),
        input_shape=inputs.shape[1:],
        class_names=tuple(map(str, range(num_classes))),
        name=name,
        split=split,
        source=source,
        licence="the user's own",
        kind=kind,
    )


def _row_reader(inputs: np.memmap, labels: np.ndarray, dtype: type):
    """Row number -> example, read from the file when it is asked for."""
    all_labels = tf.constant(labels)

    def read(row: np.ndarray) -> np.ndarray:
        return np.array(inputs[int(row)], dtype)

    def decode(row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.numpy_function(read, [row], tf.as_dtype(dtype), stateful=False)
        return tf.ensure_shape(example, inputs.shape[1:]), all_labels[row]

    return decode


def _checked(inputs: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    for what, array in (("inputs", inputs), ("labels", labels)):
        if array.dtype.kind not in "buif":
            raise DataError(f"expected numbers as the {what} of {name}, got {array.dtype}")
    if inputs.ndim < 2 or not all(inputs.shape):
        raise DataError(
            f"expected inputs [N, ...] with at least one example of at least one value in {name}, "
            f"got the shape {list(inputs.shape)}"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"expected labels [N], one class number an example, in {name}, got the shape {list(labels.shape)}: "
            "use argmax on one-hot labels"
        )
    if len(inputs) != len(labels):
        raise DataError(f"expected as many labels as inputs in {name}, got {len(labels):,} for {len(inputs):,} inputs")
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        raise DataError(f"expected whole numbers as the labels of {name}, got {labels.dtype} with fractions or NaN")
    if labels.min() < 0:
        raise DataError(f"expected class numbers from 0 as the labels of {name}, got {int(labels.min())}")
    if labels.max() >= len(labels) * 100 + 1000:
        raise DataError(
            f"expected class numbers 0, 1, 2, ... as the labels of {name}, got {int(labels.max())}: renumber them"
        )
    if inputs.dtype.kind == "f":
        # In pieces: the file may be larger than the memory.
        for start in range(0, len(inputs), 1024):
            finite = np.isfinite(inputs[start : start + 1024])
            if not finite.all():
                row = start + int(np.argwhere(~finite)[0, 0])
                raise DataError(
                    f"expected finite inputs in {name}, example {row} holds NaN or infinity: clean the data"
                )
    if inputs.dtype == np.uint8 and inputs.ndim == 3:
        inputs = inputs[..., np.newaxis]
    return inputs, labels.astype(np.int64)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    # One part stays a view, so that a memory-mapped file is not read here.
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

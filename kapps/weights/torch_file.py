"""PyTorch checkpoints (`.pth`, `.pt`) without torch, and without running anything that they say.

A checkpoint is a pickle, and a pickle is a program. This reader knows the handful of names that a dictionary of tensors
needs (an ordered dictionary, "make a tensor from a storage", the kinds of storage) and refuses every other: no code of
the file or of this machine can be reached from it. Numbers are read only when a tensor is asked for.

Two formats: the zip archive since torch 1.6, and the older one of pickles followed by raw numbers.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from kapps.errors import WeightsError

# The names in a pickle are few and short; one of this size describes no weights but an attack on the memory.
_MAX_PICKLE_BYTES = 2**26
_MAX_STORAGES = 100_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _RefusedError(Exception):
    """What a file asks for that weights do not need."""


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: Any


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: Any
    size: int  # in numbers


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile(Mapping[str, np.ndarray]):
    """The tensors of a checkpoint by name.

    A checkpoint of training with the weights under `state_dict` or `model` is unwrapped, and the prefix `module.` of
    parallel training is taken off.

    Args:
        path: of the file.

    Raises:
        WeightsError: the file is missing or damaged, or holds anything but tensors in a dictionary.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise WeightsError(f"{self.path}: no such file; expected a PyTorch checkpoint")
        try:
            content = self._open_archive() if zipfile.is_zipfile(self.path) else self._open_legacy()
            self._tensors = _state_dict(content)
        except _RefusedError as refused:
            raise WeightsError(f"{self.path}: {refused}") from None
        except WeightsError:
            raise
        except Exception as error:  # a damaged pickle can end in nearly any exception
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise WeightsError(
                f"{self.path}: expected a PyTorch checkpoint of tensors ({reason}); get a fresh copy"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        flat = self._read(tensor.storage)
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        count = math.prod(tensor.shape)
        # A step of 0 shows one number many times: a small file could so become a huge tensor.
        if count and (
            tensor.offset < 0 or min(tensor.strides, default=0) < 0 or last >= flat.size or count > flat.size
        ):
            raise WeightsError(f"{self.path}: damaged, {name} reaches beyond its numbers; get a fresh copy")
        bytes_per_number = flat.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, [step * bytes_per_number for step in tensor.strides], writeable=False
        )
        return np.array(view, dtype=np.float32) if view.dtype == ml_dtypes.bfloat16 else np.array(view)

    def _open_archive(self) -> Any:
        with zipfile.ZipFile(self.path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1:
                raise _RefusedError("expected a PyTorch checkpoint, found a zip archive without one data.pkl")
            folder = pickles[0].removesuffix("data.pkl")
            order = folder + "byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise _RefusedError("expected little-endian numbers, found big-endian ones: save it again")
            sizes = {}
            for member in archive.infolist():
                # torch stores its members as they are, so that nothing can swell when it is read
                if member.compress_type != zipfile.ZIP_STORED:
                    raise _RefusedError(f"expected members as they are, found {member.filename} compressed")
                sizes[member.filename] = member.file_size
            if sizes[pickles[0]] > _MAX_PICKLE_BYTES:
                raise _RefusedError(f"refused, a pickle of {sizes[pickles[0]]} bytes describes no weights")
            content = _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()

        def read(storage: _Storage) -> np.ndarray:
            member = f"{folder}data/{storage.key}"
            with zipfile.ZipFile(self.path) as archive:
                if member not in sizes or sizes[member] != storage.size * np.dtype(storage.dtype).itemsize:
                    raise WeightsError(f"{self.path}: damaged, expected {storage.size} numbers in {member}")
                return np.frombuffer(archive.read(member), storage.dtype)

        self._read: Callable[[_Storage], np.ndarray] = read
        return content

    def _open_legacy(self) -> Any:
        with self.path.open("rb") as file:
            limited = _Limited(file, _MAX_PICKLE_BYTES)
            if _Unpickler(limited).load() != _LEGACY_MAGIC:
                raise _RefusedError("expected a PyTorch checkpoint, found something else")
            _Unpickler(limited).load()  # the version of the format
            if not _Unpickler(limited).load().get("little_endian", True):
                raise _RefusedError("expected little-endian numbers, found big-endian ones: save it again")
            unpickler = _Unpickler(limited)
            content = unpickler.load()
            keys = _Unpickler(limited).load()
            places: dict[str, tuple[int, int]] = {}
            length = self.path.stat().st_size
            for key in keys:
                (size,) = struct.unpack("<q", file.read(8))
                storage = unpickler.storages.get(key)
                if storage is None or size != storage.size:
                    raise _RefusedError(f"damaged, the numbers of storage {key} are not as many as announced")
                places[key] = (file.tell(), size)
                file.seek(size * np.dtype(storage.dtype).itemsize, io.SEEK_CUR)
                if file.tell() > length:
                    raise _RefusedError("damaged, the file ends within its numbers")

        def read(storage: _Storage) -> np.ndarray:
            if storage.key not in places:
                raise WeightsError(f"{self.path}: damaged, the numbers of storage {storage.key} are missing")
            position, size = places[storage.key]
            return np.fromfile(self.path, storage.dtype, size, offset=position)

        self._read = read
        return content


class _Limited:
    """A file of which only the first bytes can be read: a pickle must not swallow the numbers behind it."""

    def __init__(self, file: BinaryIO, limit: int):
        self.file, self.limit = file, limit

    def read(self, size: int = -1) -> bytes:
        self._check(size)
        return self.file.read(size)

    def readline(self) -> bytes:
        line = self.file.readline(2**16)
        self._check(0)
        return line

    def readinto(self, buffer: Any) -> int:
        self._check(len(buffer))
        return self.file.readinto(buffer)  # type: ignore[attr-defined]

    def _check(self, size: int) -> None:
        if size < 0 or self.file.tell() + size > self.limit:
            raise _RefusedError("expected the description of tensors, found more than that: not a checkpoint")


class _Unpickler(pickle.Unpickler):
    """Knows the names below and no others; what they make has no methods that a file could call."""

    def __init__(self, file: Any):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _rebuild_tensor if name == "_rebuild_tensor_v2" else _rebuild_parameter
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        raise _RefusedError(
            f"refused, it asks for {module}.{name}: expected a dictionary of tensors, as `model.state_dict()` gives it"
        )

    def persistent_load(self, reference: Any) -> _Storage:
        kind, storage_type, key, _device, size = reference[:5]
        if kind != "storage" or not isinstance(storage_type, _StorageType) or not isinstance(key, str):
            raise _RefusedError("refused, it refers to something that is no storage of numbers")
        if not isinstance(size, int) or size < 0 or len(self.storages) >= _MAX_STORAGES:
            raise _RefusedError("refused, an impossible number or size of storages")
        return self.storages.setdefault(key, _Storage(key, storage_type.dtype, size))


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_ignored: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(type(number) is int for number in numbers):
        raise _RefusedError("damaged, a tensor without numbers")
    if len(shape) != len(strides) or min(shape, default=0) < 0:
        raise _RefusedError("damaged, a tensor of impossible shape")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *_ignored: Any) -> Any:
    return tensor


def _state_dict(content: Any) -> dict[str, _Tensor]:
    """The name -> tensor part of a checkpoint."""
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise _RefusedError("expected a dictionary of tensors, as `model.state_dict()` gives it, found something else")
    tensors = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _RefusedError(f"expected tensors by name, found {type(value).__name__.strip('_')} at {name!r:.60}")
        tensors[name.removeprefix("module.")] = value
    return tensors

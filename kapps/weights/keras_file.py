"""The HDF5 files of `keras.applications` (`.h5`, the format of Keras 1 and 2): tensors by layer and variable."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from kapps.errors import WeightsError

_MADE_UP = re.compile(r"(conv2d|separable_conv2d|depthwise_conv2d|batch_normalization|dense)(?:_(\d+))?")


def renumbered(layers: Iterable[str]) -> dict[str, str]:
    """Names that Keras made up (`conv2d_7`) as they are in a fresh process: `conv2d`, `conv2d_1`, ...

    Keras counts them for as long as a process lives, and began at 1 in older versions: only their order means
    anything.

    Args:
        layers: all names of a file or a model.

    Returns:
        {name: its name in a fresh process}; names that somebody chose stay.
    """
    kinds: dict[str, list[tuple[int, str]]] = {}
    names = list(layers)
    for name in names:
        if match := _MADE_UP.fullmatch(name):
            kinds.setdefault(match[1], []).append((int(match[2] or 0), name))
    fresh = {name: name for name in names}
    for kind, numbered in kinds.items():
        for rank, (_, name) in enumerate(sorted(numbered)):
            fresh[name] = f"{kind}_{rank}" if rank else kind
    return fresh


class KerasH5File(Mapping[str, np.ndarray]):
    """The tensors of a file as `layer/variable`, e.g. `conv1_conv/kernel`.

    Raises:
        WeightsError: the file is missing or damaged, or another kind of HDF5 file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise WeightsError(f"{self.path}: no such file; expected an .h5 file of Keras")
        self._places: dict[str, str] = {}
        try:
            with h5py.File(self.path) as file:
                root = file.get("model_weights", file)
                if "layer_names" not in root.attrs:
                    raise WeightsError(f"{self.path}: expected an .h5 weights file of Keras, found no list of layers")
                fresh = renumbered(_texts(root.attrs["layer_names"]))
                for layer in fresh:
                    group = root[layer]
                    for weight in _texts(group.attrs.get("weight_names", ())):
                        dataset = group[weight]
                        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
                            raise WeightsError(f"{self.path}: expected numbers at {weight}, found a link elsewhere")
                        if dataset.chunks and math.prod(dataset.chunks) > max(2 * dataset.size, 2**16):
                            raise WeightsError(f"{self.path}: refused, {weight} is packed in far larger chunks")
                        name = weight.rpartition("/")[2].partition(":")[0]
                        self._places[f"{fresh[layer]}/{name}"] = dataset.name
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, WeightsError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{self.path}: not a readable .h5 file of Keras ({reason}); get a fresh copy") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> np.ndarray:
        place = self._places[name]
        with h5py.File(self.path) as file:
            return np.asarray(file[place])


def _texts(values: object) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]  # type: ignore[attr-defined]

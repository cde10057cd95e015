"""An exported model -> plain Python answers. Knows nothing of architectures, nor of Keras.

    predictor = kapps.load("saved_models/mnist_lenet5")
    predictor("seven.png")             # {"label": "7", "score": 0.998, "top_k": [...], "probabilities": {...}}
    predictor(["a.png", "b.jpg"])      # a list of these

A segmentation, an embedding and a detector answer otherwise, see `kapps.answers`.

All preprocessing lies in the exported graph, so the numbers are those that a server with the same files gives.
TensorFlow is imported by the first `load`. The network itself may run in another runtime: see `kapps.engines`.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

import numpy as np

from kapps import answers, engines
from kapps.data.images import MAX_FILE_BYTES, check_image_bytes, image_size, read_image
from kapps.errors import ImageError, SavedModelError
from kapps.exporting import integrity
from kapps.exporting.atomic import versions
from kapps.exporting.card import Card, read_json

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    OneImage: TypeAlias = str | os.PathLike[str] | bytes | np.ndarray | PILImage

_SIGNATURES = ("serving_default", "serving_tensors")

# What one image is answered with: `kapps.answers.Answer`, `Segmentation`, `Embedding` or a list of `Found`.
AnswerT = TypeVar("AnswerT")


def load(path: str | os.PathLike[str], *, verify: bool = True, engine: str | None = None) -> Predictor[Any]:
    """Load an exported model.

    Args:
        path: the folder of the versions (`saved_models/x`: the version that its `card.json` names, else the highest)
            or one version (`saved_models/x/1`).
        verify: compare the sha256 of every file with the card. This finds damage; it does not make a stranger's model
            safe: a SavedModel is a program that may read and write files, so load those whose source you trust.
        engine: what computes the scores: `"openvino"`, `"onnx"`, `"litert"` or `"tensorflow"`; None for the first of
            these that is installed and that the version was exported for; `"onnx-int8"` (8 bits, other answers) only
            where it is asked for. Preprocessing, features and explanations are TensorFlow's in any case.

    Raises:
        SavedModelError: no such folder, no card of kapps, files that are missing, changed, added or unreadable, or a
            version that was not exported for this engine.
        UnknownNameError: no such engine.
        MissingExtraError: the engine is not installed.
    """
    folder = version_folder(Path(path))
    card = Card.read(folder / integrity.CARD)
    if verify:
        integrity.verify(folder, card.sha256)
    engine = engines.choose(folder, engine, _networks(card))

    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # damage shows as anything from OSError to a protobuf's DecodeError
        reason = " ".join(str(error).split())[:200]
        raise SavedModelError(f"{folder} cannot be loaded ({reason}): copy or export the model again") from error
    return Predictor(loaded, card, folder, engine)


def _networks(card: Card) -> list[str]:
    """The networks that an engine other than TensorFlow computes; one without files where there is none."""
    if card.kind != "detection":
        return ["model"]
    return [name for name in engines.NETWORKS if name in card.signatures] or ["model"]


def version_folder(path: Path) -> Path:
    """The version's folder that a path means: the one that `card.json` names, the highest, or itself.

    Raises:
        SavedModelError: it is no exported model, or a damaged one.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise SavedModelError(f"{path} {what}: expected the folder of an exported model, such as saved_models/NAME")
    if (path / "saved_model.pb").exists() or path.name.isdigit():
        folder = path
    elif (path / integrity.CARD).exists():
        version = read_json(path / integrity.CARD).get("version")
        if not isinstance(version, int):
            raise SavedModelError(f"{path / integrity.CARD} names no version: it is damaged, export the model again")
        folder = path / str(version)
        if not folder.is_dir():
            raise SavedModelError(f"{folder} is missing, which {path / integrity.CARD} names: copy the model again")
    elif numbers := versions(path):
        folder = path / str(numbers[-1])
    else:
        raise SavedModelError(f"{path} holds no exported model: expected a card.json or a folder named by a version")
    if not (folder / integrity.CARD).exists():
        raise SavedModelError(
            f"{folder} has no card.json, so its labels and its sums are unknown: "
            "it was not exported by kapps, or not copied as a whole; use kapps.export"
        )
    return folder


class Predictor(Generic[AnswerT]):
    """A loaded model; `load` makes one. Calling it is thread-safe.

    Attributes:
        card: what is known about the model, see `kapps.exporting.card.Card`; `card.kind` says what it answers.
        labels: the class names in the order of the scores; empty for an embedding.
        path: the version's folder.
        engine: what computes the scores, of a detector its networks; a key of `kapps.engines.RUNTIMES`.
        tensor_function: the signature `serving_tensors`: `tensor_function(image=float32 [B, h, w, c])` gives the
            tensors `probabilities` [B, N], `classes` [B, k] and `top_k` [B, k], of a segmentation `probabilities`
            [B, h', w', N] and `mask`, of an embedding `embedding` [B, D]; differentiable with respect to `image`. A
            detector's takes uint8 [B, H, W, 3] of any size, see `kapps.exporting.detection`.
        steps_function: the signature `steps` of a detector, else None.
        logits_function: the signature `logits`, likewise: `logits` [B, ..., N], which the last softmax or sigmoid
            takes; None for a model that ends in neither.
    """

    def __init__(self, loaded: Any, card: Card, path: Path, engine: str = "tensorflow"):
        is_detector = card.kind == "detection"  # it takes images as they are
        wanted = {*_SIGNATURES, *([] if is_detector else ["preprocess"]), *card.signatures}
        absent = sorted(name for name in wanted if name not in loaded.signatures)
        if absent:
            raise SavedModelError(
                f"{path} has no signature {absent[0]!r}: it was not exported by kapps; use kapps.export"
            )
        self._loaded = loaded  # owns the variables that the signatures only refer to
        self._bytes_function = loaded.signatures["serving_default"]
        self._preprocess_function = None if is_detector else loaded.signatures["preprocess"]
        self._features_function = loaded.signatures["features"] if card.features else None
        self.tensor_function = loaded.signatures["serving_tensors"]
        self.logits_function = loaded.signatures["logits"] if "logits" in card.signatures else None
        self.steps_function = loaded.signatures["steps"] if "steps" in card.signatures else None
        self.card = card
        self.labels = card.labels
        self.path = path
        self._kind = answers.kind_of(card)
        numbers = self.tensor_function.structured_outputs[self._kind.numbers].shape
        if card.kind not in ("embedding", "detection") and numbers[-1] != len(self.labels):
            raise SavedModelError(
                f"{path} has {numbers[-1]} outputs but its card {len(self.labels)} labels: export it again"
            )
        self._outputs = "x".join(map(str, numbers[1:-1])), numbers[-1]
        self.engine = engine
        self._engine: Any = None
        self._steps: engines.DetectorSteps | None = None  # of a detector in another runtime
        if engine == "tensorflow":
            self._engine = engines.TensorFlow(self.tensor_function, self._kind.numbers)
        elif is_detector:
            self._steps = self.detector_steps(engine)
        else:
            self._engine = engines.open_engine(engine, path)

    def __repr__(self) -> str:
        if self.card.kind == "detection":
            return (
                f"<Predictor {self.card.name} version {self.card.version}: {self.card.architecture}, any image -> "
                f"up to {self.card.top_k} objects of {len(self.labels)} classes, from {self.path}>"
            )
        size = "x".join(map(str, self.card.input["shape"]))
        pixels, count = self._outputs
        what = f"{count} classes ({self.card.scores})" if self.labels else f"{count} numbers"
        return (
            f"<Predictor {self.card.name} version {self.card.version}: {self.card.architecture}, {size} -> "
            f"{f'{pixels} pixels of ' if pixels else ''}{what}, from {self.path}>"
        )

    @overload
    # A path or bytes is a Sequence too, but no sequence of images: the first match counts.
    def __call__(self, images: OneImage) -> AnswerT: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[OneImage]) -> list[AnswerT]: ...

    def __call__(self, images: OneImage | Sequence[OneImage]) -> AnswerT | list[AnswerT]:
        """What the model sees in an image or in several.

        Args:
            images: one image, or a list of images, which may differ in kind and size. An image is a path, encoded bytes
                (PNG, JPEG, GIF, BMP), a PIL image, or a uint8 array [H, W] or [H, W, C] with C = 1 (grey), 3 (RGB) or
                4 (RGBA). A uint8 array [B, H, W, C] is a list of images.

        Returns:
            For one image what `kapps.answers` describes for this kind of model, for several a list, in the same order.

        Raises:
            ImageError: names the first image that cannot be read, and why.
        """
        several = _as_several(images)
        if several is None:
            return self._answers([_encode(images, "the image")])[0]
        return list(self.predict_many(several))

    def predict_many(self, images: Iterable[OneImage], batch_size: int = 32) -> Iterator[AnswerT]:
        """The answers for any number of images, one after the other; only `batch_size` are held in memory.

        Args:
            images: as in `__call__`, from any iterable.
            batch_size: how many go through the network at once; it does not change the answers.

        Raises:
            ImageError: names the first image of a batch that cannot be read, and why.
        """
        for batch in _batches(images, batch_size):
            yield from self._answers(batch)

    def preprocess(self, images: OneImage | Sequence[OneImage]) -> np.ndarray:
        """What the network gets to see: float32 [B, h, w, c]; B = 1 for one image.

        Arguments and errors as in a call.

        Raises:
            SavedModelError: the model is a detector, which takes images of any size as they are.
        """
        self._check_one_size("images become what the network takes")
        return np.concatenate([self._preprocessed(batch).numpy() for batch in _all(images)])

    def features(self, images: OneImage | Sequence[OneImage]) -> dict[str, np.ndarray]:
        """The outputs of the inner layers that were exported (`card.features`): name -> float32 [B, ...].

        Arguments and errors as in a call.

        Raises:
            SavedModelError: the model was exported without features.
        """
        if self._features_function is None:
            raise SavedModelError(f"{self.path} was exported without features: export it with features=[layer names]")
        parts = [self._features_function(image=self._preprocessed(batch)) for batch in _all(images)]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in self.card.features}

    def predict_tensors(self, batch: np.ndarray) -> np.ndarray:
        """Scores float32, in the order of `labels`, of images that are preprocessed already.

        Args:
            batch: float32 [B, h, w, c], as `preprocess` gives it.

        Returns:
            [B, N], of a segmentation [B, h', w', N], of an embedding [B, D].

        Raises:
            ImageError: another shape or type.
            SavedModelError: the model is a detector.
        """
        self._check_one_size("scores are computed")
        shape = tuple(self.card.input["shape"])
        if batch.dtype != np.float32 or batch.shape[1:] != shape:
            raise ImageError(
                f"expected preprocessed images float32 [B, {', '.join(map(str, shape))}], got {batch.dtype} "
                f"{list(batch.shape)}: take what preprocess() gives"
            )
        return self._engine.network(batch)

    def detector_steps(self, engine: str, threads: int | None = None) -> engines.DetectorSteps:
        """A detector's steps one by one, with its networks in an engine, e.g. to see where the time goes.

        Args:
            engine: a key of `kapps.engines.RUNTIMES` that the version was exported for; TensorFlow always is.
            threads: of another engine than TensorFlow, for one answer; None for one a processor.

        Raises:
            SavedModelError: the model is no detector, or was exported before detectors had steps or not for this
                engine.
        """
        steps = [name for name in engines.STEPS if name in self._loaded.signatures]
        if self.card.kind != "detection" or "prepare" not in steps:
            raise SavedModelError(
                f"expected a detector that was exported in steps, {self.path} has none: export it again"
            )
        if engine == "tensorflow":
            return engines.DetectorSteps(self._loaded.signatures)
        engines.choose(self.path, engine, _networks(self.card))  # refuses what is not there
        networks = self.card.engines[engine]["networks"]
        return engines.open_detector(engine, self.path, networks, self._loaded.signatures, threads)

    def _check_one_size(self, what: str) -> None:
        if self._preprocess_function is None:
            raise SavedModelError(
                f"expected a model for images of one size, {self.path} is a detector, in whose graph {what}: call it "
                "with the image, or its tensor_function with uint8 pixels"
            )

    def _preprocessed(self, batch: list[tuple[bytes, str]]) -> Any:
        return self._run(self._preprocess_function, batch)["image"]

    def _answers(self, batch: list[tuple[bytes, str]]) -> list[AnswerT]:
        if "proposals" in self._bytes_function.structured_input_signature[1]:
            raise SavedModelError(
                f"{self.path} is a detector that is told where to look: call its tensor_function with uint8 pixels and "
                "proposals"
            )
        if self._steps is not None:
            found = [self._run(self._step_by_step, [image]) for image in batch]
            arrays = {name: np.concatenate([each[name] for each in found]) for name in self._kind.wanted}
        elif self.engine == "tensorflow":  # one call for both steps
            given = self._run(self._bytes_function, batch)
            arrays = {name: given[name].numpy() for name in self._kind.wanted}
        else:
            arrays = self._kind.reduced(self._engine.network(self._preprocessed(batch).numpy()))
        return self._kind.answers(arrays, (image_size(data, name) for data, name in batch))

    def _step_by_step(self, image_bytes: Any) -> dict[str, np.ndarray]:
        """The answer for a batch of one encoded image."""
        assert self._steps is not None
        return self._steps({"image_bytes": image_bytes[0]})

    def _run(self, function: Any, batch: list[tuple[bytes, str]]) -> dict[str, Any]:
        """Call a signature that takes encoded images; if one of them cannot be decoded, say which."""
        import tensorflow as tf

        try:
            return function(image_bytes=tf.constant([data for data, _ in batch]))
        except tf.errors.InvalidArgumentError as error:
            if len(batch) > 1:
                for image in batch:
                    self._run(self._preprocess_function or function, [image])
            raise ImageError(
                f"{batch[0][1]} is damaged or cut off and cannot be decoded: give a whole image ({_first_words(error)})"
            ) from error


def _as_several(images: Any) -> Iterable[Any] | None:
    """The images of a batch; None if this is a single image."""
    if isinstance(images, np.ndarray):
        if images.ndim == 4:
            _check_not_empty(images)
            return images
        return None
    if isinstance(images, list | tuple):
        _check_not_empty(images)
        return images
    return None


def _check_not_empty(images: Sequence[Any] | np.ndarray) -> None:
    if len(images) == 0:
        raise ImageError("expected at least one image, got an empty list")


def _all(images: Any) -> Iterator[list[tuple[bytes, str]]]:
    several = _as_several(images)
    return iter([[_encode(images, "the image")]]) if several is None else _batches(several, 32)


def _batches(images: Iterable[Any], batch_size: int) -> Iterator[list[tuple[bytes, str]]]:
    encoded = (_encode(image, f"image {place} (counted from 0)") for place, image in enumerate(images))
    return iter(lambda: list(itertools.islice(encoded, batch_size)), [])


def _encode(image: Any, name: str) -> tuple[bytes, str]:
    """(encoded image, its name for errors). What is not encoded becomes a PNG, which keeps every pixel as it is."""
    if isinstance(image, str | os.PathLike):
        name = os.fspath(image)
        data = _read(Path(image))
    elif isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
    else:
        data = _as_png(image, name)
    check_image_bytes(data, name)
    return data, name


def _read(path: Path) -> bytes:
    if not path.is_file():  # neither a folder nor a pipe or device, which might never end
        what = "is not a file" if path.exists() else "does not exist"
        raise ImageError(f"{path} {what}: expected the path of an image")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ImageError(
            f"{path} has {path.stat().st_size:,} bytes, expected at most {MAX_FILE_BYTES:,}: make the image smaller"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error


def _as_png(image: Any, name: str) -> bytes:
    import PIL.Image

    if not isinstance(image, np.ndarray | PIL.Image.Image):
        raise ImageError(
            f"{name}: expected a path, encoded bytes, a PIL image or a uint8 array, got {type(image).__name__}"
        )
    if isinstance(image, np.ndarray) and image.dtype != np.uint8:
        raise ImageError(
            f"{name}: expected uint8 pixels from 0 to 255, got {image.dtype}: give (255 * x).round().astype('uint8') "
            "if they go from 0 to 1; preprocessed images go to predict_tensors"
        )
    pixels = read_image(image, name)
    file = io.BytesIO()
    # Read once, a moment later: speed counts, not size.
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _first_words(error: Exception) -> str:
    """The part of TensorFlow's message before it tells where in the graph it happened."""
    message = getattr(error, "message", str(error))
    lines = [line.strip() for line in message.splitlines() if line.strip() and "Detected at node" not in line]
    lines = [line for line in lines if not line.startswith(("Graph execution error", "File ", "["))]
    return (lines[0] if lines else type(error).__name__).split("[[")[0].strip()[:160]

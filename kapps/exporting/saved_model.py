"""A trained Keras model as a SavedModel that takes encoded images: preprocessing, network and labels in one graph.

    <path>/card.json                     the current version's card; says which version is current
    <path>/card.md                       the same for a reader
    <path>/<version>/saved_model.pb      the graph, with the signatures below
                     variables/          the weights
                     assets.extra/tf_serving_warmup_requests
                     model.keras         the Keras model, for fine-tuning (`kapps.create.load_keras`)
                     model.onnx, ...     the network for other runtimes, if asked for: see `kapps.engines`
                     model.int8.onnx     the network in 8 bits, if asked for: see `kapps.exporting.quantize`
                     card.json           this version's card

Signatures (TensorFlow Serving calls them by name):

    serving_default  image_bytes string [B]      -> the answer, see below
    serving_tensors  image float32 [B, h, w, c]  -> the same, or more; `image` is preprocessed already; differentiable
    preprocess       image_bytes string [B]      -> image float32 [B, h, w, c]
    logits           image float32 [B, h, w, c]  -> logits float32, what the softmax or sigmoid at the end takes; only
                                                    if there is one. `kapps.explaining` needs it: where an answer is
                                                    sure, the gradient of its probability is 0
    features         image float32 [B, h, w, c]  -> {name: tensor}; only if features were asked for

What an answer is depends on the model's output (`kapps.exporting.signatures`):

    one score a class         probabilities float32 [B, N], classes string [B, k], top_k float32 [B, k]
    one a class and pixel     mask uint8 [B, h', w'] (int32 beyond 256 classes): the index of each pixel's class,
                              confidence float32 [B, h', w']: its score,
                              classes string [B, N] and shares float32 [B, N]: their parts of the pixels, falling;
                              `serving_tensors` gives probabilities float32 [B, h', w', N] and mask instead
    D numbers and no labels   embedding float32 [B, D]
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import io
import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import kapps
from kapps import catalog
from kapps.create import features as feature_model
from kapps.data.images import decode_image
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError, SavedModelError, UnknownNameError
from kapps.exporting import flops, integrity, optimise, warmup
from kapps.exporting.atomic import StagedVersion, check_free, staged_version
from kapps.exporting.card import Card, check_facts
from kapps.exporting.formats import check_formats, write_formats
from kapps.exporting.logits import NoActivation, before_activation
from kapps.exporting.quantize import ENGINE, Quantization, check_quantization, write_int8
from kapps.exporting.signatures import Classification, Embedding, Kind, kind_of

ENCODED_FORMATS = ["png", "jpeg", "gif", "bmp"]
KERAS_FILE = "model.keras"

Network: TypeAlias = Callable[[tf.Tensor], dict[str, Any]]

# Rounding moves the outputs by less than this many of their standard deviations; anything more is a fault.
_OPTIMISED_BAR = 1e-3

_ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.math.sigmoid, "linear": tf.identity}


def export(
    model: keras.Model,
    path: str | Path,
    *,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    version: int | None = None,
    card: Mapping[str, Any] | None = None,
    features: Sequence[str] = (),
    top_k: int = 5,
    activation: str | None = None,
    samples: Sequence[bytes | np.ndarray] = (),
    overwrite: bool = False,
    optimize: bool = False,
    formats: Sequence[str] = (),
    quantize: Quantization | None = None,
) -> Path:
    """Write a model as `<path>/<version>/`, with its card beside it, so that it appears whole or not at all.

    What was written is loaded again and must give the same answers as `model` before it is put in place.

    Args:
        model: a functional model from one image [B, h, w, c] to one score a class [B, N], to one a class and pixel
            [B, h', w', N] (a segmentation), or to numbers that are no scores [B, D] (an embedding).
        path: the folder of the versions; its name is the name under which a server offers the model.
        preprocessing: what the model was trained on; becomes part of the graph.
        labels: N class names in the order of the outputs; none, `()`, for an embedding.
        version: a positive number; None for the highest one there + 1. This version becomes the current one.
        card: what cannot be found out from the model: title, data, licence, metrics, ...; see
            `kapps.exporting.card.FACTS` and `check_facts`.
        features: names of layers whose outputs the signature `features` gives.
        top_k: of a classifier: how many of the likeliest classes `classes` and `top_k` hold (at most N).
        activation: None when the outputs are probabilities already (they sum to 1, or each lies in [0, 1]). For a model
            that ends in logits, `"softmax"` or `"sigmoid"` is put behind it; `"linear"` exports its scores as they are.
        samples: images for the warm-up requests, encoded or uint8 [H, W] or [H, W, C]; made up unless given.
        overwrite: replace `version` if it is there. A server that has loaded it will not notice: prefer a new version.
        optimize: fold batch normalisation into the convolutions and freeze the weights into constants: faster, the
            same answers (checked; refused when off), but nothing to train further. `model.keras` stays as it is.
        formats: `"onnx"`, `"openvino"`, `"litert"`: the network for these runtimes, too, for any number of images at
            once, each checked against `model`; `kapps.load` then prefers them where they are installed.
        quantize: images to write the network in 8 bits with, for `kapps.load(path, engine="onnx-int8")`, and to measure
            on how much accuracy that costs; the card says so. Writes the format `"onnx"`, too. For classifiers only.

    Returns:
        The version's folder.

    Raises:
        RecipeError: arguments that do not fit the model or each other.
        SavedModelError: a model that cannot be exported, e.g. with weights that are not finite, or that loses too much
            in 8 bits.
        DataError: images to quantise with that are too few or not finite.
        UnknownNameError: a name in `features` that no layer has, or an unknown format.
        MissingExtraError: a format whose package is not installed.
        OutputError: the version exists, or something cannot be written; nothing is left behind then.
    """
    path = Path(path).resolve()
    facts = check_facts(card or {})
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
        raise RecipeError(f"version should be a positive integer or None, got {version!r}")
    formats = check_formats(formats)
    if quantize is not None:
        formats = check_formats([*formats, "onnx"])
    check_free(path, version, overwrite=overwrite)
    shape = _check_model(model, preprocessing)
    kind = kind_of(model, preprocessing, labels, top_k)
    if quantize is not None:
        if not isinstance(kind, Classification):
            raise RecipeError(
                f"quantize measures how many images are still given the right class, and {model.name!r} gives "
                f"{list(model.outputs[0].shape)}: 8 bits are for classifiers, leave quantize out"
            )
        check_quantization(quantize, shape, len(kind.labels))
    probes = _probes(shape, kind.probes)
    outputs = model(probes, training=False)
    scores = (
        _check_embedding(outputs, activation) if isinstance(kind, Embedding) else _check_scores(outputs, activation)
    )
    encoded = _check_samples(samples) if samples else _made_up_samples(preprocessing)
    folded, count = optimise.fold_batch_normalisation(model) if optimize else (model, 0)
    optimization: dict[str, Any] = {}

    with staged_version(path, version, overwrite=overwrite) as staged:
        # The other formats first: each way holds several copies of the weights, and what this one held is then gone.
        with quiet(), as_os_errors():
            engines = write_formats(
                folded,
                staged.folder,
                formats,
                activation=activation or "linear",
                probes=probes,
                expected=_ACTIVATIONS[activation or "linear"](tf.cast(outputs, tf.float32)).numpy(),
            )
        if quantize is not None:
            engines[ENGINE] = write_int8(staged.folder, quantize, shape=shape, classes=len(kind.labels))
        gc.collect()  # functions and graphs refer to each other
        network, kept = _network(folded, activation or "linear", features), optimise.better_kept(folded)
        if optimize:
            network, moved = _frozen(network, _network(model, activation or "linear", features), probes, kept)
            optimization = {"folded_batch_normalisations": count, "frozen": True, "difference": moved}
        module, signatures = _graph(network, preprocessing, kind, bool(features))
        # Of a frozen network those that are left; its model's would be written beside the constants.
        module.weights = [variable.value for variable in (kept if optimize else model.variables)]
        try:
            images = signatures["preprocess"](image_bytes=tf.constant(encoded))["image"].numpy()
        except tf.errors.InvalidArgumentError:
            raise RecipeError("the samples cannot be decoded: expected whole PNG, JPEG, GIF or BMP images") from None
        with quiet(), as_os_errors():
            tf.saved_model.save(module, str(staged.folder), signatures=signatures)
            _bare(model).save(staged.folder / KERAS_FILE)
            warmup.write_warmup(staged.folder, path.name, _warmup_requests(encoded, images))
        expected = signatures["serving_tensors"](image=tf.constant(probes))[kind.numbers].numpy()
        in_words = {name: described(function) for name, function in signatures.items()}
        del network, module, signatures  # gone before the same is loaded: a frozen graph is held several times over
        gc.collect()
        _check_round_trip(staged.folder, probes, kind.numbers, expected)
        written = Card(
            name=path.name,
            version=staged.version,
            **{**_default_facts(model, kind), **facts},
            params=model.count_params(),
            flops=flops.count_flops(model),
            flops_convention=flops.CONVENTION,
            scores=scores,
            labels=kind.labels,
            top_k=kind.top_k,
            input={
                "encoded": ENCODED_FORMATS,
                "preprocessing": preprocessing.to_dict(),
                "shape": list(shape),
                "dtype": "float32",
            },
            signatures=in_words,
            features=tuple(features),
            optimization=optimization,
            engines=engines,
            sha256=integrity.sha256_of_files(staged.folder),
            **made_now(),
        )
        put_card(staged, written)
    return path / str(staged.version)


def made_now() -> dict[str, Any]:
    """The card's fields `created` and `created_by`."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "created_by": {
            "kapps": kapps.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }


def put_card(staged: StagedVersion, card: Card) -> None:
    """The card into the version's folder, and the current version's beside it."""
    content = card.to_json().encode()
    (staged.folder / integrity.CARD).write_bytes(content)
    staged.beside[integrity.CARD] = content
    staged.beside["card.md"] = card.to_markdown().encode()


def _network(model: keras.Model, activation: str, features: Sequence[str]) -> Network:
    """What all signatures call: image [B, h, w, c] -> `scores`, the model's output, the named `features`, and `logits`,
    which the last softmax or sigmoid takes; without `logits` if there is neither.
    """
    named = dict(feature_model(model, features).output) if features else {}
    whole = keras.Model(model.inputs[0], [model.outputs[0], named])

    def network(image: tf.Tensor) -> dict[str, Any]:
        scores, values = whole(image, training=False)
        scores = _ACTIVATIONS[activation](tf.cast(scores, tf.float32))
        outputs = {"scores": scores, "features": {name: tf.cast(values[name], tf.float32) for name in features}}
        with contextlib.suppress(NoActivation):
            outputs["logits"] = before_activation(scores)[0]
        return outputs

    return network


def _frozen(
    network: Network, plain: Network, probes: np.ndarray, kept: Sequence[keras.Variable]
) -> tuple[Network, float]:
    """The network with constants for all weights but `kept`, as one function, so that they are stored once; and how far
    its outputs are from the plain network's.

    Raises:
        SavedModelError: they are not the plain network's.
    """

    def taking(image: tf.Tensor, *values: tf.Tensor) -> dict[str, Any]:
        with keras.StatelessScope(list(zip(kept, values, strict=True))):
            return network(image)

    def concrete(function: Callable[..., Any], *more: keras.Variable) -> Any:
        image = tf.TensorSpec([None, *probes.shape[1:]], tf.float32)
        specs = [tf.TensorSpec(variable.shape, variable.dtype) for variable in more]
        return tf.function(function, autograph=False).get_concrete_function(image, *specs)

    constant = optimise.freeze(concrete(taking, *kept))

    def frozen(image: tf.Tensor) -> dict[str, Any]:
        return constant(image, *map(tf.convert_to_tensor, kept))

    answers, expected = (tf.nest.flatten(each(tf.constant(probes))) for each in (frozen, concrete(plain)))
    moved = max(map(optimise.distance, answers, expected))
    if not moved < _OPTIMISED_BAR:
        raise SavedModelError(
            f"the optimised model answers otherwise (by {moved:.2g} of its outputs' spread, at most "
            f"{_OPTIMISED_BAR:g} may be rounding): export it without optimize"
        )
    return frozen, moved


def _default_facts(model: keras.Model, kind: Kind) -> dict[str, str]:
    """What the catalogue knows of the architecture, if the model is named after it, and what stands for the rest."""
    try:
        entry = catalog.info(model.name)
        name, task, paper = entry.title, entry.task, entry.paper
    except UnknownNameError:
        name, task, paper = model.name, kind.name, ""
    return {
        "title": f"{name} for {len(kind.labels)} classes" if kind.labels else name,
        "architecture": model.name,
        "task": task,
        "paper": paper,
        "licence": "not stated",
        "data": "not stated",
        "data_licence": "not stated",
    }


def _check_model(model: keras.Model, preprocessing: Preprocessing) -> tuple[int, int, int]:
    """The shape [h, w, c] of the model's image, if the model and the preprocessing fit each other."""
    try:
        inputs, outputs = model.inputs or [], model.outputs or []
    except AttributeError:  # a subclassed model has no symbolic inputs
        inputs, outputs = [], []
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise SavedModelError(
            f"expected a functional model from one image [B, h, w, c] to one output, got {model.name!r} "
            f"from {[tuple(end.shape) for end in inputs]} to {[tuple(end.shape) for end in outputs]}"
        )
    shape = (*preprocessing.size, preprocessing.channels)
    expected = tuple(inputs[0].shape[1:])
    if any(size not in (None, given) for size, given in zip(expected, shape, strict=True)):
        raise RecipeError(
            f"the preprocessing gives images {list(shape)} but {model.name!r} takes {list(expected)}: make them equal"
        )
    return shape


def _check_samples(samples: Sequence[bytes | np.ndarray]) -> list[bytes]:
    encoded = []
    for sample in samples[: warmup.MOST // 2]:
        if isinstance(sample, np.ndarray) and sample.dtype == np.uint8 and sample.ndim in (2, 3):
            encoded.append(encoded_png(sample))
        elif isinstance(sample, bytes):
            encoded.append(sample)
        else:
            raise RecipeError(
                f"samples should be encoded images or uint8 arrays [H, W(, C)], got {type(sample).__name__}"
            )
    return encoded


def _made_up_samples(preprocessing: Preprocessing) -> list[bytes]:
    """A PNG and a JPEG: what matters to a warm-up is that every operation ran once, not what it saw."""
    height, width = preprocessing.size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="JPEG")
    return [encoded_png(noise), file.getvalue()]


def encoded_png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(file, format="PNG")
    return file.getvalue()


def _probes(shape: tuple[int, int, int], count: int) -> np.ndarray:
    """Images to ask a model what kind of numbers it gives, and whether a copy gives the same: 2 + 2 `count`."""
    random = np.random.default_rng(0)
    images = [np.zeros((1, *shape)), random.uniform(size=(count, *shape)), random.normal(size=(count + 1, *shape))]
    return np.concatenate(images).astype(np.float32)


def _check_scores(outputs: tf.Tensor, activation: str | None) -> str:
    """What the exported numbers will be: "softmax", "sigmoid" or "unnormalised"."""
    outputs = np.asarray(tf.cast(outputs, tf.float32))
    found = _found(outputs)
    if activation is None:
        if found == "unnormalised":
            raise RecipeError(
                f"the model's outputs are not probabilities (from {outputs.min():.3g} to {outputs.max():.3g}): "
                'give activation="softmax" or "sigmoid" if they are logits, "linear" to export them as they are'
            )
        return found
    if activation not in _ACTIVATIONS:
        raise RecipeError(f"activation should be None or one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
    if activation == "linear":
        return found
    if found != "unnormalised":
        raise RecipeError(
            f"the model's outputs are probabilities already ({found}): leave activation={activation!r} out"
        )
    return activation


def _check_embedding(outputs: tf.Tensor, activation: str | None) -> str:
    if activation not in (None, "linear"):
        raise RecipeError(
            f"an embedding has no scores to activate: leave activation={activation!r} out, or give labels"
        )
    outputs = np.asarray(tf.cast(outputs, tf.float32))
    if _found(outputs) == "softmax":
        raise RecipeError(
            f"the model's outputs are probabilities that sum to 1, no embedding: give their {outputs.shape[-1]} labels"
        )
    return "embedding"


def _found(outputs: np.ndarray) -> str:
    """What these numbers [..., N] look like: "softmax", "sigmoid" or "unnormalised".

    Raises:
        SavedModelError: some are not finite.
    """
    if not np.isfinite(outputs).all():
        raise SavedModelError(
            "the model answers with NaN or infinity: its weights are damaged, take an earlier checkpoint"
        )
    inside = (outputs >= 0).all() and (outputs <= 1 + 1e-3).all()
    sums_to_one = inside and outputs.shape[-1] > 1 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2)  # for float16
    return "softmax" if sums_to_one else "sigmoid" if inside else "unnormalised"


def _graph(
    network: Network, preprocessing: Preprocessing, kind: Kind, with_features: bool
) -> tuple[tf.Module, dict[str, Callable[..., Any]]]:
    """The signatures as concrete functions, and a module that the weights they use can be hung on."""
    shape = (*preprocessing.size, preprocessing.channels)

    encoded_batch = tf.TensorSpec([None], tf.string, name="image_bytes")
    image_batch = tf.TensorSpec([None, *shape], tf.float32, name="image")

    def graph(*signature: tf.TensorSpec, **options: Any) -> Callable[..., Any]:
        return tf.function(input_signature=signature, autograph=False, **options)  # all branches below are explicit

    # Called, not copied to where it is used: the decoders have thousands of operations, and TensorFlow would optimise
    # every copy before the first answer and step over the ones that are not wanted at every answer.
    @graph(tf.TensorSpec([], tf.string), experimental_attributes={"_noinline": True})
    def one_image(encoded):  # string [] -> [h, w, c]
        return tf.ensure_shape(preprocessing(decode_image(encoded)), shape)

    @graph(encoded_batch)
    def images(encoded):  # string [B] -> [B, h, w, c]
        # Images of one request may differ in size, so each is decoded alone. The loop costs more than a small network
        # takes, so the usual request, with a single image, goes around it. Few at a time: the largest take 1 GB each.
        return tf.cond(
            tf.equal(tf.size(encoded), 1),
            lambda: one_image(encoded[0])[tf.newaxis],
            lambda: tf.map_fn(
                one_image, encoded, fn_output_signature=tf.TensorSpec(shape, tf.float32), parallel_iterations=2
            ),
        )

    @graph(image_batch)
    def serving_tensors(image):
        return kind.of_tensors(network(image)["scores"])

    @graph(encoded_batch)
    def serving_default(image_bytes):
        return kind.of_bytes(serving_tensors(images(image_bytes)))

    @graph(encoded_batch)
    def preprocess(image_bytes):
        return {"image": images(image_bytes)}

    @graph(image_batch)
    def logits(image):
        outputs = network(image)
        if "logits" not in outputs:
            raise NoActivation
        return {"logits": outputs["logits"]}

    functions = {"serving_default": serving_default, "serving_tensors": serving_tensors, "preprocess": preprocess}
    if with_features:
        functions["features"] = graph(image_batch)(lambda image: network(image)["features"])
    concrete = {name: function.get_concrete_function() for name, function in functions.items()}
    with contextlib.suppress(NoActivation):
        concrete["logits"] = logits.get_concrete_function()
    return tf.Module(name="kapps_model"), concrete


def _bare(model: keras.Model) -> keras.Model:
    """The model without the optimiser and the loss it was compiled with, unless it has a class of its own."""
    if not type(model).__module__.startswith("keras."):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _warmup_requests(encoded: Sequence[bytes], images: np.ndarray) -> list[tuple[str, dict[str, np.ndarray]]]:
    requests = []
    for sample, image in zip(encoded, images, strict=True):
        requests.append(("serving_default", {"image_bytes": np.array([sample], dtype=object)}))
        requests.append(("serving_tensors", {"image": image[np.newaxis]}))
    if len(encoded) > 1 and len(requests) < warmup.MOST:  # several images at once take another way through the graph
        requests.append(("serving_default", {"image_bytes": np.array(encoded[:8], dtype=object)}))
    return requests


def _check_round_trip(folder: Path, probes: np.ndarray, output: str, expected: np.ndarray) -> None:
    loaded = tf.saved_model.load(str(folder))
    got = loaded.signatures["serving_tensors"](image=tf.constant(probes))[output].numpy()
    difference = np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)
    if not difference < 1e-4:
        raise SavedModelError(
            f"what was written answers otherwise than the model (by {difference:.2g} of the output's scale): "
            "the model keeps state that a SavedModel cannot hold"
        )


def described(function: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Types and shapes of a concrete function's inputs and outputs, for the card."""
    _, inputs = function.structured_input_signature
    if not inputs:
        inputs = {spec.name: spec for spec in function.structured_input_signature[0]}
    return {
        "inputs": {name: _tensor(spec) for name, spec in inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in function.structured_outputs.items()},
    }


def _tensor(spec: tf.TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without TensorFlow's notes on what it writes where: the folder has another name a moment later."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """What TensorFlow and Keras' file formats raise when they cannot write, as the OSError that it is."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError) as error:
        if isinstance(error, NotImplementedError | RecursionError):
            raise
        raise OSError(" ".join(str(error).split())) from error
    except AssertionError as error:  # TensorFlow's word for resources that no variable of the model holds
        raise SavedModelError(f"the model cannot be written as a SavedModel: {' '.join(str(error).split())}") from error

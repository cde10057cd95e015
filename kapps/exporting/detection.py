"""A detector as a SavedModel that takes encoded images of any size: resizing, network, suppression and labels in one
graph.

The folder is that of `kapps.exporting.saved_model`; for other runtimes it holds the detector's networks, see
`kapps.exporting.detection_parts`. Signatures:

    serving_default  image_bytes string [B]        -> the answer; the images may differ in size
    serving_tensors  image uint8 [B, H, W, 3]      -> the same; images of one size, any
    steps            image uint8 [B, H, W, 3]      -> what happens inside, for those who want to see it; only where
                                                      there is something, see `kapps.tasks.detection.faster_rcnn.steps`
    decode           image_bytes string []         -> pixels uint8 [H, W, 3]
    prepare          pixels uint8 [H, W, 3]        -> image float32 [1, h, w, 3], sizes float32 [1, 2], or more
    trunk, ...       what the part takes           -> what it gives; one after the other they give the answer

A detector that is told where to look has one input more, in the first two: `proposals` float32 [B, P, 4], in the form
of `detection_boxes`.

The answer has the names of the TF object-detection API; N is the most that the detector finds in an image:

    detection_boxes        float32 [B, N, 4]  top, left, bottom, right as parts of height and width ("rel_yxyx")
    detection_scores       float32 [B, N]     best first
    detection_classes      int32 [B, N]       from 0, without a background
    detection_class_names  string [B, N]
    num_detections         int32 [B]          behind which all are zeros or empty
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.boxes.formats import convert
from kapps.data.images import decode_image
from kapps.errors import SavedModelError
from kapps.exporting import flops, integrity, optimise, warmup
from kapps.exporting.atomic import check_free, staged_version
from kapps.exporting.card import Card, check_facts
from kapps.exporting.detection_parts import (
    DetectorParts,
    Part,
    check_detector_formats,
    check_same,
    frozen,
    run,
    traced,
    write_networks,
)
from kapps.exporting.saved_model import (
    ENCODED_FORMATS,
    KERAS_FILE,
    as_os_errors,
    described,
    encoded_png,
    made_now,
    put_card,
    quiet,
)

Tensors = dict[str, tf.Tensor]

# One image uint8 [H, W, 3] -> what the first part takes, by name and without a batch, with `sizes` [2] among it: height
# and width without the padding. Images of one size give tensors of one size.
Prepare = Callable[[tf.Tensor], Tensors]

# Rounding moves boxes by less than this part of the image, and scores by less than this.
_BAR = 1e-4

_ANSWER = ("detection_boxes", "detection_scores", "detection_classes", "detection_class_names", "num_detections")


def export_detector(
    network: keras.Model,
    prepare: Prepare,
    parts: Callable[[keras.Model], DetectorParts],
    path: str | Path,
    *,
    labels: Sequence[str],
    preprocessing: Mapping[str, Any],
    operations: int,
    scores: str = "softmax",
    steps: Callable[[keras.Model], Callable[[Tensors], Tensors]] | None = None,
    takes_proposals: bool = False,
    version: int | None = None,
    card: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    optimize: bool = False,
    formats: Sequence[str] = (),
    with_keras: bool = True,
) -> Path:
    """Write a detector as `<path>/<version>/`, with its card beside it, so that it appears whole or not at all.

    What was written is loaded again and must give the same answers before it is put in place.

    Args:
        network: functional; all the detector's weights are in it.
        prepare: see `Prepare`.
        parts: a network such as `network` -> the detector in parts.
        path: the folder of the versions; its name is the name under which a server offers the model.
        labels: the class names, index = class.
        preprocessing: what `prepare` does, in words and numbers, for the card.
        operations: float operations for an image, for the card.
        scores: what the scores are, as `Card` has it.
        steps: a network such as `network` -> a function of all tensors by name, what was prepared and what the parts
            gave, that gives what the signature `steps` gives.
        takes_proposals: whether the detector is told where to look: `proposals`, `"rel_yxyx"`, are among what the parts
            take then.
        version: a positive number; None for the highest one there + 1.
        card: what cannot be found out from the model, see `kapps.exporting.card.FACTS`.
        overwrite: replace `version` if it is there.
        optimize: fold batch normalisations into convolutions and freeze the weights: faster, and what the networks give
            is compared with what they gave before; but nothing to train further. `model.keras` stays as it is.
        formats: `"onnx"`, `"openvino"`: the networks for these runtimes, too, each checked against Keras'; `kapps.load`
            then prefers them where they are installed.
        with_keras: write `model.keras`, too, from which a detector can be trained further; without it the export is
            about half as large.

    Returns:
        The version's folder.

    Raises:
        RecipeError: a fact that a card does not know, or a format that detectors do not have.
        UnknownNameError: no such format.
        MissingExtraError: a format whose package is not installed.
        SavedModelError: what was written answers otherwise, or the weights are not finite.
        OutputError: the version exists, or something cannot be written; nothing is left behind then.
    """
    path = Path(path).resolve()
    facts = check_facts(card or {})
    plain = parts(network)
    formats = check_detector_formats(formats, plain.networks, network.name)
    check_free(path, version, overwrite=overwrite)
    if not all(np.isfinite(weight.numpy()).all() for weight in network.weights):
        raise SavedModelError(f"{network.name!r} has weights that are not finite: take an earlier checkpoint")
    probes = _probes()
    request = {"image": probes, **({"proposals": _proposals(len(probes))} if takes_proposals else {})}
    # what the parts give for one of them
    first = {name: x[None] for name, x in prepare(tf.constant(probes[0])).items()}
    if takes_proposals:
        first["proposals"] = tf.constant(request["proposals"][:1])
    known = run(plain.chain, first)

    served, ready = network, plain
    optimization: dict[str, Any] = {}
    if optimize:
        served, count = optimise.fold_batch_normalisation(network)
        folded = parts(served)
        ready = dataclasses.replace(folded, chain=tuple(map(frozen, folded.chain)))
        moved = check_same(ready.chain, known)
        optimization = {"folded_batch_normalisations": count, "frozen": True, "difference": moved}
    signatures = _graph(ready.chain, prepare, labels, steps and steps(served), takes_proposals=takes_proposals)
    expected = signatures["serving_tensors"](**{name: tf.constant(value) for name, value in request.items()})
    module = tf.Module(name="kapps_detector")
    module.weights = [] if optimize else [variable.value for variable in served.variables]
    encoded = [encoded_png(probe) for probe in probes]

    with staged_version(path, version, overwrite=overwrite) as staged:
        with quiet(), as_os_errors():
            tf.saved_model.save(module, str(staged.folder), signatures=signatures)
            if with_keras:
                network.save(staged.folder / KERAS_FILE)
            warmup.write_warmup(staged.folder, path.name, _warmup_requests(encoded, request))
            engines = write_networks(ready.networks, staged.folder, formats, known)
        loaded = tf.saved_model.load(str(staged.folder)).signatures["serving_tensors"]
        far = _difference(loaded(**{name: tf.constant(value) for name, value in request.items()}), expected)
        if not far < _BAR:
            raise SavedModelError(
                f"what was written answers otherwise than the detector (by {far:.2g}): the network keeps state that "
                "a SavedModel cannot hold"
            )
        stated = {"title": network.name, "architecture": network.name, "task": "detection", "paper": ""}
        stated |= dict.fromkeys(("licence", "data", "data_licence"), "not stated")
        written = Card(
            name=path.name,
            version=staged.version,
            **{**stated, **facts},
            params=network.count_params(),
            flops=operations,
            flops_convention=flops.CONVENTION,
            scores=scores,
            labels=tuple(labels),
            top_k=int(expected["detection_scores"].shape[1]),
            input={
                "encoded": ENCODED_FORMATS,
                "preprocessing": dict(preprocessing),
                "shape": [None, None, 3],
                "dtype": "uint8",
            },
            signatures={name: described(function) for name, function in signatures.items()},
            features=(),
            optimization=optimization,
            engines=engines,
            sha256=integrity.sha256_of_files(staged.folder),
            **made_now(),
        )
        put_card(staged, written)
    return path / str(staged.version)


def _graph(
    chain: Sequence[Part],
    prepare: Prepare,
    labels: Sequence[str],
    steps: Callable[[Tensors], Tensors] | None,
    *,
    takes_proposals: bool,
) -> dict[str, Any]:
    """The signatures as concrete functions."""

    def graph(*signature: tf.TensorSpec, **options: Any) -> Callable[..., Any]:
        return tf.function(input_signature=signature, autograph=False, **options)

    # called, not copied: the decoders have thousands of operations
    @graph(tf.TensorSpec([], tf.string, name="image_bytes"), experimental_attributes={"_noinline": True})
    def decode(image_bytes):
        image = decode_image(image_bytes)
        image = tf.cond(tf.shape(image)[-1] == 1, lambda: tf.repeat(image, 3, axis=-1), lambda: image)
        return {"pixels": tf.ensure_shape(image, (None, None, 3))}

    @graph(tf.TensorSpec([None, None, 3], tf.uint8, name="pixels"))
    def prepare_one(pixels):
        return {name: x[None] for name, x in prepare(pixels).items()}

    prepared = {
        name: tf.TensorSpec([None, *x.shape[1:]], x.dtype)
        for name, x in prepare_one.get_concrete_function().structured_outputs.items()
    }
    told = {"proposals": tf.TensorSpec([None, None, 4])} if takes_proposals else {}
    chain = (*chain[:-1], _labelled(chain[-1], labels))
    functions = traced(chain, prepared | told)

    def passed(tensors: Tensors) -> Tensors:
        """What was prepared, and what all parts give."""
        for part in chain:
            tensors = tensors | functions[part.name](**{name: tensors[name] for name in part.takes})
        return tensors

    def answer(tensors: Tensors) -> Tensors:
        tensors = passed(tensors)
        return {name: tensors[name] for name in _ANSWER}

    def several(image: tf.Tensor, more: Tensors) -> Tensors:
        specs = {name: tf.TensorSpec(spec.shape[1:], spec.dtype) for name, spec in prepared.items()}
        return tf.map_fn(prepare, image, fn_output_signature=specs) | more

    def serving_tensors(*, image: tf.Tensor, **more: tf.Tensor) -> Tensors:
        return answer(several(image, more))

    images = tf.TensorSpec([None, None, None, 3], tf.uint8)
    in_tensors = tf.function(serving_tensors, autograph=False).get_concrete_function(image=images, **told)
    of_one = {name: tf.TensorSpec(x.shape[1:], x.dtype) for name, x in in_tensors.structured_outputs.items()}

    def serving_default(*, image_bytes: tf.Tensor, **more: tf.Tensor) -> Tensors:
        def one(given: Tensors) -> Tensors:
            tensors = prepare_one(decode(given["image_bytes"])["pixels"])
            tensors |= {name: given[name][None] for name in more}
            return {name: x[0] for name, x in answer(tensors).items()}

        # Images of one request may differ in size, so each goes through the network alone.
        given = {"image_bytes": image_bytes, **more}
        return tf.cond(
            tf.size(image_bytes) == 1,
            lambda: {name: x[None] for name, x in one({name: x[0] for name, x in given.items()}).items()},
            lambda: tf.map_fn(one, given, fn_output_signature=of_one, parallel_iterations=1),
        )

    in_bytes = tf.function(serving_default, autograph=False)
    signatures = {
        "serving_default": in_bytes.get_concrete_function(image_bytes=tf.TensorSpec([None], tf.string), **told),
        "serving_tensors": in_tensors,
        "decode": decode.get_concrete_function(),
        "prepare": prepare_one.get_concrete_function(),
        **functions,
    }
    if steps is not None:
        inside = tf.function(lambda *, image: steps(passed(several(image, {}))), autograph=False)
        signatures["steps"] = inside.get_concrete_function(image=images)
    return signatures


def _labelled(last: Part, labels: Sequence[str]) -> Part:
    """The last part of a chain with boxes as parts of the image, and with the classes' names."""
    takes = tuple(dict.fromkeys((*last.takes, "sizes")))

    def function(*tensors: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip(takes, tensors, strict=True))
        found, sizes = last(given), given["sizes"]
        boxes = convert(found["detection_boxes"], "xyxy", "rel_yxyx", sizes[:, 0, None, None], sizes[:, 1, None, None])
        classes, count = found["detection_classes"], found["num_detections"]
        real = tf.range(tf.shape(boxes)[1]) < count[:, None]
        names = tf.where(real, tf.gather(tf.constant(list(labels)), classes), "")
        return [boxes, found["detection_scores"], classes, names, count]

    return Part(last.name, takes, _ANSWER, function)


def _warmup_requests(encoded: Sequence[bytes], request: Tensors) -> list[tuple[str, dict[str, np.ndarray]]]:
    """One image, several, and several as tensors: each takes another way through the graph."""
    told = {name: value for name, value in request.items() if name != "image"}
    several = {"image_bytes": np.array(encoded, dtype=object), **told}
    one = {name: value[:1] for name, value in several.items()}
    return [("serving_default", one), ("serving_default", several), ("serving_tensors", dict(request))]


def _probes() -> np.ndarray:
    """Two images of random rectangles: uint8 [2, 96, 128, 3]."""
    random = np.random.default_rng(0)
    images = np.full((2, 96, 128, 3), 128, np.uint8)
    for image in images:
        for _ in range(6):
            top, left = random.integers(0, 70, 2)
            height, width = random.integers(10, 60, 2)
            image[top : top + height, left : left + width] = random.integers(0, 256, 3)
    return images


def _proposals(count: int) -> np.ndarray:
    """Where to look in so many images: float32 [count, 5, 4], `"rel_yxyx"`."""
    corners = np.linspace(0, 0.5, 5, dtype=np.float32)[:, None]
    return np.tile(np.concatenate([corners, corners, corners + 0.4, corners + 0.5], axis=1), (count, 1, 1))


def _difference(found: Mapping[str, tf.Tensor], expected: Mapping[str, tf.Tensor]) -> float:
    """The largest difference of a box's side or of a score; infinite where another number was found."""
    if (found["num_detections"].numpy() != expected["num_detections"].numpy()).any():
        return float("inf")
    return max(
        float(np.abs(found[name].numpy() - expected[name].numpy()).max(initial=0))
        for name in ("detection_boxes", "detection_scores")
    )

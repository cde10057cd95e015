"""A detector as a SavedModel that takes encoded images of any size: resizing, network, suppression and labels in one
graph.

The folder is that of `kapps.exporting.saved_model`, without formats for other runtimes. Signatures:

    serving_default  image_bytes string [B]        -> the answer; the images may differ in size
    serving_tensors  image uint8 [B, H, W, 3]      -> the same; images of one size, any
    steps            image uint8 [B, H, W, 3]      -> what happens inside, for those who want to see it; only where
                                                      there is something, see `kapps.tasks.detection.faster_rcnn.steps`

The answer has the names of the TF object-detection API; N is the most that the detector finds in an image:

    detection_boxes        float32 [B, N, 4]  top, left, bottom, right as parts of height and width ("rel_yxyx")
    detection_scores       float32 [B, N]     best first
    detection_classes      int32 [B, N]       from 0, without a background
    detection_class_names  string [B, N]
    num_detections         int32 [B]          behind which all are zeros or empty
"""

from __future__ import annotations

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
Steps = Callable[[tf.Tensor, tf.Tensor], Tensors]

# Rounding moves boxes by less than this part of the image, and scores by less than this.
_BAR = 1e-4


def export_detector(
    network: keras.Model,
    prepare: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    path: str | Path,
    *,
    labels: Sequence[str],
    preprocessing: Mapping[str, Any],
    operations: int,
    steps: Callable[[keras.Model], Steps] | None = None,
    version: int | None = None,
    card: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    optimize: bool = False,
) -> Path:
    """Write a detector as `<path>/<version>/`, with its card beside it, so that it appears whole or not at all.

    What was written is loaded again and must give the same answers before it is put in place.

    Args:
        network: from `{"image": [B, h, w, 3], "sizes": [B, 2]}` to the dict of `kapps.layers.detections.Detections`.
        prepare: one uint8 image [H, W, 3] -> what the network takes, and height and width without the padding; the
            same size for images of the same size.
        path: the folder of the versions; its name is the name under which a server offers the model.
        labels: the class names, index = class.
        preprocessing: what `prepare` does, in words and numbers, for the card.
        operations: float operations for an image, for the card.
        steps: a network such as `network` -> a function of prepared images and their sizes [B, 2] that gives what the
            signature `steps` gives.
        version: a positive number; None for the highest one there + 1.
        card: what cannot be found out from the model, see `kapps.exporting.card.FACTS`.
        overwrite: replace `version` if it is there.
        optimize: fold batch normalisations into convolutions and freeze the weights; the answers are compared.

    Returns:
        The version's folder.

    Raises:
        RecipeError: a fact that a card does not know.
        SavedModelError: what was written answers otherwise, or the weights are not finite.
        OutputError: the version exists, or something cannot be written; nothing is left behind then.
    """
    path = Path(path).resolve()
    facts = check_facts(card or {})
    check_free(path, version, overwrite=overwrite)
    if not all(np.isfinite(weight.numpy()).all() for weight in network.weights):
        raise SavedModelError(f"{network.name!r} has weights that are not finite: take an earlier checkpoint")
    probes = _probes()
    expected = _graph(network, prepare, labels, None)["serving_tensors"](image=tf.constant(probes))
    served, count = optimise.fold_batch_normalisation(network) if optimize else (network, 0)
    signatures = _graph(served, prepare, labels, steps and steps(served))
    moved = _difference(signatures["serving_tensors"](image=tf.constant(probes)), expected)
    if not moved < _BAR:
        raise SavedModelError(
            f"the optimised detector answers otherwise (by {moved:.2g}, at most {_BAR:g} may be rounding): export it "
            "without optimize"
        )
    module = tf.Module(name="kapps_detector")
    module.weights = [variable.value for variable in served.variables]
    encoded = [encoded_png(probe) for probe in probes]

    with staged_version(path, version, overwrite=overwrite) as staged:
        with quiet(), as_os_errors():
            tf.saved_model.save(module, str(staged.folder), signatures=signatures)
            network.save(staged.folder / KERAS_FILE)
            requests: list[tuple[str, dict[str, np.ndarray]]] = [
                ("serving_default", {"image_bytes": np.array(encoded[:1], dtype=object)}),
                ("serving_default", {"image_bytes": np.array(encoded, dtype=object)}),
                ("serving_tensors", {"image": probes}),
            ]
            warmup.write_warmup(staged.folder, path.name, requests)
        loaded = tf.saved_model.load(str(staged.folder))
        moved = _difference(loaded.signatures["serving_tensors"](image=tf.constant(probes)), expected)
        if not moved < _BAR:
            raise SavedModelError(
                f"what was written answers otherwise than the detector (by {moved:.2g}): the network keeps state that "
                "a SavedModel cannot hold"
            )
        most = int(expected["detection_scores"].shape[1])
        stated = {"title": network.name, "architecture": network.name, "task": "detection", "paper": ""}
        stated |= dict.fromkeys(("licence", "data", "data_licence"), "not stated")
        written = Card(
            name=path.name,
            version=staged.version,
            **{**stated, **facts},
            params=network.count_params(),
            flops=operations,
            flops_convention=flops.CONVENTION,
            scores="softmax",
            labels=tuple(labels),
            top_k=most,
            input={
                "encoded": ENCODED_FORMATS,
                "preprocessing": dict(preprocessing),
                "shape": [None, None, 3],
                "dtype": "uint8",
            },
            signatures={name: described(function) for name, function in signatures.items()},
            features=(),
            optimization={"folded_batch_normalisations": count, "frozen": False, "difference": moved}
            if optimize
            else {},
            sha256=integrity.sha256_of_files(staged.folder),
            **made_now(),
        )
        put_card(staged, written)
    return path / str(staged.version)


def _graph(
    network: keras.Model,
    prepare: Callable[..., Any],
    labels: Sequence[str],
    steps: Steps | None,
) -> dict[str, Any]:
    names = tf.constant(list(labels))

    def answer(images: tf.Tensor, sizes: tf.Tensor) -> Tensors:
        """Of prepared images [B, h, w, 3], all parts of a height and width [B, 2]."""
        found = network({"image": images, "sizes": sizes}, training=False)
        boxes = convert(found["detection_boxes"], "xyxy", "rel_yxyx", sizes[:, 0, None, None], sizes[:, 1, None, None])
        places = tf.range(tf.shape(boxes)[1])
        real = places < found["num_detections"][:, None]
        return {
            "detection_boxes": boxes,
            "detection_scores": found["detection_scores"],
            "detection_classes": found["detection_classes"],
            "detection_class_names": tf.where(real, tf.gather(names, found["detection_classes"]), ""),
            "num_detections": found["num_detections"],
        }

    def graph(*signature: tf.TensorSpec, **options: Any) -> Callable[..., Any]:
        return tf.function(input_signature=signature, autograph=False, **options)

    pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")

    def prepared(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.map_fn(prepare, image, fn_output_signature=(tf.TensorSpec((None, None, 3)), tf.TensorSpec((2,))))

    @graph(pixels)
    def serving_tensors(image):
        return answer(*prepared(image))

    # called, not copied: the decoders have thousands of operations
    @graph(tf.TensorSpec([], tf.string), experimental_attributes={"_noinline": True})
    def decoded(encoded):
        image = decode_image(encoded)
        return tf.cond(tf.shape(image)[-1] == 1, lambda: tf.repeat(image, 3, axis=-1), lambda: image)

    @graph(tf.TensorSpec([None], tf.string, name="image_bytes"))
    def serving_default(image_bytes):
        def one(encoded: tf.Tensor) -> Tensors:
            image, size = prepare(tf.ensure_shape(decoded(encoded), (None, None, 3)))
            return {name: value[0] for name, value in answer(image[None], size[None]).items()}

        # Images of one request may differ in size, so each goes through the network alone.
        specification = {
            name: tf.TensorSpec(value.shape[1:], value.dtype)
            for name, value in serving_tensors.get_concrete_function().structured_outputs.items()
        }
        return tf.cond(
            tf.size(image_bytes) == 1,
            lambda: {name: value[None] for name, value in one(image_bytes[0]).items()},
            lambda: tf.map_fn(one, image_bytes, fn_output_signature=specification, parallel_iterations=1),
        )

    functions = {"serving_default": serving_default, "serving_tensors": serving_tensors}
    if steps is not None:
        functions["steps"] = graph(pixels)(lambda image: steps(*prepared(image)))
    return {name: function.get_concrete_function() for name, function in functions.items()}


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


def _difference(found: Mapping[str, tf.Tensor], expected: Mapping[str, tf.Tensor]) -> float:
    """The largest difference of a box's side or of a score; infinite where another number was found."""
    if (found["num_detections"].numpy() != expected["num_detections"].numpy()).any():
        return float("inf")
    return max(
        float(np.abs(found[name].numpy() - expected[name].numpy()).max(initial=0))
        for name in ("detection_boxes", "detection_scores")
    )

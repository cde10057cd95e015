"""What an exported model answers, by what its last layer gives: the part of the graph behind the network.

    kind            the model gives                     `serving_tensors` gives           `serving_default` gives
    classification  one score a class [B, N]            probabilities, classes, top_k     the same
    segmentation    one a class and pixel [B, h, w, N]  probabilities, mask               mask, confidence,
                                                                                          classes, shares
    embedding       D numbers, no classes [B, D]        embedding                         the same

The names and shapes of the outputs are in the docstring of `kapps.exporting.saved_model`; `kapps.answers` makes plain
Python of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import keras
import tensorflow as tf

from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError, SavedModelError

Tensors = dict[str, tf.Tensor]


class Kind(Protocol):
    """One kind of model.

    Attributes:
        name: as the card calls it.
        numbers: the output of `serving_tensors` that holds the model's own numbers.
        labels: the class names; empty for an embedding.
        top_k: how many classes the outputs that rank them hold; 0 where there are none.
        probes: how many images of each sort a copy of the model is compared on: a map of scores holds thousands of
            answers, and the network in front of it takes seconds.
    """

    name: str
    numbers: str
    labels: tuple[str, ...]
    top_k: int
    probes: int

    def of_tensors(self, scores: tf.Tensor) -> Tensors:
        """What `serving_tensors` gives, of the model's scores."""

    def of_bytes(self, tensors: Tensors) -> Tensors:
        """What `serving_default` gives, of what `serving_tensors` gives."""


class Classification:
    """One score a class: the scores, and the likeliest classes by name."""

    name, numbers, probes = "classification", "probabilities", 4

    def __init__(self, labels: tuple[str, ...], top_k: int):
        self.labels, self.top_k = labels, min(top_k, len(labels))

    def of_tensors(self, scores: tf.Tensor) -> Tensors:  # [B, N] -> [B, N], [B, k], [B, k]
        best, places = tf.math.top_k(scores, self.top_k)
        return {"probabilities": scores, "classes": tf.gather(tf.constant(self.labels), places), "top_k": best}

    def of_bytes(self, tensors: Tensors) -> Tensors:
        return tensors


class Segmentation:
    """One score a class and pixel. A client gets the likeliest class of each pixel; all scores would be N maps."""

    name, numbers, probes = "segmentation", "probabilities", 1

    def __init__(self, labels: tuple[str, ...]):
        self.labels, self.top_k = labels, len(labels)

    def of_tensors(self, scores: tf.Tensor) -> Tensors:  # [B, h, w, N] -> [B, h, w, N], [B, h, w]
        # A byte a pixel where that is enough; on the wire it is a quarter of an integer.
        kind = tf.uint8 if len(self.labels) <= 256 else tf.int32
        return {"probabilities": scores, "mask": tf.cast(tf.argmax(scores, axis=-1), kind)}

    def of_bytes(self, tensors: Tensors) -> Tensors:  # -> [B, h, w], [B, h, w], [B, N], [B, N]
        hits = tf.one_hot(tf.cast(tensors["mask"], tf.int32), len(self.labels))
        shares, places = tf.math.top_k(tf.reduce_mean(hits, axis=(1, 2)), self.top_k)
        return {
            "mask": tensors["mask"],
            "confidence": tf.reduce_max(tensors["probabilities"], axis=-1),
            "classes": tf.gather(tf.constant(self.labels), places),
            "shares": shares,
        }


class Embedding:
    """Numbers that are no scores: what counts is how far two images' are from each other."""

    name, numbers, probes = "embedding", "embedding", 4
    labels: tuple[str, ...] = ()
    top_k = 0

    def of_tensors(self, scores: tf.Tensor) -> Tensors:  # [B, D]
        return {"embedding": scores}

    def of_bytes(self, tensors: Tensors) -> Tensors:
        return tensors


def kind_of(model: keras.Model, preprocessing: Preprocessing, labels: Sequence[str], top_k: int) -> Kind:
    """The kind of a model that takes one image, if labels and preprocessing fit its output.

    Raises:
        SavedModelError: it gives neither one score a class, nor one a class and pixel, nor an embedding.
        RecipeError: labels or a preprocessing that do not fit.
    """
    shape = tuple(model.outputs[0].shape)
    if len(shape) not in (2, 4) or shape[-1] is None:
        raise SavedModelError(
            f"expected a model that gives one score a class [B, N], one a class and pixel [B, h, w, N] or an embedding "
            f"[B, D], got {model.name!r}, which gives {list(shape)}"
        )
    if len(shape) == 2 and len(labels) == 0:
        return Embedding()
    checked = _checked_labels(labels, shape[-1])
    if len(shape) == 2:
        if not isinstance(top_k, int) or top_k < 1:
            raise RecipeError(f"top_k should be an integer of at least 1, got {top_k!r}")
        return Classification(checked, top_k)
    if len(checked) == 1:
        raise RecipeError(
            f"{model.name!r} gives one map of scores, so every pixel would get the same label: a segmentation needs at "
            "least two classes, the background among them"
        )
    if preprocessing.fit == "digit":
        raise RecipeError(
            'a segmentation needs a preprocessing whose pixels can be found again in the image, and fit="digit" moves '
            'them by their ink: take "stretch", "crop" or "letterbox"'
        )
    return Segmentation(checked)


def _checked_labels(labels: Sequence[str], outputs: int) -> tuple[str, ...]:
    if isinstance(labels, str) or not all(isinstance(label, str) and label for label in labels):
        raise RecipeError(f"labels should be a list of class names, got {labels!r:.60}")
    if len(labels) != outputs:
        raise RecipeError(f"expected {outputs} labels, one for each output of the model, got {len(labels)}")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise RecipeError(f"each label should be there once, got {twice[0]!r} {labels.count(twice[0])} times")
    return tuple(labels)

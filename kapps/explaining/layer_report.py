"""A row a layer: what it says about a batch of images, how much of it is dead, and what it can see.

    mean, std       of the activations, over images, positions and channels
    dead            share of the channels (units, where there are no positions) that say the same to every image at
                    every position: of ReLUs those that are never on
    gradient        L2 norm of the gradient of what is explained with respect to the output, mean over the images;
                    where it shrinks or grows by orders of magnitude from layer to layer, training has a hard time
    effective rank  exp of the entropy of the singular values as shares, of the matrix [positions, channels]: in how
                    many directions the activations differ. O. Roy, M. Vetterli, "The effective rank: a measure of
                    effective dimensionality", EUSIPCO 2007, definition 1
    receptive field how many rows and columns of the image a position sees; see `kapps.explaining.receptive_field`

Deviations: of the effective rank's matrix at most `samples` rows are taken, at equal distances, so it is at most that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kapps.errors import DataError
from kapps.explaining.inner import cached, explained, keras_model, layers_of, recorded
from kapps.explaining.receptive_field import Field, receptive_fields
from kapps.exporting.logits import NoActivation, before_activation
from kapps.predict import Predictor

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

COLUMNS = ("layer", "kind", "output", "mean", "std", "dead", "gradient", "eff. rank", "sees", "stride")


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    Attributes:
        name: of a layer of a model inside the model `"outer/inner"`.
        kind: its class.
        shape: of its output, without the batch.
        mean, std: of its activations.
        dead: share of channels or units that never vary, 0 to 1.
        gradient: mean L2 norm; None where nothing differentiable leads from it to the scores.
        effective_rank: from 1 (all activations lie on one line) to the number of channels.
        receptive_field: (rows, columns) in pixels, which may reach beyond the image; None sees all of it.
        stride: (rows, columns), how many pixels lie between two positions; None where there are no positions.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    mean: float
    std: float
    dead: float
    gradient: float | None
    effective_rank: float
    receptive_field: tuple[int, int] | None
    stride: tuple[int, int] | None

    def cells(self) -> tuple[str, ...]:
        """The row in words, under `COLUMNS`."""
        return (
            self.name,
            self.kind,
            "x".join(map(str, self.shape)),
            f"{self.mean:.3g}",
            f"{self.std:.3g}",
            f"{self.dead:.1%}",
            "none" if self.gradient is None else f"{self.gradient:.2e}",
            f"{self.effective_rank:.1f}",
            "all" if self.receptive_field is None else _square(self.receptive_field),
            "" if self.stride is None else _square(self.stride),
        )


def layer_report(
    model: Model, images: Any, *, labels: Sequence[int] | np.ndarray | None = None, samples: int = 512
) -> tuple[LayerRow, ...]:
    """The rows of all layers, in the order in which the model calls them.

    Args:
        model: a `Predictor` or a Keras model of images.
        images: for a predictor what its call takes; for a Keras model float32 [B, h, w, c], preprocessed. All go
            through the network at once, forth and back, and need memory as in training.
        labels: the right classes, [B], for a model that ends in a softmax: the gradient is that of the cross-entropy.
            None: that of the predicted class' evidence (what the softmax or sigmoid takes), or score in one without.
        samples: most rows of the effective rank's matrix.

    Raises:
        DataError: no images, of another shape, another number of labels, or labels for a model without softmax.
        WeightsError: an exported model whose `model.keras` is missing or damaged.
    """
    batch = model.preprocess(images) if isinstance(model, Predictor) else np.asarray(images, np.float32)
    if batch.ndim != 4 or not len(batch) or (labels is not None and len(labels) != len(batch)):
        came = "no labels" if labels is None else f"{len(labels)} labels"
        raise DataError(f"expected images [B, h, w, c] and a label for each, got {list(batch.shape)} and {came}")
    network = keras_model(model)
    kinds = {name: type(layer).__name__ for name, layer in layers_of(network)}
    with_labels, shape = labels is not None, batch.shape

    def traced() -> tuple[Callable[..., dict[str, Any]], dict[str, tuple[tuple[int, ...], Field]]]:
        facts: dict[str, tuple[tuple[int, ...], Field]] = {}

        @tf.function(autograph=False)
        def function(images: tf.Tensor, labels: tf.Tensor) -> dict[str, Any]:
            with recorded(network) as outputs:
                scores = network(images, training=False)
            outputs = {name: output for name, output in outputs.items() if output.dtype.is_floating}
            fields = receptive_fields(images, outputs)
            facts.update((name, (tuple(outputs[name].shape[1:]), fields[name])) for name in outputs)
            value = _explained_value(scores, labels if with_labels else None)
            gradients = tf.gradients(value, list(outputs.values()))
            return {
                name: _measured(output, gradient, samples)
                for (name, output), gradient in zip(outputs.items(), gradients, strict=True)
            }

        spec = tf.TensorSpec(shape, tf.float32), tf.TensorSpec([shape[0]], tf.int32)
        return function.get_concrete_function(*spec), facts

    function, facts = cached(network, ("report", shape, with_labels, samples), traced)
    numbers = np.zeros(len(batch)) if labels is None else np.asarray(labels)
    measured = function(tf.constant(batch), tf.constant(numbers, tf.int32))
    return tuple(
        _row(name, kinds[name], shape, field, {key: value.numpy() for key, value in measured[name].items()})
        for name, (shape, field) in facts.items()
    )


def as_table(rows: Sequence[LayerRow]) -> str:
    """The report as text, a line a layer, the columns under one another."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    left = 3  # columns of words
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def effective_rank(matrix: np.ndarray) -> float:
    """exp(-sum p log p) with p the singular values of a matrix [n, k] as shares; 0 for a matrix of zeros."""
    matrix = np.asarray(matrix, np.float64)
    values = np.linalg.svd(matrix, compute_uv=False)
    if not values.sum():
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _explained_value(scores: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    """The number whose gradient is taken, a sum over the images so that each has its own."""
    if labels is None:
        return tf.reduce_sum(tf.reduce_max(explained(scores, None)[0], axis=1))
    try:
        logits, kind = before_activation(scores)
    except NoActivation:
        kind = "none"
    if kind != "softmax":
        raise DataError("labels need a model that ends in a softmax: leave them out, and the score is differentiated")
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _measured(output: tf.Tensor, gradient: tf.Tensor | None, samples: int) -> dict[str, tf.Tensor]:
    output = tf.cast(output, tf.float32)
    matrix = tf.reshape(output, (-1, output.shape[-1] or 1))
    step = max(1, matrix.shape[0] // samples)
    measured = {
        "mean": tf.reduce_mean(output),
        "std": tf.math.reduce_std(output),
        "dead": tf.reduce_mean(
            tf.cast(tf.equal(tf.reduce_max(matrix, axis=0), tf.reduce_min(matrix, axis=0)), tf.float32)
        ),
        "rows": matrix[::step][:samples],
    }
    if gradient is not None:
        flat = tf.reshape(tf.cast(gradient, tf.float32), (gradient.shape[0], -1))
        measured["gradient"] = tf.reduce_mean(tf.norm(flat, axis=1))
    return measured


def _row(name: str, kind: str, shape: tuple[int, ...], field: Field, measured: dict[str, np.ndarray]) -> LayerRow:
    return LayerRow(
        name=name,
        kind=kind,
        shape=shape,
        mean=float(measured["mean"]),
        std=float(measured["std"]),
        dead=float(measured["dead"]),
        gradient=float(measured["gradient"]) if "gradient" in measured else None,
        effective_rank=effective_rank(measured["rows"]),
        receptive_field=None if field is None else (field[0].size, field[1].size),
        stride=None if field is None else (field[0].stride, field[1].stride),
    )


def _square(sizes: tuple[int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else f"{sizes[0]}x{sizes[1]}"

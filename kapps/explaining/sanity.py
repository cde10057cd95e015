"""Can an explanation be trusted? Two checks that need nobody's eye.

Randomisation: J. Adebayo et al., "Sanity Checks for Saliency Maps", 2018, arXiv:1810.03292, section 3.1. The weights
are made random from the top layer down, one more layer each time, and the map is made anew. Of a method that shows what
the network has learned, the rank correlation with the first map falls; where it stays, the map shows the image's edges.

Deletion and insertion: V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for Explanation", 2018,
arXiv:1806.07421, section 4.1. The pixels are taken away, most important first, and the score must fall soon; or they
are put into a blurred image, and it must rise soon. What counts is the area under the curve of the score against the
share of the pixels.

Deviations: the paper on randomisation draws new weights from the initialisers; here each tensor's own values change
places, which forgets as much and keeps the scale of the activations. A method may answer a network that is no more with
the same number everywhere, of which there is no rank: that correlation is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from kapps.errors import DataError, RecipeError
from kapps.explaining import attribute
from kapps.explaining.attribution import Attribution, baseline_image, start
from kapps.explaining.inner import keras_model, layers_of

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model


@dataclass(frozen=True)
class RandomisedLayer:
    """The map after all layers from the top down to this one were made random.

    Attributes:
        layer: its name.
        correlation: Spearman's, of the map's values with those of the first map, -1 to 1.
        magnitude: the same of the absolute values, 0 for maps that have nothing in common.
    """

    layer: str
    correlation: float
    magnitude: float


@dataclass(frozen=True, eq=False)
class Curves:
    """The score while pixels are taken away or put in, most important first.

    Attributes:
        share: float32 [steps + 1], of the pixels, 0 to 1.
        deletion, insertion: float32 [steps + 1], the score of the class.
        deletion_area, insertion_area: under these; of a good map the first is small and the second large.
    """

    share: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    deletion_area: float
    insertion_area: float


def randomisation(
    model: Model,
    image: np.ndarray,
    *,
    method: str,
    target: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> tuple[RandomisedLayer, ...]:
    """How much of a method's map stays when ever more layers forget what they learned.

    Args:
        model: a `Predictor` or a Keras model; it keeps its weights.
        image: float32 [h, w, c], preprocessed.
        method: one of `kapps.explaining.METHODS`.
        target: the class; None = the one that the model predicts before it forgets.
        seed: of the new weights.
        options: of the method.

    Returns:
        A row for each layer with weights, the top one first.

    Raises:
        DataError: a model that Keras cannot copy, or as of `kapps.explaining.attribute`.
    """
    copy = copied(model)
    original = attribute(copy, image, method=method, target=target, **(options or {}))
    random = np.random.default_rng(seed)
    rows = []
    for name, layer in reversed(weighted_layers(copy)):
        shuffle_weights(layer, random)
        map_ = attribute(copy, image, method=method, target=original.target, **(options or {})).map
        rows.append(RandomisedLayer(name, _rank_correlation(original.map, map_), _of_magnitudes(original.map, map_)))
    return tuple(rows)


def deletion_and_insertion(
    model: Model,
    image: np.ndarray,
    attribution: Attribution,
    *,
    steps: int = 50,
    baseline: float | np.ndarray | None = None,
    blur: float | None = None,
    batch_size: int = 32,
) -> Curves:
    """How soon the score falls and rises with the pixels that a map calls important.

    Args:
        model: a `Predictor`, a Keras model or a function that gives scores [B, N].
        image: float32 [h, w, c], preprocessed: the one that was explained.
        attribution: of any method, or `Attribution` of your own with a map [h, w].
        steps: equal parts of the pixels that move at once.
        baseline: what a deleted pixel becomes: a number, [c] or [h, w, c], preprocessed; None = black for an exported
            model, 0 else.
        blur: standard deviation in pixels of the Gaussian that blurs the image where nothing is inserted yet; None = a
            tenth of the shorter side.
        batch_size: images a step; it does not change the result.

    Raises:
        DataError: a map of another size than the image.
        RecipeError: fewer than one step, or more than pixels.
    """
    asked = start(model, image, attribution.target, "score")
    height, width = asked.image.shape[:2]
    if attribution.map.shape != (height, width):
        raise DataError(f"expected a map of {[height, width]}, got {list(attribution.map.shape)}")
    if not 1 <= steps <= height * width:
        raise RecipeError(f"expected 1 to {height * width} steps, got {steps}")
    order = np.argsort(-attribution.map.ravel(), kind="stable")
    rank = np.empty(height * width, int)
    rank[order] = np.arange(height * width)
    share = np.linspace(0, 1, steps + 1)
    counts = np.round(share * height * width).astype(int)
    away = baseline_image(model, asked.image.shape, baseline)
    sigma = min(height, width) / 10 if blur is None else blur
    blurred = scipy.ndimage.gaussian_filter(asked.image, (sigma, sigma, 0))

    def scores(first: np.ndarray, then: np.ndarray) -> np.ndarray:
        parts = []
        for begin in range(0, len(counts), batch_size):
            moved = (rank < counts[begin : begin + batch_size, np.newaxis]).reshape(-1, height, width, 1)
            images = np.where(moved, then, first).astype(np.float32)
            parts.append(asked.function(tf.constant(images)).numpy()[:, asked.target])
        return np.concatenate(parts).astype(np.float32)

    deletion, insertion = scores(asked.image, away), scores(blurred, asked.image)
    return Curves(
        share=share.astype(np.float32),
        deletion=deletion,
        insertion=insertion,
        deletion_area=float(np.trapezoid(deletion, share)),
        insertion_area=float(np.trapezoid(insertion, share)),
    )


def copied(model: Model) -> keras.Model:
    """A model of the same layers with weights of its own.

    Raises:
        DataError: Keras cannot build it again.
    """
    network = keras_model(model)
    try:
        copy = keras.models.clone_model(network)
    except Exception as error:  # a subclass without a config, a layer that is not registered
        raise DataError(f"{network.name} cannot be copied, and its own weights are not touched: {error}") from error
    copy.set_weights(network.get_weights())
    return copy


def weighted_layers(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """The layers with weights of their own, from the image to the scores."""
    return [(name, layer) for name, layer in layers_of(model) if layer.weights and not isinstance(layer, keras.Model)]


def shuffle_weights(layer: keras.layers.Layer, random: np.random.Generator) -> None:
    """The values of each of a layer's weights change places."""
    layer.set_weights([random.permutation(weight.ravel()).reshape(weight.shape) for weight in layer.get_weights()])


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(first.ravel(), second.ravel()).statistic)


def _of_magnitudes(first: np.ndarray, second: np.ndarray) -> float:
    return _rank_correlation(np.abs(first), np.abs(second))

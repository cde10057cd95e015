"""Maps of a layer: a point for every image, near to one another where the layer's activations are alike.

PCA: the plane in which the activations vary most (K. Pearson, 1901). t-SNE: L. van der Maaten, G. Hinton, "Visualizing
Data using t-SNE", JMLR 9, 2008: points whose neighbours, as probabilities under a Student t distribution (equation 4),
are those of the activations under Gaussians of a given perplexity; distances between far clusters mean nothing. Both as
in scikit-learn. Where classes that the last layers keep apart still lie mixed, the layer does not know them yet.

Deviations: t-SNE starts from the first 50 principal components, as the paper's experiments do (section 4.2), with the
plane of the first two as its start, which keeps the large picture and makes the map repeatable.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from kapps.errors import DataError, UnknownNameError
from kapps.explaining.inner import keras_model, layer_output
from kapps.predict import Predictor

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

Method = Literal["tsne", "pca"]
METHODS: tuple[Method, ...] = ("tsne", "pca")
_COMPONENTS = 50


@dataclass(frozen=True, eq=False)
class Map:
    """Where each image lies.

    Attributes:
        coordinates: float32 [n, 2].
        layer: whose activations; within a model inside the model `"outer/inner"`.
        method: `"tsne"` or `"pca"`.
        labels: of the images, int [n], or None.
        class_names: of the labels, or None.
        explained: which part of the activations' variance lies in the plane; None for t-SNE, which keeps none.
    """

    coordinates: np.ndarray
    layer: str
    method: Method
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    explained: float | None

    @functools.cached_property
    def picture(self) -> np.ndarray:
        """The map, coloured by class, uint8 RGB [H, W, 3]."""
        from kapps.explaining.pictures import rendered

        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        axis = figure.subplots()
        labels = np.zeros(len(self.coordinates), int) if self.labels is None else self.labels
        classes = np.unique(labels)
        palette = matplotlib.colormaps["tab10" if len(classes) <= 10 else "turbo"]
        for place, number in enumerate(classes):
            colour = palette(place if len(classes) <= 10 else place / (len(classes) - 1))
            name = self.class_names[number] if self.class_names is not None else f"class {number}"
            x, y = self.coordinates[labels == number].T
            axis.scatter(x, y, s=14, color=colour, label=str(name), linewidths=0)
        if self.labels is not None and len(classes) <= 24:
            axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_aspect("equal", adjustable="datalim")
        share = "" if self.explained is None else f", {self.explained:.0%} of the variance"
        name = {"tsne": "t-SNE", "pca": "PCA"}[self.method]
        axis.set_title(f"{name} of {self.layer}{share}", fontsize=10, parse_math=False)
        return rendered(figure)


def layer_map(
    model: Model,
    images: Any,
    *,
    layer: str | None = None,
    method: Method = "tsne",
    labels: Sequence[int] | np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    perplexity: float = 30.0,
    iterations: int = 1000,
    seed: int = 0,
    batch_size: int = 32,
) -> Map:
    """The map of one layer's activations.

    Args:
        model: a `Predictor` or a Keras model.
        images: for a predictor a list as in its call; for a Keras model float32 [n, h, w, c], preprocessed. At least 4.
        layer: whose output; of a model inside the model `"outer/inner"`; None: the last before the scores.
        method: `"tsne"` or `"pca"`.
        labels: the classes of the images, by number, for the colours.
        class_names: of the labels; a predictor's own unless given.
        perplexity: of t-SNE, about how many neighbours count; at most a third of the images.
        iterations: of t-SNE, at least 250.
        seed: of t-SNE.
        batch_size: images a step.

    Raises:
        UnknownNameError: no such layer or method.
        DataError: fewer than 4 images, or another number of labels.
        WeightsError: an exported model whose `model.keras` is missing or damaged.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    if isinstance(model, Predictor):
        batch = model.preprocess(images)
        class_names = model.labels if class_names is None else class_names
    else:
        batch = np.asarray(images, np.float32)
    if batch.ndim != 4 or len(batch) < 4 or (labels is not None and len(labels) != len(batch)):
        came = "no labels" if labels is None else f"{len(labels)} labels"
        raise DataError(
            f"expected at least 4 images [n, h, w, c] and a label for each, got {list(batch.shape)}, {came}"
        )
    values, name = layer_output(keras_model(model), batch, layer, batch_size)
    values = values.reshape(len(batch), -1).astype(np.float64)

    components = min(_COMPONENTS if method == "tsne" else 2, *values.shape)
    reduced = PCA(components, random_state=seed)
    plane = reduced.fit_transform(values)
    explained: float | None = float(reduced.explained_variance_ratio_[:2].sum())
    if plane.shape[1] < 2:  # a layer of one unit
        plane = np.concatenate([plane, np.zeros_like(plane)], axis=1)
    if method == "tsne":
        explained = None
        start = plane[:, :2] / (plane[:, 0].std() or 1) * 1e-4
        perplexity = min(perplexity, max(1.0, (len(batch) - 1) / 3))
        tsne = TSNE(2, perplexity=perplexity, init=start.astype(np.float32), max_iter=iterations, random_state=seed)
        plane = tsne.fit_transform(plane)
    return Map(
        coordinates=plane[:, :2].astype(np.float32),
        layer=name,
        method=method,
        labels=None if labels is None else np.asarray(labels, int),
        class_names=None if class_names is None else tuple(class_names),
        explained=explained,
    )

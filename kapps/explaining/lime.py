"""LIME: a linear model of what the network answers near one input, when parts of it are taken away at random.

M. Ribeiro, S. Singh, C. Guestrin, "Why Should I Trust You?: Explaining the Predictions of Any Classifier", 2016,
arXiv:1602.04938, equation 1 and algorithm 1: with z in {0, 1}^F saying which parts are there, x_z the input with these
parts only and w(z) = exp(-D(z, 1)^2 / width^2), the values are the coefficients g of the weighted ridge regression

    min over g of  sum over z of  w(z) (f(x_z) - g . z)^2 + |g|^2

The package `lime` does the work: pip install 'kapps[explain]'. Needs no gradient.

Deviations: superpixels are SLIC's where the paper has quickshift's, which need colours. All parts keep a value; the
paper keeps the K strongest. A sound is cut into equal stretches of time and explained like an image of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError
from kapps.explaining.attribution import Attribution, baseline_image, start
from kapps.explaining.segments import Parts, checked_background, optional, pieces, spans_of, superpixels, times

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

Ask = Callable[[Any], np.ndarray]  # a batch of inputs -> the explained number of each, [B]


def lime(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    segments: int | np.ndarray = 50,
    samples: int = 1000,
    baseline: float | np.ndarray | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Attribution:
    """What the superpixel that a pixel lies in is worth to the class.

    Args:
        model: a `Predictor`, a Keras model or a function that gives scores [B, N].
        image: float32 [h, w, c], preprocessed.
        target: the class to explain; None = the predicted one.
        of: `"score"`, `"evidence"` (before the softmax or sigmoid) or None; see `kapps.explaining.attribution.start`.
        segments: about how many superpixels; or your own, int [h, w].
        samples: how many images with parts taken away are asked about.
        baseline: what covers a part, preprocessed: a number for all pixels, [c], or [h, w, c]; None = black for an
            exported model, 0 else.
        seed: of what is taken away.
        batch_size: images a step; it does not change the result.

    Returns:
        An `Attribution` with the details `segments` (int [h, w]), `values` (float32 [F], of each segment) and `r2`, how
        well the linear model fits; below 0.5 or so it explains little.

    Raises:
        MissingExtraError: the extra `explain` is not installed.
        RecipeError: fewer samples than twice the segments, or `of` that the model does not give.
        DataError: an image, baseline or segments of another shape or type, or a target that is not a class.
    """
    asked = start(model, image, target, of)
    parts = superpixels(asked.image, segments)
    cover = baseline_image(model, asked.image.shape, baseline)

    def ask(batch: np.ndarray) -> np.ndarray:
        return asked.function(tf.constant(batch)).numpy()[:, asked.target]

    values, r2 = _of_segments(ask, asked.image, parts, cover, samples, seed, batch_size)
    return Attribution(
        map=values[parts],
        method="lime",
        target=asked.target,
        score=asked.score,
        signed=True,
        details={"explained": asked.explained, "segments": parts, "values": values, "samples": samples, "r2": r2},
    )


def text(ask: Ask, sentence: str, *, split: str = r"\W+", samples: int = 1000, seed: int = 0) -> Parts:
    r"""What each word is worth; a word that comes several times is taken away everywhere at once.

    Args:
        ask: texts -> the explained number of each, [B].
        sentence: the text.
        split: a regular expression of what stands between words; `r"(?<=.)"` cuts into characters, for scripts without
            spaces.
        samples: how many texts with words taken away are asked about.
        seed: of what is taken away.

    Raises:
        DataError: a text without words.
    """
    explainer = optional("lime", "lime.lime_text").LimeTextExplainer(
        split_expression=split, feature_selection="none", random_state=seed
    )
    indexed = optional("lime", "lime.lime_text").IndexedString(sentence, split_expression=split)
    count = indexed.num_words()
    if not count:
        raise DataError("expected a text with at least one word, got none")
    found = explainer.explain_instance(
        sentence, lambda texts: ask(texts)[:, np.newaxis], labels=(0,), num_features=count, num_samples=samples
    )
    words = [str(indexed.word(number)) for number in range(count)]
    spans = tuple(
        tuple((int(begin), int(begin) + len(word)) for begin in indexed.string_position(number))
        for number, word in enumerate(words)
    )
    return Parts(tuple(words), _in_order(found.local_exp[0], count), spans, _details(found, samples))


def audio(
    ask: Ask,
    waveform: np.ndarray,
    *,
    rate: float | None = None,
    segments: int = 20,
    samples: int = 1000,
    baseline: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> Parts:
    """What each stretch of a sound is worth.

    Args:
        ask: waveforms [B, T] -> the explained number of each, [B].
        waveform: float32 [T].
        rate: samples a second, for the names of the stretches.
        segments: how many stretches.
        samples: how many waveforms with stretches taken away are asked about.
        baseline: what replaces a stretch; 0 is silence.
        seed: of what is taken away.
        batch_size: waveforms a step.
    """
    numbers = pieces(len(waveform), segments)
    wave = waveform[np.newaxis, :, np.newaxis]
    values, r2 = _of_segments(
        lambda batch: ask(batch[:, 0, :, 0]),
        wave,
        numbers[np.newaxis],
        np.full_like(wave, baseline),
        samples,
        seed,
        batch_size,
    )
    spans = spans_of(numbers)
    return Parts(times(spans, rate), values, spans, {"samples": samples, "r2": r2})


def table(
    ask: Ask,
    row: np.ndarray,
    *,
    background: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    categorical: Sequence[int] = (),
    discretize: bool = True,
    samples: int = 5000,
    seed: int = 0,
) -> Parts:
    """What it is worth that each feature lies where it does, or how much the answer grows with it.

    Args:
        ask: rows [B, F] -> the explained number of each, [B].
        row: [F].
        background: rows [n, F] of the same table, usually of the training data: what values are usual.
        names: of the features.
        categorical: numbers of the columns whose values are names in disguise.
        discretize: True: the value is for lying in this quarter of the background's values, in place of elsewhere.
            False: for a standard deviation more.
        samples: how many rows with other values are asked about.
        seed: of these values.
    """
    background, names = checked_background(row, background, names)
    explainer = optional("lime", "lime.lime_tabular").LimeTabularExplainer(
        background,
        mode="regression",
        feature_names=list(names),
        categorical_features=list(categorical),
        discretize_continuous=discretize,
        feature_selection="none",
        random_state=seed,
    )
    found = explainer.explain_instance(row.astype(np.float64), ask, num_features=len(row), num_samples=samples)
    if discretize:
        names = tuple(found.domain_mapper.discretized_feature_names)
    return Parts(names, _in_order(found.local_exp[1], len(row)), (), _details(found, samples))


def _of_segments(
    ask: Ask, image: np.ndarray, parts: np.ndarray, cover: np.ndarray, samples: int, seed: int, batch_size: int
) -> tuple[np.ndarray, float]:
    """The values [F] of the segments of an image [h, w, c], and how well the linear model fits."""
    count = int(parts.max()) + 1
    if samples < 2 * count:
        raise RecipeError(f"expected samples of at least twice the {count} parts, got {samples}")
    base = optional("lime", "lime.lime_image").LimeImageExplainer

    class Quiet(base):  # type: ignore[misc, valid-type]
        """Makes the same images as its base, whole batches at once and without a bar on stderr."""

        def data_labels(
            self, image: np.ndarray, fudged_image: np.ndarray, segments: np.ndarray, *_: Any, **__: Any
        ) -> tuple[np.ndarray, np.ndarray]:
            there = self.random_state.randint(0, 2, (samples, count))
            there[0] = 1
            answers = [
                ask(np.where(there[begin : begin + batch_size][:, segments, np.newaxis], image, fudged_image))
                for begin in range(0, samples, batch_size)
            ]
            return there, np.concatenate(answers)[:, np.newaxis]

    found = Quiet(feature_selection="none", random_state=seed).explain_instance(
        image, None, labels=(0,), top_labels=None, hide_color=cover, segmentation_fn=lambda _: parts, random_seed=seed
    )
    return _in_order(found.local_exp[0], count), float(found.score)


def _in_order(found: list[tuple[int, float]], count: int) -> np.ndarray:
    values = np.zeros(count, np.float32)
    for place, value in found:
        values[place] = value
    return values


def _details(found: Any, samples: int) -> dict[str, Any]:
    return {"samples": samples, "r2": float(found.score)}

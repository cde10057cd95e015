"""SHAP: how much of the score each part brought, by the fair shares of game theory.

S. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", 2017, arXiv:1705.07874: with f(S) the
score when only the parts S are there, the share of part i is its Shapley value (equation 8)

    phi_i = sum over S without i of  |S|! (F - |S| - 1)! / F!  (f(S and i) - f(S))

and the shares add up to f(all) - f(none). Kernel SHAP (theorem 2) gets them from a regression over some of the S, with
all of these where there are few parts. The package `shap` does the work: pip install 'kapps[explain]'. Needs no
gradient.

Deviations: of images the parts are superpixels, as for LIME, and of sounds equal stretches of time, so that some
hundred questions are enough; of a table a missing feature takes its values from background rows, as in the paper.
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

_MOST_BACKGROUND = 100  # rows; every question is asked with each of them


def shap(
    model: Model,
    image: np.ndarray,
    *,
    target: int | None = None,
    of: str | None = None,
    segments: int | np.ndarray = 50,
    samples: int = 512,
    baseline: float | np.ndarray | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Attribution:
    """What the superpixel that a pixel lies in brought of the score.

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
        An `Attribution` with the details `segments` (int [h, w]), `values` (float32 [F], of each segment) and `base`,
        what is explained for the covered image: base and values add up to it for the whole image.

    Raises:
        MissingExtraError: the extra `explain` is not installed.
        RecipeError: fewer samples than twice the segments, or `of` that the model does not give.
        DataError: an image, baseline or segments of another shape or type, or a target that is not a class.
    """
    asked = start(model, image, target, of)
    parts = superpixels(asked.image, segments)
    cover = baseline_image(model, asked.image.shape, baseline)

    def ask(there: np.ndarray) -> np.ndarray:
        images = np.where(there[:, parts, np.newaxis], asked.image, cover)
        return asked.function(tf.constant(images)).numpy()[:, asked.target]

    values, base = _of_parts(ask, int(parts.max()) + 1, samples, seed, batch_size)
    return Attribution(
        map=values[parts],
        method="shap",
        target=asked.target,
        score=asked.score,
        signed=True,
        details={"explained": asked.explained, "segments": parts, "values": values, "samples": samples, "base": base},
    )


def text(
    ask: Ask, sentence: str, *, split: str = r"\W+", samples: int = 1000, seed: int = 0, batch_size: int = 256
) -> Parts:
    r"""What each word brought, by its place; what is missing is read as `...`.

    Args:
        ask: texts -> the explained number of each, [B].
        sentence: the text.
        split: a regular expression of what stands between words.
        samples: how many texts with words taken away are asked about.
        seed: of what is taken away.
        batch_size: texts a step.

    Raises:
        DataError: a text without words.
    """
    masker = optional("shap", "shap").maskers.Text(split)
    offsets = masker.tokenizer(sentence)["offset_mapping"]
    words = [place for place, (begin, end) in enumerate(offsets) if end > begin]  # before a first comma is no word
    if not words:
        raise DataError("expected a text with at least one word, got none")

    def ask_without(there: np.ndarray) -> np.ndarray:
        kept = np.ones((len(there), len(offsets)), bool)
        kept[:, words] = there
        return ask([str(masker(row, sentence)[0][0]) for row in kept])

    values, base = _of_parts(ask_without, len(words), samples, seed, batch_size)
    spans = tuple((tuple(offsets[place]),) for place in words)
    names = tuple(sentence[begin:end] for ((begin, end),) in spans)
    return Parts(names, values, spans, {"samples": samples, "base": base})


def audio(
    ask: Ask,
    waveform: np.ndarray,
    *,
    rate: float | None = None,
    segments: int = 20,
    samples: int = 512,
    baseline: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> Parts:
    """What each stretch of a sound brought; the arguments are those of `kapps.explaining.lime.audio`."""
    numbers = pieces(len(waveform), segments)
    silence = np.full_like(waveform, baseline)
    values, base = _of_parts(
        lambda there: ask(np.where(there[:, numbers], waveform, silence)), segments, samples, seed, batch_size
    )
    spans = spans_of(numbers)
    return Parts(times(spans, rate), values, spans, {"samples": samples, "base": base})


def table(
    ask: Ask,
    row: np.ndarray,
    *,
    background: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Parts:
    """What each feature's value brought, compared with the background's.

    Args:
        ask: rows [B, F] -> the explained number of each, [B].
        row: [F].
        background: rows [n, F] of the same table; a missing feature takes each of their values in turn. Of more than
            100 rows 100 are drawn.
        names: of the features.
        samples: how many sets of features are asked about, each with every row of the background.
        seed: of the sets and the drawn rows.
    """
    background, names = checked_background(row, background, names)
    if len(background) > _MOST_BACKGROUND:
        background = np.random.default_rng(seed).choice(background, _MOST_BACKGROUND, replace=False)
    values, base = _kernel_shap(ask, background, row[np.newaxis].astype(np.float64), samples, seed)
    return Parts(names, values, (), {"samples": samples, "base": base})


def _of_parts(ask: Ask, count: int, samples: int, seed: int, batch_size: int) -> tuple[np.ndarray, float]:
    """Shares of parts that are there or not; `ask` takes bool [B, F]."""
    if samples < 2 * count:
        raise RecipeError(f"expected samples of at least twice the {count} parts, got {samples}")

    def batched(there: np.ndarray) -> np.ndarray:
        there = there > 0.5
        return np.concatenate([ask(there[begin : begin + batch_size]) for begin in range(0, len(there), batch_size)])

    return _kernel_shap(batched, np.zeros((1, count)), np.ones((1, count)), samples, seed)


def _kernel_shap(
    function: Ask, background: np.ndarray, row: np.ndarray, samples: int, seed: int
) -> tuple[np.ndarray, float]:
    explainer_class = optional("shap", "shap").KernelExplainer
    state = np.random.get_state()
    np.random.seed(seed)  # the package draws from NumPy's common generator
    try:
        explainer = explainer_class(function, background)
        values = explainer.shap_values(row, nsamples=samples, l1_reg=0, silent=True)[0]
    finally:
        np.random.set_state(state)
    return values.astype(np.float32), float(explainer.expected_value)

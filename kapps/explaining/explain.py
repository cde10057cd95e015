"""One call for every method and every kind of input: `kapps.explain(model, input, method, target)`."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.explaining import METHODS, attribute
from kapps.explaining.attribution import as_scores, functions
from kapps.explaining.segments import Parts
from kapps.predict import Predictor, load

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

Kind = Literal["image", "text", "audio", "table"]
KINDS: tuple[Kind, ...] = ("image", "text", "audio", "table")

# What takes parts away needs no inside and no gradient, and so explains other things than images too.
PARTS = ("lime", "shap")
PERMUTATION = "permutation_importance"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model said what it said about one input.

    Attributes:
        method: its name.
        kind: `"image"`, `"text"`, `"audio"` or `"table"`.
        values: float32: of an image the map [h, w]; else one number for each word, stretch of time or feature [F].
        names: of these [F]; empty for an image.
        target: index of the explained class; None where all classes count (permutation importance).
        label: its name, `"class 3"` where no names are known; of permutation importance the metric's.
        score: the model's score of that class for the input; of permutation importance the metric before it.
        signed: whether values have a sign: positive for the class, negative against it.
        input: what was explained: image float32 [h, w, c] as the network sees it, text, waveform [T], row [F].
        spans: of a text or sound the (begin, end) of every place of each part, in characters or samples.
        details: what else the method can say, see there.
    """

    method: str
    kind: Kind
    values: np.ndarray
    target: int | None
    label: str
    score: float
    signed: bool
    input: Any
    names: tuple[str, ...] = ()
    spans: tuple[tuple[tuple[int, int], ...], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def picture(self) -> np.ndarray:
        """The explanation drawn, uint8 RGB [H, W, 3]: a map over its image, else bars."""
        from kapps.explaining.pictures import draw

        return draw(self)

    @property
    def facts(self) -> dict[str, Any]:
        """What can be told in words, plain Python, ready for `json.dumps`: all but maps, inputs and long arrays."""
        plain = {name: _plain(value) for name, value in self.details.items()}
        told = {"method": self.method, "kind": self.kind, "target": self.target, "label": self.label}
        # a list: a text may hold a word several times
        parts = [{"name": name, "value": float(value)} for name, value in zip(self.names, self.values, strict=False)]
        return (
            told
            | {"score": self.score}
            | {name: value for name, value in plain.items() if value is not None}
            | ({"values": parts} if parts else {})
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as `.png`, or a page with it and all facts as `.html`, which needs no other file.

        Raises:
            OutputError: another ending, or the file cannot be written.
        """
        from kapps.explaining.pictures import save

        return save([("", self)], path)


def explain(
    model: Model | str | os.PathLike[str],
    input: Any,
    method: str = "grad_cam",
    target: int | str | None = None,
    *,
    kind: Kind | None = None,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> Explanation:
    """Why a model says what it says about one input.

    Args:
        model: the folder of an exported model or a `.keras` file; a `Predictor`; a Keras model; or, for `lime`, `shap`,
            `occlusion` and `permutation_importance`, any function from a batch of inputs to scores [B, N] or [B], or an
            estimator of scikit-learn.
        input: for an exported model one image as in its call (path, bytes, PIL image, uint8 array); for a Keras model
            and for functions an image float32 [h, w, c], preprocessed; a text; a waveform [T]; or a table's row [F].
            For `permutation_importance` all rows [n, F] or images [n, h, w, c].
        method: one of `kapps.explaining.METHODS`, or `"permutation_importance"`. Texts, sounds and rows are explained
            by `"lime"` and `"shap"`.
        target: the class, by number or name; None = the one with the highest score.
        kind: what the input is; None: an image where the model takes images, a text where the input is one. A function
            of texts gets a list of them, of sounds float32 [B, T], of rows float64 [B, F].
        class_names: the names of the classes, in the order of the scores; an exported model knows its own.
        options: of the method; see its module in `kapps.explaining`. A row needs `background`, rows of the same table;
            permutation importance needs `labels`.

    Raises:
        UnknownNameError: no such method or class.
        DataError: an input that is not of this kind or shape, or a method that does not fit it.
        RecipeError: options that the method does not have or that cannot be.
        SavedModelError, WeightsError: an exported model that is missing or damaged.
        MissingExtraError: LIME and SHAP need the extra `explain`.
    """
    model = _loaded(model)
    if method not in (*METHODS, PERMUTATION):
        raise UnknownNameError("method", method, (*METHODS, PERMUTATION))
    if isinstance(model, Predictor):
        class_names = model.labels
    elif not callable(model) and method != PERMUTATION:  # scikit-learn's; permutation importance knows them itself
        class_names = getattr(model, "classes_", None) if class_names is None else class_names
        model = getattr(model, "predict_proba", None) or model.predict
    kind = _kind(model, input, kind, method)
    number = _class_number(target, class_names)
    try:
        if method == PERMUTATION:
            return _permuted(model, input, kind, number, class_names, options)
        if kind == "image":
            return _image(model, input, method, number, class_names, options)
        return _parts(model, input, kind, method, number, class_names, options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise RecipeError(f"{method} has no such option: {error}; see kapps.explaining.{method}") from error


def _loaded(model: Any) -> Model:
    if not isinstance(model, str | os.PathLike):
        if not callable(model) and not hasattr(model, "predict"):
            raise DataError(
                "expected the folder of an exported model, a predictor, a Keras model, a function or an estimator, got "
                f"{type(model).__name__}"
            )
        return model
    if Path(model).suffix == ".keras":
        from kapps.create import load_keras

        return load_keras(Path(model))
    return load(model, engine="tensorflow")


def _kind(model: Model, input: Any, kind: Kind | None, method: str) -> Kind:
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of input", kind, KINDS)
    if kind is None:
        if isinstance(model, Predictor):
            kind = "image"
        elif isinstance(input, str):
            kind = "text"
        elif isinstance(model, keras.Model) and len(model.input_shape) in (2, 4):
            kind = "table" if len(model.input_shape) == 2 else "image"
        elif method == PERMUTATION:
            kind = "table"
        else:
            raise DataError(f"expected kind={' or '.join(map(repr, KINDS))}: a function does not tell what it takes")
    if isinstance(model, Predictor) and kind != "image":
        raise DataError(f"{model.card.name} takes images, got kind={kind!r}: leave kind out")
    if isinstance(model, keras.Model) and kind == "text":
        raise DataError("expected a function of a list of texts, got a Keras model: wrap it in one that prepares texts")
    if kind != "image" and method in METHODS and method not in PARTS:
        raise DataError(f"{method} explains images, got kind={kind!r}: take {' or '.join(PARTS)}")
    return kind


def _class_number(target: int | str | None, class_names: Sequence[str] | None) -> int | None:
    if not isinstance(target, str):
        return target
    if class_names is None:
        raise DataError(f"expected the number of a class, got {target!r}: give class_names to call them by name")
    names = list(class_names)
    if target not in names:
        raise UnknownNameError("class", target, names)
    return names.index(target)


def _label(number: int, class_names: Sequence[str] | None) -> str:
    return str(class_names[number]) if class_names is not None and number < len(class_names) else f"class {number}"


def _image(
    model: Model,
    input: Any,
    method: str,
    target: int | None,
    class_names: Sequence[str] | None,
    options: dict[str, Any],
) -> Explanation:
    if isinstance(model, Predictor):
        images = model.preprocess(input)
        if len(images) != 1:
            raise DataError(f"expected one image, got {len(images)}: explain them one after the other")
        image = images[0]
    else:
        image = np.asarray(input)
    found = attribute(model, image, method=method, target=target, **options)
    return Explanation(
        method=method,
        kind="image",
        values=found.map,
        target=found.target,
        label=_label(found.target, class_names),
        score=found.score,
        signed=found.signed,
        input=np.asarray(image, np.float32),
        details=found.details,
    )


def _parts(
    model: Model,
    input: Any,
    kind: Kind,
    method: str,
    target: int | None,
    class_names: Sequence[str] | None,
    options: dict[str, Any],
) -> Explanation:
    scores, evidence, taken = _asking(model, options.pop("of", None))
    if kind == "text":
        if not isinstance(input, str):
            raise DataError(f"expected a text, got {type(input).__name__}")
        single: Any = [input]
    else:
        input = np.asarray(input, np.float32 if kind == "audio" else np.float64)
        if input.ndim != 1 or not np.isfinite(input).all():
            what = "waveform [T]" if kind == "audio" else "row [F]"
            raise DataError(f"expected one {what} of finite numbers, got {list(input.shape)}")
        single = input[np.newaxis]
    answer = scores(single)[0]
    if target is None:
        target = int(answer.argmax())
    elif not 0 <= target < len(answer):
        raise DataError(f"expected a class from 0 to {len(answer) - 1}, got {target}")

    function: Callable[..., Parts] = getattr(importlib.import_module(f"kapps.explaining.{method}"), kind)
    found = function(lambda batch: evidence(batch)[:, target].astype(np.float64), input, **options)
    return Explanation(
        method=method,
        kind=kind,
        values=found.values,
        target=target,
        label=_label(target, class_names),
        score=float(answer[target]),
        signed=True,
        input=input,
        names=found.names,
        spans=found.spans,
        details={"explained": taken} | found.details,
    )


def _permuted(
    model: Model,
    input: Any,
    kind: Kind,
    target: int | None,
    class_names: Sequence[str] | None,
    options: dict[str, Any],
) -> Explanation:
    from kapps.explaining.permutation_importance import permutation_importance

    if kind not in ("table", "image") or target is not None:
        raise DataError(f"{PERMUTATION} explains what a model knows of a table or of images' channels, for all classes")
    if isinstance(model, Predictor):
        input = model.preprocess(input)
    found = permutation_importance(model, input, **options)
    return Explanation(
        method=PERMUTATION,
        kind="table",
        values=found.mean,
        target=None,
        label=found.metric,
        score=found.score,
        signed=True,
        input=np.asarray(input),
        names=found.names,
        details={"std": found.std, "repeats": found.repeats.shape[1], "metric": found.metric},
    )


def _asking(model: Model, of: str | None) -> tuple[Callable[[Any], np.ndarray], Callable[[Any], np.ndarray], str]:
    """The model's scores and what is explained of them as functions from NumPy batches to [B, N]."""
    if not isinstance(model, keras.Model):
        if of not in (None, "score"):
            raise RecipeError(f'of should be "score" for a function, got {of!r}')

        def ask(batch: Any) -> np.ndarray:
            return as_scores(model(batch), len(batch))

        return ask, ask, "score"
    scores, evidence, taken = functions(model, of)
    shape = model.input_shape[1:]

    def in_batches(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[Any], np.ndarray]:
        def asked(batch: np.ndarray) -> np.ndarray:
            batch = np.asarray(batch, np.float32)
            if len(shape) == 2:  # sounds with one channel, [B, T, 1]
                batch = batch[..., np.newaxis]
            parts = [function(tf.constant(batch[begin : begin + 256])).numpy() for begin in range(0, len(batch), 256)]
            return as_scores(np.concatenate(parts), len(batch))

        return asked

    return in_batches(scores), in_batches(evidence), taken


def _plain(value: Any) -> Any:
    """A detail as plain Python; None for an array of many numbers."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim == 1 and value.size <= 64 else None
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value

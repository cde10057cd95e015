"""The outputs of the inner layers of a Keras model, and the gradient of its scores with respect to them.

A model is traced into a TensorFlow graph once for an image size, and every layer's output is noted on the way: so it
does not matter how deep in a model within a model a layer stands, nor what kind of model it is.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.exporting.logits import NoActivation, before_activation
from kapps.predict import Predictor

if TYPE_CHECKING:
    from kapps.explaining.attribution import Model

_lock = threading.Lock()
_keras_models: weakref.WeakKeyDictionary[Predictor, keras.Model] = weakref.WeakKeyDictionary()
_functions: weakref.WeakKeyDictionary[keras.Model, dict[Any, Any]] = weakref.WeakKeyDictionary()


def keras_model(model: Model) -> keras.Model:
    """The Keras model itself; of an exported one the `model.keras` that lies in its folder, loaded once.

    Raises:
        WeightsError: that file is missing or damaged.
        DataError: a mere function, whose inside cannot be seen.
    """
    if isinstance(model, keras.Model):
        return model
    if not isinstance(model, Predictor):
        raise DataError(
            f"expected an exported model or a Keras model, got a {type(model).__name__}, whose inside cannot be seen: "
            "take lime, shap or occlusion"
        )
    from kapps.create import load_keras
    from kapps.exporting.saved_model import KERAS_FILE

    with _lock:
        if model not in _keras_models:
            _keras_models[model] = load_keras(model.path / KERAS_FILE)
        return _keras_models[model]


def logits(model: keras.Model) -> tuple[Callable[[tf.Tensor], tf.Tensor], str] | None:
    """What the softmax or sigmoid at the end of a Keras model takes, as a function from images [B, h, w, c] to float32
    [B, N], and which of the two it is; None for a model that ends in neither.
    """

    def traced() -> tuple[Callable[[tf.Tensor], tf.Tensor], str] | None:
        kinds: list[str] = []

        @tf.function(reduce_retracing=True, autograph=False)
        def function(image: tf.Tensor) -> tf.Tensor:
            values, kind = before_activation(model(image, training=False))
            kinds.append(kind)
            return values

        try:
            function.get_concrete_function(tf.TensorSpec(model.input_shape, tf.float32))
        except NoActivation:
            return None
        return function, kinds[0]

    return cached(model, "logits", traced)


def feature_gradient(
    model: keras.Model, image: tf.Tensor, target: int, feature: str | None, of: str | None
) -> tuple[tf.Tensor, tf.Tensor, str, str]:
    """The output of an inner layer, and the gradient of one class' score with respect to it.

    Args:
        image: float32 [1, h, w, c].
        target: the class.
        feature: a layer's name; within a model inside the model `"outer/inner"`. None: the last layer that still has
            more than one position.
        of: `"evidence"`: what the softmax or sigmoid takes; `"score"`: what the model gives; None: the first where
            there is one.

    Returns:
        The output float32 [1, y, x, k], the gradient of the same shape, the layer's name, and `of` as it was taken.

    Raises:
        UnknownNameError: no such layer.
        RecipeError: evidence is asked of a model that does not give it.
        DataError: a layer without positions (its output is not [B, y, x, k]), or one that the score does not depend on
            by differentiable steps.
    """
    shape = tuple(image.shape)

    def traced() -> tuple[Callable[..., tuple[tf.Tensor, tf.Tensor]], str, str]:
        facts: list[str] = []

        @tf.function(autograph=False)
        def function(image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with recorded(model) as outputs:
                scores = model(image, training=False)
            name = choose(outputs, feature)
            scores, taken = explained(scores, of)
            (gradient,) = tf.gradients(tf.gather(scores, target, axis=1), outputs[name])
            if gradient is None:
                raise DataError(f"the scores do not depend on {name} by differentiable steps: name an earlier layer")
            facts[:] = [name, taken]
            return tf.cast(outputs[name], tf.float32), tf.cast(gradient, tf.float32)

        concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.int32))
        return concrete, *facts

    function, name, taken = cached(model, (shape, feature, of), traced)
    activation, gradient = function(image, tf.constant(target, tf.int32))
    return activation, gradient, name, taken


def layer_output(model: keras.Model, images: np.ndarray, layer: str | None, batch_size: int) -> tuple[np.ndarray, str]:
    """What a layer says about images float32 [B, h, w, c], float32 [B, ...], and its name.

    Args:
        layer: its name; within a model inside the model `"outer/inner"`. None: the last one whose output has another
            shape than the scores: what the answer is made of.
        batch_size: images a step; it does not change the result.

    Raises:
        UnknownNameError: no such layer.
    """

    def traced() -> tuple[Callable[[tf.Tensor], tf.Tensor], str]:
        facts: list[str] = []

        @tf.function(autograph=False)
        def function(images: tf.Tensor) -> tf.Tensor:
            with recorded(model) as outputs:
                scores = model(images, training=False)
            name = _before_scores(outputs, scores) if layer is None else layer
            if name not in outputs:
                raise UnknownNameError("layer", name, list(outputs))
            facts[:] = [name]
            return tf.cast(outputs[name], tf.float32)

        shape = (None, *images.shape[1:])
        return function.get_concrete_function(tf.TensorSpec(shape, tf.float32)), *facts

    function, name = cached(model, ("output", images.shape[1:], layer), traced)
    parts = [images[begin : begin + batch_size] for begin in range(0, len(images), batch_size)]
    return np.concatenate([function(tf.constant(part)).numpy() for part in parts]), name


def _before_scores(outputs: Mapping[str, tf.Tensor], scores: tf.Tensor) -> str:
    """The last layer whose output has another shape than the scores: what the answer is made of."""
    names = list(outputs)
    return next((name for name in reversed(names) if outputs[name].shape[1:] != scores.shape[1:]), names[-1])


def explained(scores: tf.Tensor, of: str | None) -> tuple[tf.Tensor, str]:
    """What a graph's scores are explained by, [B, N], and whether that is the `"evidence"` or the `"score"`.

    Args:
        of: as in `feature_gradient`.

    Raises:
        RecipeError: evidence is asked of a model that does not give it.
    """
    if of not in (None, "score", "evidence"):
        raise RecipeError(f'of should be "score" or "evidence", got {of!r}')
    if of != "score":
        with contextlib.suppress(NoActivation):
            return before_activation(scores)[0], "evidence"
    if of == "evidence":
        raise RecipeError('of should be "score" for a model that does not end in a softmax or sigmoid, got "evidence"')
    return scores, "score"


def cached(model: keras.Model, key: Any, make: Callable[[], Any]) -> Any:
    """Graphs are kept as long as their model: tracing one takes much longer than using it."""
    with _lock:
        known = _functions.setdefault(model, {})
        if key not in known:
            known[key] = make()
        return known[key]


@contextlib.contextmanager
def recorded(model: keras.Model) -> Iterator[dict[str, tf.Tensor]]:
    """Notes the output of every layer of the model that is called in the current graph, in the order of the calls."""
    graph, outputs = tf.compat.v1.get_default_graph(), {}

    def record(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def recording(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            if getattr(output, "graph", None) is graph:  # not what another thread computes meanwhile
                outputs[name] = output
            return output

        return recording

    layers = dict(layers_of(model))
    for name, layer in layers.items():
        layer.call = record(name, layer.call)
    try:
        yield outputs
    finally:
        for layer in layers.values():
            del layer.call  # the class' own is seen again


def layers_of(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Every layer with its path, those of a model inside the model behind it."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        yield prefix + layer.name, layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer, f"{prefix}{layer.name}/")


def choose(outputs: Mapping[str, tf.Tensor], feature: str | None) -> str:
    """The name of the output to look at, which has positions.

    Args:
        outputs: layer -> its output, in the order of the calls.
        feature: its name; None: the last with more than one position.

    Raises:
        UnknownNameError: no such layer.
        DataError: the layer, or all, are without positions.
    """
    spatial = [name for name, output in outputs.items() if output.shape.rank == 4]
    if feature is None:
        several = [name for name in spatial if outputs[name].shape[1] * outputs[name].shape[2] > 1]
        if not several:
            raise DataError(
                "the model has no layer with positions [B, y, x, k]: take integrated_gradients or occlusion"
            )
        return several[-1]
    if feature not in outputs:
        raise UnknownNameError("feature", feature, list(outputs))
    if feature not in spatial:
        raise DataError(
            f"expected a feature with positions [B, y, x, k], got {feature} {list(outputs[feature].shape)}: "
            f"the last with positions is {spatial[-1] if spatial else 'none'}"
        )
    return feature

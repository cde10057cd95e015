"""From a name to a Keras model: the only place that turns a catalogue entry into an import."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
import types
import typing
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from kapps import catalog
from kapps.errors import KappsError, RecipeError, UnknownNameError, WeightsError, nearest
from kapps.heads import classification
from kapps.weights.download import Progress
from kapps.weights.loading import load_weights
from kapps.weights.local_file import open_archive

if TYPE_CHECKING:
    from kapps.architectures.unsupervised.feature_learner import FeatureLearner

# Keras stores the members of a .keras file as they are; a file that swells far beyond its size on disk is an attack.
_MAX_UNPACKED_RATIO = 20


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    input_shape: Sequence[int | None] | None = None,
    weights: str | Path | None = None,
    classifier_activation: str | None = "softmax",
    config: Mapping[str, object] | None = None,
    auxiliary: bool = False,
    progress: Progress | None = None,
) -> keras.Model:
    """One architecture of the catalogue as a Keras model.

    Args:
        name: a name of the catalogue, see `kapps.list_models()`.
        num_classes: number of outputs; None = the entry's own; 0 = no head, the last feature is the output.
        input_shape: channels last, without the batch; None = the entry's own.
        weights: `"imagenet"` (see `kapps weights list`), `"hf://timm/resnet50.a1_in1k"`, or a file: `.weights.h5`,
            `.keras`, `.h5` of `keras.applications`, `.safetensors` or `.pth` with the names of torchvision or timm. A
            head with another number of classes than the file's stays as initialised, and a line in the log `kapps`
            says so.
        classifier_activation: of the head; None gives the scores (logits). With a single class `"softmax"` means its
            limit, the sigmoid: the softmax against one silent class whose score is 0.
        config: values for fields of the variant's configuration, e.g. `{"hidden": (128,) * 4}`.
        auxiliary: build the paper's auxiliary classifiers, too, as training uses them (GoogLeNet, Inception v3).
        progress: called while weights are fetched, with (bytes so far, bytes in all or None).

    Returns:
        A model from float32 [B, *input_shape] to [B, num_classes], the layer `predictions`. Each named feature is
        the output of the layer of the same name. With `auxiliary` a dict: `"predictions"` and the auxiliary outputs.

    Raises:
        UnknownNameError: no architecture has this name; the message gives the nearest.
        RecipeError: a config field that does not exist or has a wrong type, an impossible shape or number of classes.
        WeightsError: the file is missing or damaged, or does not fit.
    """
    module, settings, image, features = _build(name, input_shape, config)
    classes = catalog.info(name).num_classes if num_classes is None else num_classes
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
        raise RecipeError(f"{name}: num_classes should be an integer of at least 0, not {classes!r}")
    activation = _checked_activation(name, classifier_activation)
    if classes == 1 and activation == "softmax":
        activation = "sigmoid"

    last = list(features.values())[-1]
    if classes == 0:
        outputs = last
    elif hasattr(module, "classify"):
        with _recipe_errors(name, image.shape[1:]):
            outputs = module.classify(settings, features, classes, activation)
    else:
        outputs = classification.classify(last, classes, activation)
    if auxiliary:
        if not classes or not hasattr(module, "auxiliary"):
            raise RecipeError(
                f"{name} has no auxiliary classifiers{'' if classes else ' without a head'}: leave them out"
            )
        with _recipe_errors(name, image.shape[1:]):
            outputs = {"predictions": outputs, **module.auxiliary(settings, features, classes, activation)}
    model_class = getattr(module, "MODEL", keras.Model) if classes else keras.Model
    model = model_class(inputs=image, outputs=outputs, name=name)

    if weights is not None:
        body = {layer.name for layer in keras.Model(image, last).layers}
        head = {layer.name for layer in model.layers} - body
        load_weights(model, name, weights, optional=head, partial=not classes, progress=progress)
    return model


def create_backbone(
    name: str,
    *,
    input_shape: Sequence[int | None] | None = None,
    weights: str | Path | None = None,
    config: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> keras.Model:
    """One architecture without its head; arguments and errors as in `create_model`.

    Returns:
        A model from float32 [B, *input_shape] to `{feature name: tensor}`, all named features in reading order.
    """
    _, _, image, named = _build(name, input_shape, config)
    model = keras.Model(inputs=image, outputs=named, name=f"{name}_backbone")
    if weights is not None:
        load_weights(model, name, weights, partial=True, progress=progress)
    return model


def create_learner(
    name: str,
    *,
    data_shape: Sequence[int] | None = None,
    config: Mapping[str, object] | None = None,
) -> FeatureLearner:
    """What learns features without labels, by its name.

    Args:
        name: one of `kapps.list_learners()`.
        data_shape: of one example, without the batch, e.g. `(784,)` or `(28, 28, 1)`; None = the entry's own.
        config: values for fields of the learner's configuration, e.g. `{"hidden": 500}`.

    Returns:
        A Keras model whose call is its encoder, with `fit`, `transform`, `inverse_transform`, `components_`, `encoder`:
        see `kapps.architectures.unsupervised.feature_learner`.

    Raises:
        UnknownNameError: no learner has this name; the message gives the nearest.
        RecipeError: a config field that does not exist or has a wrong type or value, an impossible shape, or more
            weights than this machine can hold.
    """
    entry = catalog.learner_info(name)
    module = importlib.import_module(entry.module)
    settings = override(module.VARIANTS[name], config or {}, name)
    shape = tuple(entry.data_shape if data_shape is None else data_shape)
    with _recipe_errors(name, shape):
        return module.LEARNER(shape, settings, name=name)


def load_learner(path: str | Path) -> FeatureLearner:
    """A trained learner from a `.keras` file: its own, or that of its encoder, as runs and exports hold it.

    Raises:
        WeightsError: the file is missing or damaged, or holds no learner.
    """
    from kapps.architectures.unsupervised.feature_learner import FeatureLearner

    model = load_keras(path)
    parts = [model, *model.layers]
    learner = next((part for part in parts if isinstance(part, FeatureLearner)), None)
    if learner is None:
        raise WeightsError(f"{path}: expected what learned without labels, got {model.name!r}: give a learner's file")
    return learner


def features(model: keras.Model, names: str | Sequence[str]) -> keras.Model:
    """A model that shares `model`'s layers and gives the outputs of the named ones.

    Args:
        model: a functional model, created here or loaded from a `.keras` file.
        names: one or several features; their names are names of layers, and every layer's name works.

    Returns:
        A model from the same input to `{name: tensor}`, in the order of `names`.

    Raises:
        UnknownNameError: the model has no such layer; the message gives the nearest.
        RecipeError: no name at all.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise RecipeError("features: expected the name of at least one layer, came none; see model.summary()")
    layers = {layer.name: layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}
    for name in names:
        if name not in layers:
            raise UnknownNameError("feature", name, layers)
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs  # `model.input` fails on a Sequential
    return keras.Model(inputs=inputs, outputs={name: layers[name].output for name in names})


def load_keras(path: str | Path) -> keras.Model:
    """A whole model, not compiled, from a `.keras` file that uses layers of Keras and of kapps.

    Keras' safe mode is on: a file that brings its own code (a Lambda layer) is refused.

    Raises:
        WeightsError: the file is missing or damaged, or Keras cannot build what it describes.
    """
    path = Path(path)
    with open_archive(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_UNPACKED_RATIO * path.stat().st_size:
            raise WeightsError(f"{path}: refused, {path.stat().st_size} bytes that would unpack to {size}")
        try:
            damaged = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError):
            damaged = "one of its parts"
        if damaged:
            raise WeightsError(f"{path}: damaged, {damaged} does not match its checksum; get a fresh copy")
    register_custom_objects()
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a foreign config made Keras stumble over
        raise WeightsError(f"{path}: Keras cannot load this model ({_one_line(error)})") from error


def register_custom_objects() -> None:
    """Import all layers and architectures of kapps, so that Keras knows the classes that `.keras` files name."""
    for folder in ("kapps.layers", "kapps.architectures"):
        package = importlib.import_module(folder)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{folder}."):
            importlib.import_module(module.name)


def override(settings: typing.Any, values: Mapping[str, object], name: str) -> typing.Any:
    """A copy of a frozen dataclass with some fields replaced, each checked against its type hint.

    A list passes for a tuple and an integer for a float, so that values read from JSON fit.

    Args:
        settings: the variant's configuration.
        values: field -> new value.
        name: of the architecture, for the error messages.

    Raises:
        RecipeError: no such field (the message gives the nearest), or a value of another type.
    """
    hints = typing.get_type_hints(type(settings))
    checked = {}
    for field, value in values.items():
        if field not in hints:
            near = nearest(field, hints)
            advice = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(hints)}"
            raise RecipeError(f"{name} has no config field {field!r}: {advice}")
        try:
            checked[field] = _as_type(value, hints[field])
        except TypeError:
            raise RecipeError(
                f"{name}: config field {field!r} should be {_words(hints[field])}, not {value!r}"
            ) from None
    return dataclasses.replace(settings, **checked)


def _build(
    name: str, input_shape: Sequence[int | None] | None, overrides: Mapping[str, object] | None
) -> tuple[types.ModuleType, typing.Any, keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """(architecture module, its config, image tensor, named features) for one entry of the catalogue."""
    entry = catalog.info(name)
    module = importlib.import_module(entry.module)
    settings = override(module.VARIANTS[name], overrides or {}, name)
    shape = _checked_shape(name, entry.input_shape if input_shape is None else input_shape, len(entry.input_shape))
    image = keras.Input(shape, name="image")
    with _recipe_errors(name, shape):
        return module, settings, image, module.build(settings, image)


@contextlib.contextmanager
def _recipe_errors(name: str, shape: tuple[int | None, ...]) -> Iterator[None]:
    """Say in one line what Keras found wrong with a config's values or with the shape of the input."""
    try:
        yield
    except KappsError:
        raise
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{name} cannot be built on input_shape {shape}: {_one_line(error)}") from error


def _checked_shape(name: str, shape: Sequence[int | None], rank: int) -> tuple[int | None, ...]:
    def possible(size: object) -> bool:
        return size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0)

    if not isinstance(shape, list | tuple) or len(shape) != rank or not all(map(possible, shape)):
        raise RecipeError(f"{name}: input_shape should be {rank} positive integers, without the batch, not {shape!r}")
    return tuple(shape)


def _checked_activation(name: str, activation: str | None) -> str | None:
    try:
        keras.activations.get(activation)
    except (ValueError, TypeError):
        raise RecipeError(
            f"{name}: classifier_activation should be 'softmax', 'sigmoid', another activation of Keras or None, "
            f"not {activation!r}"
        ) from None
    return activation


def _as_type(value: object, hint: typing.Any) -> object:
    """`value` as a field with this type hint takes it; TypeError if it does not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for choice in arguments:
            try:
                return _as_type(value, choice)
            except TypeError:
                continue
    elif origin is typing.Literal:
        if any(type(value) is type(choice) and value == choice for choice in arguments):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            inner = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
            if len(inner) == len(value):
                return tuple(_as_type(item, of) for item, of in zip(value, inner, strict=True))
    elif hint in (int, float):
        # True is an int for Python, but in a config it is a mistake
        if isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool):
            return hint(value)
    elif isinstance(value, hint):
        return value
    raise TypeError


def _words(hint: typing.Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."

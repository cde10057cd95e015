"""A recipe: one reproducible training run as data.

A recipe is a tree of frozen dataclasses, checked when it is made: an unknown field, a wrong type or a value out of
range is refused with the field's path. It goes to and from plain JSON, and `kapps train NAME --set
optimizer.learning_rate=1e-4` changes one field, parsed by that field's type.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from kapps.data.box_augment import BoxAugment
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError, UnknownNameError, nearest

_STRICT = ConfigDict(extra="forbid")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=_STRICT)
class ModelSpec:
    """Which network: the arguments of `kapps.create_model`. Input shape and number of classes follow the data.

    Attributes:
        name: the architecture's name in the catalogue.
        config: overrides of the variant's own numbers, e.g. `{"hidden": (128, 128), "activation": "relu"}`.
        classifier_activation: what the last layer does.
        weights: a `.weights.h5` or `.keras` file to start from.
    """

    name: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    classifier_activation: str | None = "softmax"
    weights: str | None = None


@dataclass(frozen=True, config=_STRICT)
class AugmentSpec:
    """Random distortions of the training images, drawn anew for every image in every epoch (Keras' own layers).

    Attributes:
        shift: largest shift as a fraction of height and width.
        crop: largest shift in whole pixels, which changes no pixel; what is uncovered is 0, and the mean if the
            preprocessing subtracts it. 4 is usual for CIFAR: a random 32x32 piece of an image with a border of 4.
        rotate: largest turn in degrees, both ways.
        zoom: largest change of scale, 0.1 = 90 % to 110 %; the sides change independently.
        shear: largest shear factor.
        flip: mirror half of the images left to right.
        contrast: largest relative change of the distances from the image's mean.
    """

    shift: Fraction = 0.0
    crop: Annotated[int, Field(ge=0)] = 0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    zoom: Fraction = 0.0
    shear: Fraction = 0.0
    flip: bool = False
    contrast: Fraction = 0.0


@dataclass(frozen=True, config=_STRICT)
class DataSpec:
    """What to train on. `train`, `validation` and `test` are splits in TFDS' words, e.g. `"train[:50000]"`.

    Attributes:
        name: a built-in set, a TFDS name, or the path of a folder or file (see `kapps data`).
        validation: looked at after every epoch; None = nothing is (then only the test figure is reported, at the end).
        preprocessing: from the raw image to the network's input; it travels into the exported model.
    """

    name: str
    preprocessing: Preprocessing
    train: str = "train"
    validation: str | None = None
    test: str = "test"
    batch_size: Count = 128
    augment: AugmentSpec | None = None


@dataclass(frozen=True, config=_STRICT)
class OptimizerSpec:
    """The optimiser and its numbers.

    Attributes:
        name: `sgd` (with `momentum` and `nesterov`), `adagrad`, `adadelta`, `rmsprop`, `adam`, `adamw`, ...,
            `muon` (convolutions and dense layers but the last) or `ada_secant`.
        momentum: for sgd, rmsprop and muon.
        nesterov: for sgd.
        weight_decay: decoupled, as Keras does it; None = none.
        clipnorm: largest norm of the whole gradient; None = not clipped.
        ema: decay of the running mean of the weights that is evaluated and kept instead of the last ones, e.g. 0.999;
            None = the last weights.
    """

    name: str = "sgd"
    learning_rate: Positive = 0.01
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NotNegative | None = None
    clipnorm: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None


@dataclass(frozen=True, config=_STRICT)
class ScheduleSpec:
    """How the learning rate moves; `optimizer.learning_rate` is its largest value.

    Attributes:
        name: `constant`; `step` (times `factor` every `every` epochs); `cosine` (to `final` of the peak);
            `one_cycle` (Smith 2018: up over the first `warmup` share of the steps, down by cosine to `final`).
        warmup: for one_cycle the share of all steps spent rising; for the others epochs of linear rise from zero.
    """

    name: Literal["constant", "step", "cosine", "one_cycle"] = "constant"
    warmup: NotNegative = 0.0
    every: Positive = 10.0
    factor: Positive = 0.1
    final: NotNegative = 0.0


@dataclass(frozen=True, config=_STRICT)
class EarlyStopping:
    """Stop when the monitored value has not improved by `min_delta` for `patience` epochs; keep the best weights."""

    patience: Count = 5
    monitor: str = "val_loss"
    min_delta: NotNegative = 0.0


@dataclass(frozen=True, config=_STRICT)
class Expected:
    """What the run should reach, and whose figure that compares with."""

    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    reference: str = ""


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """One training run.

    Attributes:
        loss: a Keras loss that takes integer labels, or `half_squared_error`.
        label_smoothing: what the cross-entropy takes from the right class and spreads over all (Szegedy et al. 2016).
        early_stopping: needs `data.validation`; None = all epochs are run.
        mixed_precision: True = compute in float16, keep weights in float32 (for GPUs; on most CPUs it is slower).
            "bfloat16" = oneDNN's convolutions and matrix products in bfloat16 where the processor has instructions for
            it (AVX512-BF16, AMX); elsewhere everything stays float32.
        xla: compile the training step with XLA. Without it TensorFlow's own operations run; their convolutions are
            faster on CPUs: a ResNet's epoch takes about half the time.
        seed: everything random follows from it: weights, order, dropout, distortions.
    """

    title: str
    model: ModelSpec
    data: DataSpec
    optimizer: OptimizerSpec = dataclasses.field(default_factory=OptimizerSpec)
    schedule: ScheduleSpec = dataclasses.field(default_factory=ScheduleSpec)
    loss: str = "sparse_categorical_crossentropy"
    label_smoothing: Fraction = 0.0
    epochs: Count = 10
    early_stopping: EarlyStopping | None = None
    mixed_precision: bool | Literal["bfloat16"] = False
    xla: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    expected: Expected | None = None

    def __post_init__(self) -> None:
        if self.label_smoothing and self.loss != "sparse_categorical_crossentropy":
            raise RecipeError(
                f"label_smoothing softens the labels of sparse_categorical_crossentropy only, not of {self.loss!r}: "
                "leave it at 0"
            )
        stopping = self.early_stopping
        if stopping is not None and stopping.monitor.startswith("val_") and self.data.validation is None:
            raise RecipeError(
                f"early_stopping watches {stopping.monitor!r} but data.validation is None: "
                "give a validation split, e.g. data.train='train[:90%]' and data.validation='train[90%:]'"
            )


@dataclass(frozen=True, config=_STRICT)
class DetectorSpec:
    """Which detector: the arguments of `kapps.create_detector`. The classes follow the data.

    Attributes:
        name: see `kapps.list_detectors()`.
        backbone: an architecture of the catalogue; None = the detector's own.
        backbone_weights: what the backbone starts from: `"imagenet"` or a file; None = learned from scratch.
        weights: of the whole detector, e.g. `"coco"`; classes that it does not know get fresh outputs.
        config: fields of the detector's configuration, e.g. `{"shorter_side": 480}`.
    """

    name: str
    backbone: str | None = None
    backbone_weights: str | None = None
    weights: str | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, config=_STRICT)
class BoxDataSpec:
    """Images with boxes to train on; splits in TFDS' words, e.g. `"train[:80%]"`.

    Attributes:
        name: what `kapps.data.load_boxes` takes: a built-in set, a folder in Pascal VOC's form, a COCO file, TFDS.
        validation: measured after every `validate_every` epochs; None = nothing is.
        test: measured at the end.
    """

    name: str
    train: str = "train"
    validation: str | None = None
    test: str = "test"
    batch_size: Count = 8
    augment: BoxAugment | None = None
    validate_every: Count = 1


@dataclass(frozen=True, config=_STRICT)
class ExpectedBoxes:
    """What the run should reach: average precision, COCO's (`AP`) and at an IoU of 0.5 (`AP50`)."""

    AP50: Annotated[float, Field(ge=0, le=1)]
    AP: Annotated[float, Field(ge=0, le=1)] = 0.0
    reference: str = ""


@dataclass(frozen=True, config=_STRICT)
class DetectionRecipe:
    """One training run of a detector.

    Attributes:
        schedule: see `ScheduleSpec`.
        seed: everything random follows from it: weights, order, samples of anchors and proposals, distortions.
    """

    title: str
    detector: DetectorSpec
    data: BoxDataSpec
    optimizer: OptimizerSpec = dataclasses.field(default_factory=OptimizerSpec)
    schedule: ScheduleSpec = dataclasses.field(default_factory=ScheduleSpec)
    epochs: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    expected: ExpectedBoxes | None = None


@dataclass(frozen=True, config=_STRICT)
class LearnerSpec:
    """Which feature learner: the arguments of `kapps.create_learner`. The shape of the data follows the preprocessing.

    Attributes:
        name: see `kapps.list_learners()`.
        config: fields of the learner's configuration, e.g. `{"hidden": 500}`.
    """

    name: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, config=_STRICT)
class LearnerRecipe:
    """One training run of what learns without labels. Labels, where the data has them, only measure the codes, unless
    the learner itself has units for them.

    Attributes:
        data: its preprocessing must give pictures in [0, 1] where the learner takes no others; without `augment`.
        epochs: of `fit`; what learns layer by layer gives each layer as many.
        seed: everything random follows from it.
        expected: accuracy on the test split of a multinomial logistic regression on the codes.
    """

    title: str
    learner: LearnerSpec
    data: DataSpec
    epochs: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    expected: Expected | None = None

    def __post_init__(self) -> None:
        if self.data.augment is not None:
            raise RecipeError("data.augment is not for learners without labels: leave it out")
        if "seed" in self.learner.config:
            raise RecipeError("learner.config.seed is the recipe's own seed: give it there")


@dataclass(frozen=True, config=_STRICT)
class Study:
    """One recipe in several cases that differ in named fields: an experiment with a table and a plot.

    Attributes:
        cases: label -> {path of the field: value}, e.g. `{"Adam": {"optimizer.name": "adam"}}`.
        trained_as: case -> the case whose trained weights it takes, because the two differ only in how the network
            answers; it is measured, not trained.
        question: what the study asks.
        claim: what the lectures (or the paper) say, to be held against the measurement.
        finding: what the measurement says of the claim, once it was made.
    """

    title: str
    base: Recipe
    cases: dict[str, dict[str, Any]]
    question: str
    claim: str = ""
    finding: str = ""
    trained_as: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        trained = self.cases.keys() - self.trained_as.keys()
        if not (self.trained_as.keys() <= self.cases.keys() and trained.issuperset(self.trained_as.values())):
            raise RecipeError(
                f"trained_as names for a case another one that is trained: expected of {sorted(self.cases)}, "
                f"got {self.trained_as}"
            )

    def recipe(self, label: str) -> Recipe:
        """The recipe of one case."""
        if label not in self.cases:
            raise UnknownNameError("case of this study", label, self.cases)
        return change(self.base, self.cases[label])


AnyRecipe = TypeVar("AnyRecipe", Recipe, DetectionRecipe, LearnerRecipe)


def list_recipes() -> list[str]:
    """Names of the recipes (and studies) that come with kapps, in alphabetical order."""
    import kapps.recipes

    return sorted(module.name for module in pkgutil.iter_modules(kapps.recipes.__path__))


def load_recipe(
    source: str | Path | Recipe | DetectionRecipe | LearnerRecipe | Study,
) -> Recipe | DetectionRecipe | LearnerRecipe | Study:
    """A recipe by its name, from a JSON file (as in a run folder), or as it is.

    Raises:
        UnknownNameError: no recipe has this name.
        RecipeError: the file is not a recipe.
    """
    if isinstance(source, Recipe | DetectionRecipe | LearnerRecipe | Study):
        return source
    path = Path(source)
    if path.suffix == ".json" or path.is_file():
        try:
            return from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RecipeError(f"expected a recipe as JSON in {path}, but it cannot be read: {error}") from None
    name = str(source)
    if name not in list_recipes():
        raise UnknownNameError("recipe", name, list_recipes(), hint="see `kapps train --list`")
    return importlib.import_module(f"kapps.recipes.{name}").RECIPE


def recipe_module_file(name: str) -> Path:
    """The file of a recipe that comes with kapps."""
    import kapps.recipes

    return Path(next(iter(kapps.recipes.__path__))) / f"{name}.py"


def to_dict(recipe: Recipe | DetectionRecipe | LearnerRecipe) -> dict[str, Any]:
    """The recipe as plain JSON-able data."""
    return pydantic.TypeAdapter(type(recipe)).dump_python(recipe, mode="json")


def from_dict(data: Mapping[str, Any]) -> Any:
    """A recipe from plain data: with a `detector` a `DetectionRecipe`, with a `learner` a `LearnerRecipe`, every other
    a `Recipe`.

    Raises:
        RecipeError: an unknown field (answered with the nearest), a wrong type or a value out of range, with its path.
    """
    kinds: dict[str, type] = {"detector": DetectionRecipe, "learner": LearnerRecipe}
    fields = data if isinstance(data, Mapping) else {}
    kind = next((kinds[field] for field in kinds if field in fields), Recipe)
    try:
        return pydantic.TypeAdapter(kind).validate_python(data)
    except pydantic.ValidationError as error:
        raise RecipeError(_first_fault(error, kind)) from None


def describes(data: Mapping[str, Any], recipe: Recipe | DetectionRecipe | LearnerRecipe) -> bool:
    """Whether plain data is this recipe; it may be from a time when the recipe had fewer fields."""
    try:
        return to_dict(from_dict(data)) == to_dict(recipe)
    except RecipeError:
        return False


def change(recipe: AnyRecipe, changes: Mapping[str, Any]) -> AnyRecipe:
    """A copy of the recipe with some fields changed.

    Args:
        changes: path of the field -> value, e.g. `{"optimizer.learning_rate": 1e-4, "model.config.hidden": (64, 64)}`.

    Raises:
        RecipeError: an unknown field, a wrong type or a value out of range.
    """
    data = to_dict(recipe)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = data
        for depth, parent in enumerate(parents):
            _known_field(place, parent, ".".join(parents[:depth]), free=False)
            if place[parent] is None:  # an optional part that the recipe leaves out, such as data.augment
                place[parent] = {}
            place = place[parent]
        _known_field(place, last, ".".join(parents), free=parents[-1:] == ["config"] or not place)
        is_part = dataclasses.is_dataclass(value) and not isinstance(value, type)
        place[last] = dataclasses.asdict(value) if is_part else value
    return from_dict(data)


def parse_changes(settings: Iterable[str]) -> dict[str, Any]:
    """`["epochs=3", "model.config.activation=relu"]` as `{"epochs": 3, "model.config.activation": "relu"}`.

    A value is read as a Python literal (`1e-4`, `True`, `(64, 64)`, `None`), otherwise as a word; what type it must
    have is decided by the field it goes to.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise RecipeError(f"expected FIELD=VALUE, e.g. optimizer.learning_rate=1e-4, but got {setting!r}")
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            value = {"true": True, "false": False, "none": None, "null": None}.get(text.strip().lower(), text.strip())
        changes[path.strip()] = value
    return changes


def _known_field(place: Any, field: str, where: str, *, free: bool) -> None:
    if not isinstance(place, dict):
        raise RecipeError(f"{where} is a single value and has no field {field!r}: set {where}=... itself")
    if not free and field not in place:
        raise RecipeError(_unknown_field(f"{where}.{field}".lstrip("."), field, place))


def _unknown_field(path: str, field: str, known: Iterable[str]) -> str:
    near = nearest(field, known)
    advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "known here: " + ", ".join(known)
    return f"no recipe field is named {path!r}: {advice}"


def _first_fault(error: pydantic.ValidationError, kind: Any) -> str:
    """One line for the first thing that is wrong, with the path of the field."""
    fault = error.errors()[0]
    path = ".".join(str(part) for part in fault["loc"])
    if isinstance(fault.get("ctx", {}).get("error"), Exception):  # raised by a __post_init__: already says it all
        return str(fault["ctx"]["error"])
    if fault["type"] == "unexpected_keyword_argument":
        for part in fault["loc"][:-1]:
            kind = {field.name: field.type for field in dataclasses.fields(kind)}.get(str(part), kind)
            kind = globals().get(str(kind).split(" | ")[0], kind)
        known = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        return _unknown_field(path, str(fault["loc"][-1]), known)
    return f"recipe field {path or '(recipe)'}: {fault['msg'][0].lower()}{fault['msg'][1:]}, but got {fault['input']!r}"

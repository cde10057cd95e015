"""Recipes: checked when made, changed by path, the same after a trip through JSON."""

from __future__ import annotations

import json

import pytest

from kapps.data.box_augment import BoxAugment
from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError, UnknownNameError
from kapps.training.recipe import (
    BoxDataSpec,
    DataSpec,
    DetectionRecipe,
    DetectorSpec,
    EarlyStopping,
    LearnerRecipe,
    ModelSpec,
    Recipe,
    Study,
    change,
    describes,
    from_dict,
    list_recipes,
    load_recipe,
    parse_changes,
    to_dict,
)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        title="t",
        model=ModelSpec("mlp", config={"hidden": (8,)}),
        data=DataSpec("digits", Preprocessing(size=(8, 8), channels=1)),
    )


def test_survives_json(recipe):
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == from_dict(to_dict(recipe))
    assert to_dict(from_dict(to_dict(recipe))) == to_dict(recipe)


def test_a_file_from_before_a_field_existed_describes_the_same_recipe(recipe):
    data = to_dict(recipe)
    del data["xla"]
    assert describes(data, recipe)
    assert not describes(data, change(recipe, {"xla": False}))
    assert not describes({**data, "epochs": 3}, recipe)
    assert not describes({**data, "no such field": 3}, recipe)


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_that_comes_with_kapps_loads(name):
    recipe = load_recipe(name)
    cases = [recipe.recipe(label) for label in recipe.cases] if isinstance(recipe, Study) else [recipe]
    assert cases
    for case in cases:
        assert isinstance(case, Recipe | DetectionRecipe | LearnerRecipe)
        assert from_dict(json.loads(json.dumps(to_dict(case)))) == change(case, {})


def test_a_detector_s_recipe():
    recipe = DetectionRecipe("Cells", DetectorSpec("faster_rcnn_resnet18_fpn"), BoxDataSpec("bccd"))
    assert load_recipe(recipe) is recipe
    changed = change(recipe, {"detector.config.units": 64, "data.augment.flip": False})
    assert changed.detector.config == {"units": 64}
    assert changed.data.augment == BoxAugment(flip=False)
    assert from_dict(json.loads(json.dumps(to_dict(changed)))) == changed
    for path, words in {
        "detector.nam": "did you mean 'name'",
        "data.augment.flop": "flip",
        "epochs": "integer",
    }.items():
        with pytest.raises(RecipeError, match=words) as caught:
            change(recipe, {path: "a"})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer.learning_rat": 0.1}, ["optimizer.learning_rat", "did you mean 'learning_rate'"]),
        ({"optimiser": {}}, ["optimiser", "did you mean 'optimizer'"]),
        ({"optimizer.learning_rate": -0.1}, ["optimizer.learning_rate", "greater than 0", "-0.1"]),
        ({"optimizer.learning_rate": float("nan")}, ["optimizer.learning_rate", "finite"]),
        ({"epochs": 0}, ["epochs", "greater than or equal to 1"]),
        ({"epochs": "many"}, ["epochs", "integer", "'many'"]),
        ({"schedule.name": "cosin"}, ["schedule.name", "'cosine'"]),
        ({"data.augment.turn": 5}, ["data.augment.turn", "known here"]),
        ({"epochs.more": 5}, ["epochs is a single value"]),
        ({"data.preprocessing.size": (0, 8)}, ["preprocessing.size", "(0, 8)"]),
    ],
)
def test_a_wrong_field_or_value_is_refused_in_one_line_with_its_path(recipe, changes, words):
    with pytest.raises(RecipeError) as caught:
        change(recipe, changes)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message.replace("[", "(").replace("]", ")"), message


def test_changes_are_parsed_by_the_field_they_go_to(recipe):
    settings = ["optimizer.learning_rate=1e-4", "epochs=3", "model.config.hidden=(4, 4)", "data.validation=none"]
    settings += [
        "model.config.activation=relu",
        "optimizer.nesterov=True",
        "data.augment.rotate=5",
        "optimizer.momentum=0.9",
    ]
    changed = change(recipe, parse_changes(settings))
    assert changed.optimizer.learning_rate == 1e-4
    assert changed.epochs == 3
    assert tuple(changed.model.config["hidden"]) == (4, 4)
    assert changed.model.config["activation"] == "relu"
    assert changed.data.validation is None
    assert changed.optimizer.nesterov is True
    assert changed.data.augment is not None
    assert changed.data.augment.rotate == 5
    assert recipe.data.augment is None, "the original is as it was"


@pytest.mark.parametrize("setting", ["epochs", "=3", "  =3"])
def test_a_setting_without_name_or_value_is_refused(setting):
    with pytest.raises(RecipeError, match="expected FIELD=VALUE"):
        parse_changes([setting])


def test_only_the_cross_entropy_takes_softened_labels(recipe):
    assert change(recipe, {"label_smoothing": 0.1}).label_smoothing == 0.1
    with pytest.raises(RecipeError, match="leave it at 0"):
        change(recipe, {"label_smoothing": 0.1, "loss": "half_squared_error"})
    with pytest.raises(RecipeError, match="label_smoothing"):
        change(recipe, {"label_smoothing": 1.0})


def test_early_stopping_needs_something_to_watch(recipe):
    with pytest.raises(RecipeError, match="validation split"):
        change(recipe, {"early_stopping": {"patience": 3}})
    assert change(
        recipe, {"early_stopping": {"patience": 3}, "data.validation": "test"}
    ).early_stopping == EarlyStopping(3)


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="'lenet5_mnist'"):
        load_recipe("lenet5_minst")


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"title": "t"}', "\x00\xff"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content):
    file = tmp_path / "recipe.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(RecipeError):
        load_recipe(file)


def test_an_unknown_case_of_a_study_is_named():
    study = load_recipe("optimizer_race")
    assert isinstance(study, Study)
    with pytest.raises(UnknownNameError, match="'Adam'"):
        study.recipe("adam ")

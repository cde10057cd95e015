"""Series of seeds and studies: what is written, and that an interrupted one goes on."""

from __future__ import annotations

import json
import statistics

import keras
import numpy as np
import pydantic
import pytest

import kapps.recipes
from kapps.create import load_keras
from kapps.errors import RecipeError, TrainingError
from kapps.training import fit
from kapps.training.recipe import LearnerRecipe, Study, change, load_recipe
from kapps.training.study import bar_of, run_seeds, slug

STUDY = '''
"""A study for the tests."""
from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, ModelSpec, OptimizerSpec, Recipe, Study

RECIPE = Study(
    title="Two rates",
    question="Which one?",
    base=Recipe(
        title="mlp",
        model=ModelSpec("mlp", config={"hidden": (16,), "activation": "relu"}),
        data=DataSpec(
            "digits",
            Preprocessing(size=(8, 8), channels=1),
            train="train[:500]",
            validation="train[500:700]",
            batch_size=10,
        ),
        epochs=2,
    ),
    cases={
        "slow": {"optimizer.learning_rate": 1e-5},
        "fast": {"optimizer": OptimizerSpec("adam", learning_rate=1e-2)},
        "as fast": {"model.config.activation": "tanh"},
    },
    trained_as={"as fast": "fast"},
)
'''


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The results of a study of three cases, two of them trained, and two seeds, run by two workers."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "two_rates.py").write_text(STUDY)
    kapps.recipes.__path__.append(str(folder))
    lines: list[str] = []
    out = tmp_path_factory.mktemp("runs") / "two_rates"
    try:
        results = run_seeds("two_rates", seeds=(0, 1), out=out, jobs=2, report=lines.append)
        again: list[str] = []
        assert run_seeds("two_rates", seeds=(0, 1), out=out, jobs=2, report=again.append) == results
        assert sorted(again) == sorted(lines), "finished runs are taken as they are"
    finally:
        kapps.recipes.__path__.remove(str(folder))
    return out, results, lines


def test_every_case_is_summed_up_by_median_and_range(study):
    out, results, lines = study
    assert results["kind"] == "study"
    assert [case["label"] for case in results["cases"]] == ["slow", "fast", "as fast"]
    for case in results["cases"]:
        measured = [
            json.loads((out / slug(case["label"]) / f"seed{seed}" / "metrics.json").read_text())["test"]["accuracy"]
            for seed in (0, 1)
        ]
        assert case["values"] == measured
        assert case["median"] == statistics.median(measured)
        assert (case["min"], case["max"]) == (min(measured), max(measured))
    slow, fast, _ = results["cases"]
    assert fast["median"] > slow["median"] + 0.3
    assert len(lines) == 6
    assert all("test accuracy" in line for line in lines)


def test_a_case_takes_the_weights_that_another_one_learned(study):
    """With another activation the same weights give other answers."""
    out, results, _ = study
    fast, as_fast = results["cases"][1:]
    assert as_fast["values"] != fast["values"]
    for seed in ("seed0", "seed1"):
        learned, taken = (load_keras(out / case / seed / "model.keras") for case in ("fast", "as_fast"))
        for mine, other in zip(taken.get_weights(), learned.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, other)
        assert (out / "as_fast" / seed / "log.csv").read_text() == (out / "fast" / seed / "log.csv").read_text()


def test_a_network_of_other_layers_cannot_take_the_weights(study, tmp_path):
    out, _, _ = study
    recipe = load_recipe(out / "fast" / "seed0" / "recipe.json")
    wider = change(recipe, {"model.config.hidden": (17,)})
    with pytest.raises(RecipeError, match=r"^layer 'hidden1' has weights of shapes \[\(64, 17\), .* same network$"):
        fit.answer(wider, out / "fast" / "seed0", out=tmp_path / "wider")
    shallower = change(recipe, {"model.config.hidden": ()})
    with pytest.raises(RecipeError, match=r"^layer 'predictions' has weights of shapes \[\(64, 10\)"):
        fit.answer(shallower, out / "fast" / "seed0", out=tmp_path / "shallower")
    assert not list(tmp_path.iterdir())


def test_weights_that_no_layer_takes_are_named(tmp_path):
    one, two = keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")
    with pytest.raises(RecipeError, match=r"has weights for \['two'\], which .* has no layers for$"):
        fit._take_weights(
            keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="one")]),
            keras.Sequential([keras.Input((4,)), one, two]),
            tmp_path,
        )


@pytest.mark.parametrize("trained_as", [{"a": "c"}, {"c": "a"}, {"a": "b", "b": "a"}, {"a": "a"}])
def test_a_case_whose_weights_come_from_nowhere_is_refused(study, trained_as):
    out, _, _ = study
    base = load_recipe(out / "fast" / "seed0" / "recipe.json")
    with pytest.raises(pydantic.ValidationError, match="trained_as names for a case another one that is trained"):
        Study(title="", question="", base=base, cases={"a": {}, "b": {}}, trained_as=trained_as)


def test_results_are_written_as_json_and_png(study):
    out, results, _ = study
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")
    assert results["command"].startswith("kapps train two_rates --data-dir DIR --seeds 2")


def test_a_failing_run_is_named_in_one_line(tmp_path):
    with pytest.raises(TrainingError, match="seed0 failed: ") as caught:
        run_seeds("mlp_digits", seeds=(0,), out=tmp_path, changes={"data.train": "trian"})
    assert "\n" not in str(caught.value)


def test_the_recorded_results_belong_to_recipes_that_exist():
    """Every figure beside a recipe was measured with the recipe as it stands: same epochs, all seeds counted."""
    from pathlib import Path

    folder = Path(next(iter(kapps.recipes.__path__)))
    for file in folder.glob("*.results.json"):
        results = json.loads(file.read_text())
        recipe = load_recipe(results["recipe"])
        assert file.name == f"{results['recipe']}.results.json"
        assert results["changed"] is False
        for case in results.get("cases", [results]):
            assert len(case["values"]) == len(results["seeds"])
            assert case["median"] == statistics.median(case["values"])
        if results["kind"] == "recipe":
            layers = 1 if not isinstance(recipe, LearnerRecipe) else results["epochs"] // recipe.epochs
            assert results["epochs"] == layers * recipe.epochs
            assert results["bar"] == (recipe.expected and bar_of(recipe.expected))
            assert results["median"] >= (results["bar"] or 0), file.name
        else:
            assert [case["label"] for case in results["cases"]] == list(recipe.cases)

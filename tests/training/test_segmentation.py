"""Recipes on labelled pixels: trained, measured by mean IoU, summed up."""

from __future__ import annotations

import pytest

from kapps.data.preprocessing import Preprocessing
from kapps.errors import RecipeError
from kapps.training.fit import train
from kapps.training.recipe import AugmentSpec, DataSpec, ModelSpec, OptimizerSpec, Recipe, change
from kapps.training.study import headline

RECIPE = Recipe(
    title="tiny FCN",
    model=ModelSpec("fcn_scenes", config={"filters": (8, 8, 8), "units": 8}),
    data=DataSpec(
        name="scene_masks",
        train="train[:32]",
        validation="validation[:4]",
        test="test[:6]",
        preprocessing=Preprocessing(size=(64, 64)),
        batch_size=8,
    ),
    optimizer=OptimizerSpec("adam", learning_rate=0.01),
    epochs=2,
)


@pytest.mark.slow
def test_a_run_is_measured_by_mean_iou(tmp_path):
    run = train(RECIPE, out=tmp_path / "run", progress=False)
    test = run.metrics["test"]
    assert 0 < test["mean_iou"] < test["accuracy"] < 1
    assert test["num_examples"] == 6
    assert headline(test) == ("test mean IoU", test["mean_iou"])
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert len(rows) == 3


def test_accuracy_is_the_headline_elsewhere():
    assert headline({"accuracy": 0.5, "error": 0.5}) == ("test accuracy", 0.5)


def test_distortions_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"data.augment would move the pixels of scene_masks .*: leave it out"):
        train(change(RECIPE, {"data.augment": AugmentSpec(flip=True)}), out=tmp_path / "run", progress=False)

"""A learner without labels from its recipe to its codes, by the command line alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps.cli.main import main
from kapps.create import load_learner
from kapps.data.loading import load
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, RecipeError, WeightsError
from kapps.exporting import saved_model
from kapps.tasks.unsupervised.train import probe
from kapps.training.recipe import AugmentSpec, DataSpec, LearnerRecipe, LearnerSpec, to_dict

TINY = LearnerRecipe(
    title="Tiny",
    learner=LearnerSpec("rbm", config={"hidden": 24}),
    data=DataSpec("digits", Preprocessing(size=(8, 8), channels=1), train="train[:400]", test="test[:100]"),
    epochs=4,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner")
    (folder / "tiny.json").write_text(json.dumps(to_dict(TINY)))
    assert main(["train", str(folder / "tiny.json"), "--out", str(folder / "run")]) == 0
    with pytest.MonkeyPatch.context() as patch:  # the graph of all formats' decoders takes long to make
        patch.setattr(saved_model, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))
        assert main(["export", str(folder / "run"), str(folder / "tiny"), "--limit", "It is tiny."]) == 0
    return folder


def test_what_a_run_folder_holds(run):
    names = {path.name for path in (run / "run").iterdir()}
    assert names == {"recipe.json", "log.csv", "model.keras", "reconstructions.png", "metrics.json"}
    metrics = json.loads((run / "run" / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.3  # of ten digits, by what a linear layer reads in 24 numbers
    assert metrics["test"]["num_examples"] == 100
    assert metrics["epochs"] == 4
    rows = (run / "run" / "log.csv").read_text().splitlines()
    assert len(rows) == 5


def test_the_learner_is_in_the_run_and_in_the_export(run):
    for file in (run / "run" / "model.keras", run / "tiny" / "1" / "model.keras"):
        learner = load_learner(file)
        assert learner.components_.shape == (24, 8, 8, 1)
    data = load("digits", "test[:5]").batches(5, preprocessing=TINY.data.preprocessing)
    images, _ = next(iter(data.as_numpy_iterator()))
    codes = learner.transform(images)
    predictor = kapps.load(run / "tiny", engine="tensorflow")
    np.testing.assert_allclose(predictor.predict_tensors(images), codes, atol=1e-5)
    assert predictor.card.metrics


def test_another_seed_learns_otherwise(tmp_path):
    def components(seed):
        short = kapps.train(TINY, out=tmp_path / str(seed), seed=seed, changes={"epochs": 1}, progress=False)
        return load_learner(short.folder / "model.keras").components_

    assert np.abs(components(0) - components(1)).max() > 1e-3


def test_every_learner_takes_the_recipes_seed():
    for name in kapps.list_learners():
        assert kapps.create_learner(name, config={"seed": 7}).config.seed == 7


def test_a_file_without_a_learner(run, tmp_path):
    kapps.create_model("perceptron").save(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match="what learned without labels"):
        load_learner(tmp_path / "other.keras")


def test_the_probe_reads_what_is_linear():
    draw = np.random.default_rng(0)
    codes, labels = draw.normal(size=(200, 3, 2)), np.arange(200) % 2
    assert probe(codes, labels, codes[:50], labels[:50]) < 0.8
    codes[:, 0, 0] += 6 * labels
    assert probe(codes, labels, codes[:50], labels[:50]) > 0.95


def test_what_a_recipe_cannot_have(tmp_path):
    with pytest.raises(RecipeError, match="is not for learners without labels: leave it out"):
        kapps.train(TINY, out=tmp_path / "c", changes={"data.augment": AugmentSpec(flip=True)}, progress=False)
    with pytest.raises(RecipeError, match="'hiden': did you mean 'hidden'"):
        kapps.train(TINY, out=tmp_path / "a", changes={"learner.config": {"hiden": 3}}, progress=False)
    with pytest.raises(DataError, match="0 to 1"):
        kapps.train(TINY, out=tmp_path / "b", changes={"data.preprocessing.mean": [0.5]}, progress=False)
    with pytest.raises(RecipeError, match="give it there"):
        kapps.train(TINY, out=tmp_path / "d", changes={"learner.config": {"seed": 3}}, progress=False)
    assert not (tmp_path / "a").exists()

from __future__ import annotations

import dataclasses
import json

import pytest

from kapps.cli.export import _command
from kapps.cli.main import main
from kapps.training.recipe import from_dict, load_recipe, to_dict


def test_run_brings_labels_preprocessing_features_and_its_card(run_folder, saved_model):
    card = json.loads((saved_model / "card.json").read_text(encoding="utf-8"))
    recipe = json.loads((run_folder / "recipe.json").read_text(encoding="utf-8"))
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    assert card["version"] == 1
    assert card["labels"] == [str(digit) for digit in range(10)]
    assert card["architecture"] == recipe["model"]["name"]
    assert card["input"]["preprocessing"]["size"] == recipe["data"]["preprocessing"]["size"]
    assert card["data_licence"] == metrics["licence"]
    assert card["metrics"]["test accuracy"]["value"] == metrics["test"]["accuracy"]
    assert card["metrics"]["test accuracy"]["command"] == "kapps train recipe.json"  # --set made it another recipe
    assert card["features"]


def test_own_version_labels_features_and_licence(run_folder, tmp_path, run_json):
    names = [f"digit {digit}" for digit in range(10)]
    words = ["--labels", ",".join(names), "--version", 7, "--features", "", "--licence", "Apache-2.0"]
    code, result, _ = run_json("export", run_folder, tmp_path / "m", *words)
    assert code == 0
    assert result == {
        "path": str(tmp_path / "m" / "7"),
        "name": "m",
        "version": 7,
        "labels": names,
        "features": [],
    }
    card = json.loads((tmp_path / "m" / "card.json").read_text(encoding="utf-8"))
    assert card["licence"] == "Apache-2.0"
    assert card["labels"] == names


def test_keras_file_with_its_preprocessing(run_folder, tmp_path, run_json):
    recipe = json.loads((run_folder / "recipe.json").read_text(encoding="utf-8"))
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(recipe["data"]["preprocessing"]), encoding="utf-8")
    words = ["--preprocessing", steps, "--labels", "0,1,2,3,4,5,6,7,8,9"]
    code, result, errors = run_json("export", run_folder / "model.keras", tmp_path / "m", *words)
    assert code == 0, errors
    assert (tmp_path / "m" / "1" / "saved_model.pb").is_file()
    assert result["name"] == "m"


@pytest.mark.parametrize("words", [[], ["--labels", "0,1"]])
def test_keras_file_alone_is_not_enough(run_folder, tmp_path, words, capsys):
    assert main(["export", str(run_folder / "model.keras"), str(tmp_path / "m"), *words]) == 2
    assert "--preprocessing FILE.json" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_unfinished_run(tmp_path, capsys):
    (tmp_path / "recipe.json").write_text("{}", encoding="utf-8")
    assert main(["export", str(tmp_path), str(tmp_path / "m")]) == 2
    assert "not a finished run" in capsys.readouterr().err


def test_an_architecture_with_published_weights(tmp_path, run_json, monkeypatch):
    """The file comes from a cache that was filled by hand: nothing is fetched here."""
    import keras
    import numpy as np
    from safetensors.numpy import save_file

    from kapps.create import create_model
    from kapps.weights import loading
    from kapps.weights.conversion import expected_tensors
    from kapps.weights.key_map import key_maps

    keras.utils.set_random_seed(0)
    model = create_model("squeezenet1_1")
    key_map = key_maps("kapps.architectures.convolutional.squeezenet", "squeezenet1_1")["torchvision"]
    values = [value for layer in model.layers for value in layer.get_weights()]
    names = expected_tensors(model, key_map, "torch")
    published = {
        name: np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)
        for name, value in zip(names, values, strict=True)
    }
    save_file(published, tmp_path / "published.safetensors")
    monkeypatch.setattr(loading, "fetch", lambda url, **_: tmp_path / "published.safetensors")

    code, result, _ = run_json("export", "squeezenet1_1", tmp_path / "m", "--weights", "imagenet", "--optimize")
    assert code == 0
    assert len(result["labels"]) == 1000
    assert result["labels"][1] == "goldfish"
    card = json.loads((tmp_path / "m" / "card.json").read_text(encoding="utf-8"))
    assert card["licence"] == "BSD-3-Clause"
    assert card["input"]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert card["input"]["preprocessing"]["crop_ratio"] == 0.875
    assert card["optimization"]["frozen"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet50"], "is an architecture: say with --weights"),
        (["resnet50", "--weights", "imagenet/kears"], "published weights of resnet50"),
        (["resnet50", "--weights", "x.pth"], "give --preprocessing FILE.json and --labels"),
        (["resnet51", "--weights", "imagenet"], "no model is named 'resnet51'"),
    ],
)
def test_architectures_that_cannot_be_exported(words, message, tmp_path, capsys):
    assert main(["export", words[0], str(tmp_path / "m"), *words[1:]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["scenes_faster_rcnn", "mnist_dbn", "lenet5_mnist"])
def test_a_card_names_the_recipe_also_as_a_run_holds_it(name):
    ours = load_recipe(name)
    read = from_dict(json.loads(json.dumps(to_dict(dataclasses.replace(ours, seed=3)))))
    assert _command(read) == f"kapps train {name} --seed 3"
    assert _command(dataclasses.replace(read, epochs=99)) == "kapps train recipe.json"

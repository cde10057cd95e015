from __future__ import annotations

import json

import numpy as np
import pytest

from kapps.cli.main import main


def test_run_folder_and_export_agree_with_the_run_s_own_figure(run_folder, saved_model, run_json):
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    for model in (run_folder, saved_model, saved_model / "1"):
        code, result, _ = run_json("evaluate", model, "digits")
        assert code == 0
        assert result["accuracy"] == pytest.approx(metrics["test"]["accuracy"])
        assert result["num_examples"] == metrics["test"]["num_examples"]


def test_figures_fit_together(saved_model, run_json):
    _, result, _ = run_json("evaluate", saved_model, "digits", "--split", "test[:100]", "--batch-size", 7)
    confusion = np.array(result["confusion"])
    assert confusion.sum() == result["num_examples"] == 100
    assert np.trace(confusion) / 100 == pytest.approx(result["accuracy"])
    assert result["error"] == pytest.approx(1 - result["accuracy"])
    assert [figures["count"] for figures in result["per_class"].values()] == confusion.sum(axis=1).tolist()


def test_table(saved_model, capsys):
    assert main(["evaluate", str(saved_model), "digits", "--split", "test[:50]"]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "confusion" in out
    assert len([line for line in out.splitlines() if line.startswith("9 ")]) == 2  # per class, and in the matrix


def test_keras_file_takes_its_preprocessing_from_a_file(run_folder, tmp_path, run_json):
    steps = tmp_path / "steps.json"
    recipe = json.loads((run_folder / "recipe.json").read_text(encoding="utf-8"))
    steps.write_text(json.dumps(recipe["data"]["preprocessing"]), encoding="utf-8")
    words = ["evaluate", run_folder / "model.keras", "digits", "--split", "test[:100]"]
    code, result, _ = run_json(*words, "--preprocessing", steps)
    assert code == 0
    assert result["accuracy"] == run_json("evaluate", run_folder, *words[2:])[1]["accuracy"]
    code, result, errors = run_json(*words)
    assert (code, result) == (2, None)
    assert "give --preprocessing FILE.json" in errors

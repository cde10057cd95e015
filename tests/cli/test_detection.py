"""A detector from its recipe to its drawings, by the command line alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kapps.cli.main import main
from kapps.data.scenes import CLASS_NAMES, make_scene
from kapps.exporting import detection
from kapps.training.recipe import BoxDataSpec, DetectionRecipe, DetectorSpec, OptimizerSpec, to_dict

TINY = DetectionRecipe(
    title="Tiny",
    detector=DetectorSpec(
        "faster_rcnn_resnet18_fpn",
        config={
            "features": ("stage1", "stage2"),
            "frozen": "",
            "train_norms": True,
            "channels": 8,
            "units": 16,
            "anchor_sizes": ((16,), (32,), (64,)),
            "proposals_before": 30,
            "proposals_after": 15,
            "training_proposals": 30,
            "anchors_per_image": 16,
            "regions_per_image": 16,
            "score_threshold": 0.01,
            "shorter_side": 64,
            "longer_side": 64,
        },
    ),
    data=BoxDataSpec(name="scene_boxes", train="train[:8]", validation="validation[:3]", test="test[:4]", batch_size=4),
    optimizer=OptimizerSpec("adam", learning_rate=1e-3),
    epochs=2,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("faster_coco_eval", reason="the extra kapps[detect] is not installed")
    folder = tmp_path_factory.mktemp("detection")
    (folder / "tiny.json").write_text(json.dumps(to_dict(TINY)))
    assert main(["train", str(folder / "tiny.json"), "--out", str(folder / "run")]) == 0
    with pytest.MonkeyPatch.context() as patch:  # the graph of all formats' decoders takes long to make
        patch.setattr(detection, "decode_image", lambda contents: tf.io.decode_png(contents, channels=3))
        assert main(["export", str(folder / "run"), str(folder / "tiny"), "--limit", "It is tiny."]) == 0
    return folder


def test_what_a_run_folder_holds(run):
    files = {path.name for path in (run / "run").iterdir()}
    assert {"recipe.json", "log.csv", "model.keras", "detector.json", "curves.png", "metrics.json"} <= files
    assert {"evaluation.json", "precision_recall.png"} <= files
    assert "backup" not in files
    metrics = json.loads((run / "run" / "metrics.json").read_text())
    assert 0 <= metrics["test"]["AP50"] <= 1
    assert metrics["test"]["num_examples"] == 4
    assert metrics["labels"] == list(CLASS_NAMES)
    log = (run / "run" / "log.csv").read_text().splitlines()
    assert len(log) == 3
    for column in ("loss", "anchor_score_loss", "anchor_box_loss", "class_loss", "box_loss", "val_AP", "val_AP50"):
        assert column in log[0]


def test_a_finished_run_is_not_run_again_and_another_recipe_is_refused(run, capsys):
    before = (run / "run" / "model.keras").stat().st_mtime_ns
    assert main(["train", str(run / "tiny.json"), "--out", str(run / "run")]) == 0
    assert (run / "run" / "model.keras").stat().st_mtime_ns == before
    changed = ["train", str(run / "tiny.json"), "--out", str(run / "run"), "--set", "detector.config.units=8"]
    assert main(changed) != 0
    assert "holds a run of another recipe" in capsys.readouterr().err


def test_the_card(run):
    card = json.loads((run / "tiny" / "card.json").read_text())
    assert card["title"] == "Tiny"
    assert card["limits"] == ["It is tiny."]
    assert set(card["metrics"]) == {"test AP50", "test AP"}
    assert "rel_yxyx" in (run / "tiny" / "card.md").read_text()
    assert "--draw" in (run / "tiny" / "card.md").read_text()


def test_predict_draws_and_tells(run, tmp_path, capsys):
    for index in range(2):
        Image.fromarray(make_scene(5, index).image).save(tmp_path / f"scene{index}.png")
    command = ["predict", str(run / "tiny"), str(tmp_path / "scene0.png"), "--score", "0.01", "--top", "3"]
    assert main([*command, "--draw", str(tmp_path / "found.png"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert 0 < len(answer["objects"]) <= 3
    assert answer["drawing"] == str(tmp_path / "found.png")
    drawn = np.asarray(Image.open(tmp_path / "found.png"))
    assert drawn.shape == (128, 128, 3)
    assert (drawn != make_scene(5, 0).image).any()

    several = ["predict", str(run / "tiny"), str(tmp_path), "--draw", str(tmp_path / "drawings"), "--score", "1"]
    assert main(several) == 0
    assert "nothing" in capsys.readouterr().out
    assert len(list((tmp_path / "drawings").iterdir())) == 3
    assert main(["predict", "saved_models/mnist_lenet5", str(tmp_path / "scene0.png"), "--draw", "x.png"]) != 0
    assert "--draw is for a detection" in capsys.readouterr().err


def test_evaluate_the_run_and_what_was_exported(run, capsys):
    figures = []
    for model in ("run", "tiny"):
        assert main(["evaluate", str(run / model), "scene_boxes", "--split", "test[:4]", "--json"]) == 0
        figures.append(json.loads(capsys.readouterr().out))
    assert figures[0]["AP50"] == pytest.approx(figures[1]["AP50"], abs=1e-3)
    assert figures[0]["num_examples"] == 4
    assert main(["evaluate", str(run / "tiny"), "scene_boxes", "--split", "test[:2]"]) == 0
    assert "AP50" in capsys.readouterr().out


def test_options_that_are_not_for_a_detector(run, capsys):
    assert main(["export", str(run / "run"), str(run / "other"), "--quantize"]) != 0
    assert "--quantize is not for a detector" in capsys.readouterr().err
    assert main(["export", str(run / "run"), str(run / "other"), "--format", "tensorrt"]) != 0
    assert "no format is named 'tensorrt'" in capsys.readouterr().err

"""`kapps predict` and `kapps evaluate` on a segmentation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kapps import masks
from kapps.cli.main import main

LABELS = ("red", "green", "background")


@pytest.fixture
def pictures(tmp_path):
    """A red one with a green half, and a green one."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10, 0] = pixels[:, 10:, 1] = 255
    Image.fromarray(pixels).save(tmp_path / "flag.png")
    Image.fromarray(pixels[:, 10:]).save(tmp_path / "leaf.png")
    return [tmp_path / "flag.png", tmp_path / "leaf.png"]


def test_json_names_the_classes_and_the_mask_s_file(colour_map, pictures, tmp_path, run_json):
    out = tmp_path / "mask.png"
    code, (answer,), errors = run_json("predict", colour_map, pictures[0], "--out", out)
    assert (code, errors) == (0, "")
    assert (answer["file"], answer["size"], answer["mask"]) == (str(pictures[0]), [10, 20], str(out))
    assert [(region["label"], region["share"]) for region in answer["classes"]] == [("red", 0.5), ("green", 0.5)]
    assert answer["classes"][0]["colour"] == f"#{bytes(masks.palette(LABELS)[0]).hex()}"
    with Image.open(out) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.repeat([[0, 1]], 10, axis=0).repeat(10, axis=1))
    _, (answer,), _ = run_json("predict", colour_map, pictures[0], "--top", 1)
    assert answer["mask"] is None
    assert len(answer["classes"]) == 1


def test_several_masks_go_into_a_folder(colour_map, pictures, tmp_path, run_json):
    out = tmp_path / "masks"
    code, answers, _ = run_json("predict", colour_map, *pictures, "--out", out)
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == ["flag.png", "leaf.png"]
    assert [answer["mask"] for answer in answers] == [str(out / "flag.png"), str(out / "leaf.png")]


def test_the_table_is_the_legend(colour_map, pictures, capsys):
    assert main(["predict", str(colour_map), str(pictures[0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # headings, a rule, two classes
    assert "red" in lines[2]
    assert "50.00%" in lines[2]
    assert "#" in lines[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explain", "why.png"], "--explain is for a classification, and "),
        (["--out", "mask.jpg"], "expected a file name ending in .png, got mask.jpg"),
        (["--out", "no/mask.png"], "no is not a folder"),
    ],
)
def test_what_cannot_be_done_is_refused(colour_map, pictures, words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(colour_map), str(pictures[1]), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_masks_that_would_overwrite_each_other_are_refused(colour_map, pictures, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "flag.png"
    twin.write_bytes(pictures[0].read_bytes())
    assert main(["predict", str(colour_map), str(pictures[0]), str(twin), "--out", str(tmp_path / "masks")]) == 2
    assert "would both be flag.png" in capsys.readouterr().err
    assert main(["predict", str(colour_map), *map(str, pictures), "--out", str(tmp_path / "one.png")]) == 2
    assert "expected a folder for the masks of 2 images" in capsys.readouterr().err


def test_a_mask_is_for_a_segmentation(saved_model, digits, tmp_path, capsys):
    assert main(["predict", str(saved_model), str(digits[0][0]), "--out", str(tmp_path / "mask.png")]) == 2
    assert "--out is for a segmentation" in capsys.readouterr().err


def test_evaluation_of_labelled_pixels_gives_each_class_its_iou(tmp_path, run_json, capsys):
    """Through `kapps.evaluate`, on an export that answers by the colour of a pixel: not well, but in figures."""
    import keras

    import kapps
    from kapps.data.preprocessing import Preprocessing
    from kapps.data.scenes import MASK_CLASS_NAMES

    image = keras.Input((64, 64, 3))
    model = keras.Model(image, keras.layers.Conv2D(19, 1, activation="softmax", bias_initializer="zeros")(image))
    kapps.export(model, tmp_path / "m", preprocessing=Preprocessing((64, 64)), labels=MASK_CLASS_NAMES)
    words = ["evaluate", str(tmp_path / "m"), "scene_masks", "--split", "test[:4]"]
    code, result, _ = run_json(*words)
    assert code == 0
    assert result["num_examples"] == 4
    ious = [figures["iou"] for figures in result["per_class"].values() if figures["iou"] is not None]
    assert result["mean_iou"] == pytest.approx(np.mean(ious))
    assert sum(figures["count"] for figures in result["per_class"].values()) == 4 * 64 * 64
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "mean IoU" in out
    heading = next(line for line in out.splitlines() if "precision" in line)
    assert heading.split() == ["class", "IoU", "precision", "recall", "pixels"]

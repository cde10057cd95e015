"""`kapps export --quantize` calibrates and measures on the images of a run or of a folder, and the card says on which.

The digits are the run's own: a dense network of 16x16 pixels.
"""

from __future__ import annotations

import json
import shutil

import pytest

from kapps import engines
from kapps.cli.main import main
from kapps.errors import DataError
from kapps.exporting import formats

LABELS = [str(digit) for digit in range(10)]

needs_onnx = pytest.mark.skipif(
    not all(map(engines.is_installed, formats._PACKAGES["onnx"])), reason="needs the extra: pip install 'kapps[onnx]'"
)


@pytest.fixture
def photographs(tmp_path):
    """The function that writes test digits into folders of these names, one for each digit."""
    from PIL import Image

    import kapps.data

    def write(names, count):
        folder = tmp_path / "photographs"
        for place, (image, label) in enumerate(
            kapps.data.load("digits", f"test[:{count}]").examples.as_numpy_iterator()
        ):
            file = folder / names[label] / f"{place:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(file)
        return folder

    return write


@needs_onnx
def test_a_run_calibrates_on_its_training_split_and_measures_on_its_test_split(run_folder, tmp_path, run_json):
    code, _, errors = run_json("export", run_folder, tmp_path / "m", "--quantize", "--largest-loss", 0.1)
    assert (code, errors) == (0, "")
    card = json.loads((tmp_path / "m" / "card.json").read_text(encoding="utf-8"))
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    found = card["engines"]["onnx-int8"]
    assert found["images"] == metrics["test"]["num_examples"] == 360
    assert found["accuracy_float32"] == pytest.approx(metrics["test"]["accuracy"])
    assert found["calibration_images"] == 512
    assert found["data"] == "digits, test"
    assert found["command"] == "kapps export digits m --quantize --largest-loss 0.1"
    assert set(card["engines"]) == {"onnx", "onnx-int8"}


@needs_onnx
def test_a_folder_calibrates_on_every_other_image_and_measures_on_the_rest(photographs, run_folder, tmp_path, run_json):
    labels = [f"{digit} drawn" for digit in range(10)]
    recipe = json.loads((run_folder / "recipe.json").read_text(encoding="utf-8"))
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(recipe["data"]["preprocessing"]), encoding="utf-8")
    folder = photographs(labels, 81)
    words = ["--preprocessing", steps, "--labels", ",".join(labels)]
    words += ["--quantize", "--calibration", folder, "--largest-loss", 0.1]
    code, _, errors = run_json("export", run_folder / "model.keras", tmp_path / "m", *words)
    assert (code, errors) == (0, "")
    found = json.loads((tmp_path / "m" / "card.json").read_text(encoding="utf-8"))["engines"]["onnx-int8"]
    assert (found["calibration_images"], found["images"], found["data"]) == (41, 40, "the folder photographs")
    assert found["accuracy_float32"] > 0.8, "the folders' names are the digits'"
    assert found["command"].startswith("kapps export model.keras m --labels '0 drawn,1 drawn,")
    assert found["command"].endswith(
        "...' --preprocessing steps.json --quantize --calibration photographs --largest-loss 0.1"
    )


def test_all_images_of_a_folder_are_used_once(photographs, caplog):
    from kapps.cli.calibration import _of_folder

    folder = photographs(LABELS, 50)
    for file in sorted((folder / "4").iterdir())[1:]:
        file.rename(folder / "5" / file.name)  # a class with one image
    parts = _of_folder(folder, [*"abcdefghij", "0"])[:2]
    assert [part.num_examples for part in parts] == [25, 25]
    assert not caplog.messages, "nothing is trained, so no image is missed for testing"
    found = [(image.tobytes(), int(label)) for part in parts for image, label in part.examples.as_numpy_iterator()]
    assert len(set(found)) == 50
    assert {label for _, label in found} == {10, *range(1, 10)}, "numbers, but where a label says otherwise"


def test_a_folder_that_no_label_names(photographs):
    from kapps.cli.calibration import _of_folder

    folder = photographs(LABELS, 30)
    (folder / "7").rename(folder / "seven")
    message = r"named by the model's labels, or by their numbers from 0 to 9, in .*photographs, got 'seven': rename it"
    with pytest.raises(DataError, match=message):
        _of_folder(folder, LABELS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--largest-loss", "0.1"], "--largest-loss belongs to --quantize"),
        (["--data-dir", "tfds"], "--data-dir belongs to --quantize"),
        (["--calibration", "photographs"], "--calibration belongs to --quantize"),
        (["--quantize", "--calibration", "absent"], "found nothing"),
    ],
)
def test_options_that_do_not_go_together(words, message, run_folder, tmp_path, capsys):
    assert main(["export", str(run_folder), str(tmp_path / "m"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_keras_file_brings_no_images(run_folder, tmp_path, capsys):
    shutil.copy(run_folder / "model.keras", tmp_path)
    (tmp_path / "steps.json").write_text('{"size": [16, 16], "channels": 1}', encoding="utf-8")
    words = ["--preprocessing", str(tmp_path / "steps.json"), "--labels", ",".join(LABELS), "--quantize"]
    assert main(["export", str(tmp_path / "model.keras"), str(tmp_path / "m"), *words]) == 2
    assert "brings no images: say with --calibration FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()

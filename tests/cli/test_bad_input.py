"""Bad input at the command line: exit code 2, one line that says what to do, no traceback, nothing half-written."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kapps.cli.main import main


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Run a command that must be refused; returns its one line. The folder it runs in must stay as it was."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)

    def run(*words: object) -> str:
        before = sorted(place.rglob("*"))
        capsys.readouterr()
        code = main([str(word) for word in words])
        output = capsys.readouterr()
        assert code == 2, output
        assert output.err.startswith("error: "), output.err
        assert output.err.count("\n") == 1, output.err
        assert "Traceback" not in output.err
        assert len(output.err) < 600
        assert output.out.strip() in ("", "[]")
        assert sorted(place.rglob("*")) == before
        return output.err

    return run


# Names --------------------------------------------------------------------------------------------


def test_wrong_model_name(refused):
    assert "did you mean 'lenet5'" in refused("info", "lenett5")


def test_wrong_recipe_name(refused):
    assert "mlp_digits" in refused("train", "mlp_digit")


def test_wrong_data_name(refused):
    assert "digits" in refused("data", "digit")


# Recipes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("optimizer.learning_rte=0.1", "did you mean 'learning_rate'"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate"),
        ("epochs=0", "epochs"),
        ("epochs=many", "epochs"),
        ("epochs", "FIELD=VALUE"),
        ("model.name=lenett5", "lenet5"),
    ],
)
def test_wrong_recipe_field(refused, setting, complaint):
    assert complaint in refused("train", "mlp_digits", "--out", "run", "--set", setting)


@pytest.mark.parametrize("content", ["not json", "[]", '{"title": "x"}', '{"titel": "x"}', "\x00\x01"])
def test_recipe_file_that_is_none(refused, tmp_path, content):
    file = tmp_path / "recipe.json"
    file.write_text(content, encoding="utf-8")
    refused("train", file, "--out", "run")


# Output folders -----------------------------------------------------------------------------------


def test_run_into_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file" in refused("train", "mlp_digits", "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


def test_run_below_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    refused("train", "mlp_digits", "--out", tmp_path / "file" / "run")


def test_export_below_a_file(refused, run_folder, tmp_path):
    (tmp_path / "file").write_text("x")
    refused("export", run_folder, tmp_path / "file" / "m")


def test_export_of_an_existing_version(refused, run_folder, saved_model):
    before = {path: path.stat().st_mtime_ns for path in saved_model.rglob("*")}
    assert "exists already" in refused("export", run_folder, saved_model, "--version", 1)
    assert {path: path.stat().st_mtime_ns for path in saved_model.rglob("*")} == before


def test_export_with_too_few_labels(refused, run_folder):
    refused("export", run_folder, "m", "--labels", "a,b")


def test_export_of_what_is_no_model(refused, tmp_path):
    (tmp_path / "x.keras").write_text("no zip")
    (tmp_path / "steps.json").write_text('{"size": [8, 8], "channels": 1}')
    refused("export", tmp_path / "x.keras", "m", "--labels", "a,b", "--preprocessing", tmp_path / "steps.json")
    refused("export", tmp_path / "none.keras", "m")
    refused("export", tmp_path, "m")


# Saved models -------------------------------------------------------------------------------------


@pytest.fixture
def copy_of_model(saved_model, tmp_path):
    return Path(shutil.copytree(saved_model, tmp_path / "copy"))


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index", "model.keras"])
def test_saved_model_with_a_missing_file(refused, copy_of_model, digits, part):
    (copy_of_model / "1" / part).unlink()
    assert part in refused("predict", copy_of_model, digits[0][0])
    assert part in refused("evaluate", copy_of_model, "digits")


def test_saved_model_with_a_changed_byte(refused, copy_of_model, digits):
    file = copy_of_model / "1" / "saved_model.pb"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "saved_model.pb" in refused("predict", copy_of_model, digits[0][0])


def test_saved_model_without_its_version(refused, copy_of_model, digits):
    shutil.rmtree(copy_of_model / "1")
    refused("predict", copy_of_model, digits[0][0])


@pytest.mark.parametrize("name", ["none", "empty", "file"])
def test_no_saved_model(refused, tmp_path, digits, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert name in refused("predict", tmp_path / name, digits[0][0])
    refused("evaluate", tmp_path / name, "digits")


def test_evaluate_on_data_with_other_classes(refused, saved_model, tmp_path):
    np.savez(tmp_path / "two.npz", x=np.zeros((4, 8, 8, 1), np.uint8), y=np.array([0, 1, 0, 1]))
    refused("evaluate", saved_model, tmp_path / "two.npz", "--split", "train")


# Images -------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has this size, with too little data for it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def noise(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("text.png", b"I am a text."),
        ("empty.png", b""),
        ("nothing.png", png_header(0, 0)),
        ("vast.png", png_header(30_000, 30_000)),
        ("cut.jpg", noise("JPEG")[:600]),
        ("cut.png", noise("PNG")[:600]),
        ("cut.gif", noise("GIF")[:600]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_image(refused, saved_model, tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert name in refused("predict", saved_model, tmp_path / name)


@pytest.mark.parametrize("kind", ["sixteen bit", "cmyk", "animated", "alpha", "palette"])
def test_unusual_image_is_read(saved_model, tmp_path, kind, run_json):
    """Read rightly, not refused: each shows the same digit and gets the same answer."""
    import kapps.data

    grey = np.squeeze(next(kapps.data.load("digits", "test").examples.as_numpy_iterator())[0], -1)
    plain = tmp_path / "plain.png"
    Image.fromarray(grey).save(plain)
    image = Image.fromarray(grey)
    file = tmp_path / "odd.png"
    if kind == "sixteen bit":
        Image.fromarray(grey.astype(np.uint16) * 257).save(file)
    elif kind == "cmyk":
        file = tmp_path / "odd.jpg"
        image.convert("RGB").convert("CMYK").save(file, quality=100, subsampling=0)
    elif kind == "animated":
        file = tmp_path / "odd.gif"
        image.save(file, save_all=True, append_images=[Image.new("L", image.size, 255)])
    elif kind == "alpha":
        image.convert("RGBA").save(file)
    else:
        image.convert("P").save(file)
    code, (expected, answer), _ = run_json("predict", saved_model, plain, file)
    assert code == 0
    assert answer["label"] == expected["label"]
    assert answer["score"] == pytest.approx(expected["score"], abs=0.05)


# Data ---------------------------------------------------------------------------------------------


def test_empty_folder(refused, saved_model, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("predict", saved_model, tmp_path / "empty")
    assert "empty" in refused("data", tmp_path / "empty")


def test_folder_without_classes(refused, tmp_path):
    (tmp_path / "flat").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "flat" / "a.png")
    refused("data", tmp_path / "flat")


def test_class_folder_with_one_image_is_read_and_noted(tmp_path, run_json):
    for name, count in (("many", 5), ("one", 1)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for place in range(count):
            Image.new("L", (8, 8), place).save(tmp_path / "set" / name / f"{place}.png")
    code, summary, _ = run_json("data", tmp_path / "set")
    assert code == 0
    assert summary["classes"]["one"] == 1
    assert any("'one' has one image" in note for note in summary["notes"])


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04 cut"])
def test_damaged_array_file(refused, tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    assert "x.npz" in refused("data", tmp_path / "x.npz")


def test_pickled_array_runs_no_code(refused, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object), y=np.array([0]))
    assert "x.npz" in refused("data", tmp_path / "x.npz")


def test_data_folder_that_is_not_there(refused, tmp_path):
    refused("data", "mnist", "--data-dir", tmp_path / "none")


# Files that commands read and write ---------------------------------------------------------------


@pytest.mark.parametrize("content", ["{", "[]", '{"size": [0, 0]}', '{"sise": [8, 8]}', '{"size": [8, 8], "fit": "?"}'])
def test_bad_preprocessing_file(refused, run_folder, tmp_path, content):
    (tmp_path / "steps.json").write_text(content, encoding="utf-8")
    labels = ["--labels", "0,1,2,3,4,5,6,7,8,9"]
    refused("export", run_folder / "model.keras", "m", *labels, "--preprocessing", tmp_path / "steps.json")


def test_explanation_into_a_missing_folder(refused, saved_model, digits):
    assert "not a folder" in refused("predict", saved_model, digits[0][0], "--explain", "none/why.png")


def test_explanation_of_unknown_kind(refused, saved_model, digits):
    assert ".png or .pdf or .svg" in refused("predict", saved_model, digits[0][0], "--explain", "why.txt")

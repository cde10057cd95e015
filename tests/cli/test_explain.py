from __future__ import annotations

import shutil

import pytest
from PIL import Image

from kapps.cli.main import main


def test_a_picture_of_one_image(saved_model, digits, tmp_path, run_json):
    out = tmp_path / "why.png"
    words = ("explain", saved_model, digits[0][0], "--method", "saliency", "--target", "3", "--out", out)
    code, (answer,), errors = run_json(*words)
    assert (code, errors) == (0, "")
    assert (answer["file"], answer["method"], answer["label"], answer["out"]) == (
        str(digits[0][0]),
        "saliency",
        "3",
        str(out),
    )
    _, (predicted,), _ = run_json("predict", saved_model, digits[0][0], "--top", 10)
    assert answer["score"] == pytest.approx(
        next(place["score"] for place in predicted["top_k"] if place["label"] == "3"), abs=1e-6
    )
    assert Image.open(out).size[0] >= 280


def test_all_methods_of_several_images_on_a_page(saved_model, digits, tmp_path, capsys):
    odd = tmp_path / "a <b> $x_1$.png"
    shutil.copy(digits[0][1], odd)
    out = tmp_path / "why.html"
    assert main(["explain", str(saved_model), str(digits[0][0]), str(odd), "--method", "all", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"written: {out}" in printed.out
    page = out.read_text(encoding="utf-8")
    assert "a &lt;b&gt; $x_1$.png" in page
    # a network without convolution and ReLU: Grad-CAM and the ReLU rules are left out, not an error
    assert page.count("<img") == 2 * 3
    assert "grad_cam" not in printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd.name, out.name])


def test_layers(saved_model, digits, tmp_path, run_json, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, rows, errors = run_json("explain", saved_model, *digits[0][:8], "--layers")
    assert (code, errors) == (0, "")
    assert {"name", "kind", "shape", "dead", "gradient", "effective_rank", "receptive_field"} <= set(rows[0])
    assert rows[-1]["shape"] == [10]
    assert main(["explain", str(saved_model), str(digits[0][0]), "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(rows[-1]["name"])]) == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_files_are_told_and_good_ones_explained(saved_model, digits, tmp_path, run_json):
    text = tmp_path / "text.png"
    text.write_text("I am a text")
    out = tmp_path / "why.png"
    words = ("explain", saved_model, text, digits[0][0], tmp_path / "none.png", "--method", "occlusion", "--out", out)
    code, answers, errors = run_json(*words)
    assert code == 2
    assert [answer["file"] for answer in answers] == [str(digits[0][0])]
    assert [("text.png" in line, "none.png" in line) for line in errors.splitlines()] == [(False, True), (True, False)]
    assert out.exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--method", "gradcam"], "did you mean 'grad_cam'"),
        (["--method", "saliency,oclusion"], "did you mean 'occlusion'"),
        (["--method", "saliency", "--target", "zero"], "no class is named 'zero'"),
        (["--method", "saliency", "--target", "10"], "expected a class from 0 to 9, got 10"),
        (["--method", "grad_cam"], "no layer with positions"),
        (["--out", "why.jpg"], "ending in .png or .html"),
        (["--out", "none/why.png"], "is not a folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(saved_model, digits, tmp_path, capsys, monkeypatch, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(saved_model), str(digits[0][0]), *words]) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_too_many_images(saved_model, digits, capsys):
    assert main(["explain", str(saved_model), *map(str, digits[0][:13])]) == 2
    assert "at most 12 images, got 13" in capsys.readouterr().err

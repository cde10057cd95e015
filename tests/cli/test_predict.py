from __future__ import annotations

import shutil

import pytest
from PIL import Image

from kapps.cli.main import main


def test_files_get_the_answers_that_the_evaluation_counts(saved_model, digits, run_json):
    """Through PNG bytes and the exported graph, as good as `kapps evaluate` measures on tensors."""
    files, names = digits
    code, answers, errors = run_json("predict", saved_model, *files)
    assert (code, errors) == (0, "")
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    _, measured, _ = run_json("evaluate", saved_model, "digits", "--split", f"test[:{len(files)}]")
    right = sum(answer["label"] == name for answer, name in zip(answers, names, strict=True))
    assert right / len(files) == pytest.approx(measured["accuracy"])


def test_top_is_ordered_and_as_long_as_asked(saved_model, digits, run_json):
    _, (answer,), _ = run_json("predict", saved_model, digits[0][0], "--top", 7)
    scores = [place["score"] for place in answer["top_k"]]
    assert len(scores) == 7
    assert scores == sorted(scores, reverse=True)
    assert answer["top_k"][0] == {"label": answer["label"], "score": answer["score"]}
    _, (answer,), _ = run_json("predict", saved_model, digits[0][0], "--top", 99)
    assert sum(place["score"] for place in answer["top_k"]) == pytest.approx(1, abs=1e-5)


def test_folder(saved_model, digits, run_json):
    code, answers, _ = run_json("predict", saved_model, digits[0][0].parent)
    assert code == 0
    assert len(answers) == len(digits[0])


def test_table(saved_model, digits, capsys):
    assert main(["predict", str(saved_model), str(digits[0][0]), "--top", "2"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(str(digits[0][0]))
    assert line.count("%") == 2


def test_engine(saved_model, digits, run_json, capsys):
    default, chosen = (
        run_json("predict", saved_model, digits[0][0], *more)[1] for more in ((), ("--engine", "tensorflow"))
    )
    assert chosen == default
    assert main(["predict", str(saved_model), str(digits[0][0]), "--engine", "onnx"]) == 2
    assert "has no model.onnx, which the engine 'onnx' needs" in capsys.readouterr().err
    assert main(["predict", str(saved_model), str(digits[0][0]), "--engine", "onx"]) == 2
    assert "did you mean 'onnx'" in capsys.readouterr().err


def test_bad_files_are_told_and_good_ones_answered(saved_model, digits, tmp_path, run_json):
    text = tmp_path / "text.png"
    text.write_text("I am a text")
    code, answers, errors = run_json("predict", saved_model, text, digits[0][0], tmp_path / "none.png", digits[0][1])
    assert code == 2
    assert [answer["file"] for answer in answers] == [str(digits[0][0]), str(digits[0][1])]
    lines = errors.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)
    assert sum("text.png" in line for line in lines) == 1
    assert sum("none.png" in line for line in lines) == 1


def test_explanation_is_drawn(saved_model, digits, tmp_path, capsys):
    out = tmp_path / "why.png"
    odd = tmp_path / "a [b] $x_1$ <&>.png"  # neither markup nor mathematics
    shutil.copy(digits[0][1], odd)
    assert main(["predict", str(saved_model), str(digits[0][0]), str(odd), "--explain", str(out)]) == 0
    width, height = Image.open(out).size
    assert width > height > 300
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd.name, out.name])


def test_too_many_to_explain(saved_model, digits, tmp_path, capsys):
    words = ["predict", str(saved_model), *map(str, digits[0][:13]), "--explain", str(tmp_path / "why.png")]
    assert main(words) == 2
    assert "at most 12 images, got 13" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

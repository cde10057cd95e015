"""The card is read back as it was written, refuses what is damaged, and asks for the command behind every figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kapps.errors import RecipeError, SavedModelError
from kapps.exporting.card import Card, check_facts


@pytest.fixture
def facts(exported):
    return json.loads((exported / "card.json").read_text())


def test_a_card_survives_writing_and_reading(exported, tmp_path):
    card = Card.read(exported / "card.json")
    (tmp_path / "card.json").write_text(card.to_json())
    assert Card.read(tmp_path / "card.json") == card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.pop("labels"), "lacks or adds the fields labels: it is damaged"),
        (lambda facts: facts.update(extra=1), "lacks or adds the fields extra"),
        (lambda facts: facts.update(labels="abc"), "the field labels should be of type list and is 'abc'"),
        (lambda facts: facts.update(version="1"), "the field version should be of type int and is '1'"),
        (lambda facts: facts.update(format=99), "has format 99, expected 1"),
        (lambda facts: facts.pop("format"), "has format None, expected 1"),
    ],
)
def test_a_damaged_card_is_refused(facts, tmp_path, change, message):
    change(facts)
    (tmp_path / "card.json").write_text(json.dumps(facts))
    with pytest.raises(SavedModelError, match=message):
        Card.read(tmp_path / "card.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON"), (b"\xff\xfe", "is not JSON"), (b"[]", "holds a list, expected an object")],
)
def test_what_is_no_json_object_is_refused(tmp_path, content, message):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(SavedModelError, match=message):
        Card.read(tmp_path / "card.json")


def test_a_missing_card_is_named(tmp_path):
    with pytest.raises(SavedModelError, match=r"card.json cannot be read \(No such file or directory\)"):
        Card.read(tmp_path / "card.json")


def test_metrics_carry_their_command():
    checked = check_facts(
        {
            "command": "kapps evaluate a mnist",
            "metrics": {
                "accuracy": np.float32(0.5),
                "examples": 10,
                "error": {"value": 0.5, "data": "the other half", "command": "kapps evaluate a other"},
            },
        }
    )
    assert checked["metrics"] == {
        "accuracy": {"value": 0.5, "data": "", "command": "kapps evaluate a mnist"},
        "examples": {"value": 10, "data": "", "command": "kapps evaluate a mnist"},
        "error": {"value": 0.5, "data": "the other half", "command": "kapps evaluate a other"},
    }
    assert "command" not in checked
    json.dumps(checked)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"metrics": {"accuracy": 0.9}}, "the card's metric 'accuracy' has no command: say in `command`"),
        ({"metrics": {"accuracy": "good"}, "command": "x"}, "should be a finite number or a mapping"),
        ({"metrics": {"accuracy": float("nan")}, "command": "x"}, "should be a finite number or a mapping"),
        ({"metrics": {"accuracy": True}, "command": "x"}, "should be a finite number or a mapping"),
        ({"metrics": {"accuracy": {"value": 1, "note": ""}}, "command": "x"}, "should be a finite number or a mapping"),
        ({"metrics": [1]}, r"field metrics should be a mapping, got \[1\]"),
        ({"limits": "digits only"}, "field limits should be a list of texts, got 'digits only'"),
        ({"titel": "x"}, "a card has no field 'titel': expected title"),
    ],
)
def test_wrong_facts_are_refused(facts, message):
    with pytest.raises(RecipeError, match=message):
        check_facts(facts)


def test_the_page_tells_a_reader_how_to_use_the_model(exported, facts, tmp_path):
    page = (exported / "card.md").read_text()
    for wanted in (
        "# colours, version 1",
        'kapps.load("colours")',
        "kapps predict colours image.png",
        "/v1/models/colours:predict",
        "`image` float32 [B, 6, 5, 3]",
        "size: [6, 5]",
        "probabilities that sum to 1 (softmax)",
        "Labels: red, green, blue",
        "Code and weights: Apache-2.0. Trained on: nothing, its weights were set by hand.",
        "- plain colours only",
        "No figure was recorded",
    ):
        assert wanted in page
    facts["metrics"] = {"accuracy": {"value": 0.9925, "data": "mnist test", "command": "kapps evaluate x mnist"}}
    facts["labels"] = [f"class {n}" for n in range(1000)]
    (tmp_path / "card.json").write_text(json.dumps(facts))
    page = Card.read(tmp_path / "card.json").to_markdown()
    assert "| accuracy | 0.9925 | mnist test | `kapps evaluate x mnist` |" in page
    assert "class 19, ... (1000 in all)" in page


def test_the_page_says_what_8_bits_lose(facts, tmp_path):
    facts["engines"]["onnx-int8"] = {
        "file": "model.int8.onnx",
        "bytes_float32": 5_000_000,
        "bytes_int8": 1_400_000,
        "accuracy_float32": 0.7677,
        "accuracy_int8": 0.76,
        "loss": 0.0077,
        "agreement": 0.985,
        "images": 10_000,
        "data": "cifar10, test",
        "calibration_images": 512,
        "command": "kapps export run name --quantize",
    }
    (tmp_path / "card.json").write_text(json.dumps(facts))
    assert (
        "`model.int8.onnx` is the same in 8 bits for the engine `onnx-int8`, which is used only where it is asked for: "
        "1,400,000 bytes instead of 5,000,000. It gets 76.00% of 10,000 images right, in float32 76.77%: a loss of "
        "0.77 percentage points. To 98.50% of them both give one answer. Measured on: cifar10, test; by: "
        "`kapps export run name --quantize`. Calibrated on 512 other images.\n"
    ) in Card.read(tmp_path / "card.json").to_markdown()


def test_an_older_card_without_engines_is_read(facts, tmp_path):
    del facts["engines"], facts["optimization"]
    (tmp_path / "card.json").write_text(json.dumps(facts))
    assert Card.read(tmp_path / "card.json").engines == {}


def test_reading_a_card_loads_no_tensorflow(exported):
    code = (
        "import sys; from pathlib import Path; from kapps.exporting.card import Card;"
        f"Card.read(Path({str(exported / 'card.json')!r}));"
        "sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0

"""The words of the command line become the arguments of `kapps.transfer`, and back."""

from __future__ import annotations

import shlex

import pytest

from kapps.cli.main import main
from kapps.errors import DataError
from kapps.tasks.transfer import transfer as module

USUAL = {
    "folder": "my photos/of 'cats'",
    "backbone": "efficientnet_lite0",
    "weights": "imagenet",
    "head": "logistic_regression",
    "tune": True,
    "minutes": 2.5,
    "patience": 6,
    "batch_norm": False,
    "class_weights": "balanced",
    "mirror": False,
    "validation": 0.2,
    "seed": 0,
}
OTHER = {
    "folder": "photos",
    "backbone": "squeezenet1_0",
    "weights": "some file.safetensors",
    "head": "svm",
    "tune": False,
    "minutes": 0.5,
    "patience": None,
    "batch_norm": True,
    "class_weights": "none",
    "mirror": True,
    "validation": 0.0,
    "seed": 7,
}


@pytest.mark.parametrize("settings", [USUAL, OTHER, USUAL | {"patience": 2, "mirror": True}])
def test_the_command_of_a_card_asks_for_the_same_again(settings, monkeypatch, capsys):
    words = shlex.split(module._command(settings))
    asked = {}

    def instead(folder, **options):
        asked.update(options, folder=str(folder))
        raise DataError("that will do")

    monkeypatch.setattr(module, "transfer", instead)
    assert main(words[1:]) == 2
    assert "that will do" in capsys.readouterr().err
    assert {name: asked[name] for name in settings} == settings


def test_what_is_usual_is_not_said():
    assert module._command(USUAL | {"folder": "photos"}) == (
        "kapps transfer photos --backbone efficientnet_lite0 --weights imagenet --head logistic_regression --seed 0"
    )

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import kapps
from kapps.cli.info import module_docstring
from kapps.cli.main import main


def test_shows_the_entry_and_the_file_s_words(capsys):
    assert main(["info", "lenet5"]) == 0
    out = capsys.readouterr().out
    assert "lenet5" in out
    assert "1998" in out
    assert f"{kapps.info('lenet5').params:,}" in out
    assert module_docstring(kapps.info("lenet5").module) in out


def test_json(capsys):
    assert main(["info", "lenet5", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["name"] == "lenet5"
    assert info["params"] == kapps.info("lenet5").params
    assert info["description"].startswith(module_docstring(info["module"]).splitlines()[0])


@pytest.mark.parametrize("name", kapps.list_models())
def test_every_architecture_s_file_introduces_itself(name):
    entry = kapps.info(name)
    source = Path(kapps.__file__).parent.parent / (entry.module.replace(".", "/") + ".py")
    written = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    assert module_docstring(entry.module) == written
    assert "Deviations:" in written


def test_wrong_name_is_answered_with_the_nearest(capsys):
    assert main(["info", "lenet6"]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: no model is named 'lenet6': did you mean 'lenet5'")
    assert output.err.count("\n") == 1
    assert output.out == ""

"""Exit codes and what goes where: stdout for results, one line on stderr for errors."""

from __future__ import annotations

import json

import pytest
import typer

import kapps
from kapps.cli import main as cli
from kapps.cli.main import main
from kapps.errors import KappsError


@pytest.fixture
def failing(monkeypatch):
    """A command `fail` on a copy of the app that raises what the test gives it."""
    app = typer.Typer(pretty_exceptions_enable=False)
    errors: list[BaseException] = []

    @app.callback()
    def options() -> None:
        pass

    @app.command()
    def fail() -> None:
        raise errors[0]

    monkeypatch.setattr(cli, "app", app)
    return errors


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kapps {kapps.__version__}\n"


def test_help_lists_the_commands_but_not_the_hidden_one(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("list", "info", "train", "evaluate", "predict", "bench", "export", "data", "demo"):
        assert f" {command} " in out
    assert " tables " not in out


@pytest.mark.parametrize("command", ["list", "info", "train", "evaluate", "predict", "bench", "export", "data"])
def test_what_prints_a_result_has_json(command, capsys):
    assert main([command, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_kapps_error_is_one_line_and_exit_code_2(failing, capsys):
    failing.append(KappsError("expected this,\n  got that: do so"))
    assert main(["fail"]) == 2
    output = capsys.readouterr()
    assert output.err == "error: expected this, got that: do so\n"
    assert output.out == ""


def test_fault_of_kapps_keeps_its_traceback(failing):
    failing.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


def test_ctrl_c_is_130(failing):
    failing.append(KeyboardInterrupt())
    assert main(["fail"]) == 130


@pytest.mark.parametrize("words", [["no-such-command"], ["list", "--no-such-option"], ["info"]])
def test_wrong_usage_is_2(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().out == ""


def test_completion_offers_model_names(monkeypatch, capsys):
    """What the shell's completion script calls when the user presses Tab after `kapps info `."""
    monkeypatch.setenv("_KAPPS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "kapps info ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert main([]) == 0
    assert capsys.readouterr().out.split() == kapps.list_models() + kapps.list_detectors() + kapps.list_learners()


def test_json_is_all_that_stdout_gets(capsys):
    assert main(["list", "--json"]) == 0
    output = capsys.readouterr()
    assert [entry["name"] for entry in json.loads(output.out)] == kapps.list_models()
    assert output.err == ""

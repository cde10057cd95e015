from __future__ import annotations

import os
import socket
import sys

import pytest
from streamlit import config as streamlit_config

from kapps import paths
from kapps.cli import demo
from kapps.cli.main import main


@pytest.fixture
def started(monkeypatch):
    """What the command would have turned this process into: (words, environment)."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda program, words, environment: calls.append((words, environment)))
    return calls


@pytest.fixture
def taken_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        server.listen()
        yield server.getsockname()[1]


def test_starts_streamlit_on_the_gallery(started):
    port = demo.free_port(20_000)
    assert main(["demo", "--port", str(port), "--no-browser"]) == 0
    ((words, environment),) = started
    assert words[:5] == [sys.executable, "-m", "streamlit", "run", str(paths.gallery_dir() / "streamlit_app.py")]
    assert f"--server.port={port}" in words
    assert "--server.headless=true" in words
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(paths.gallery_dir().parent)


def test_streamlit_knows_every_option():
    """A renamed option would let usage statistics out, or stop at the prompt for an e-mail address."""
    options = [word for word in demo.streamlit_command(paths.gallery_dir() / "x.py", 8600, False) if word[:2] == "--"]
    known = streamlit_config.get_config_options()
    assert [option for option in options if option[2:].partition("=")[0] not in known] == []
    assert "--browser.gatherUsageStats=false" in options
    assert "--server.showEmailPrompt=false" in options


def test_browser_is_left_to_streamlit_unless_switched_off():
    words = demo.streamlit_command(paths.gallery_dir() / "x.py", 8600, True)
    assert not any("headless" in word for word in words)


def test_port_in_use_names_a_free_one(started, taken_port, capsys):
    assert main(["demo", "--port", str(taken_port)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: port {taken_port} is in use: run `kapps demo --port ")
    assert demo.is_free(int(error.rstrip("`\n").rpartition(" ")[2]))
    assert started == []


def test_default_port_is_not_tensorflow_servings():
    assert demo.DEFAULT_PORT == 8600


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_impossible_port(port, started):
    assert main(["demo", "--port", port]) == 2
    assert started == []


def test_installation_without_gallery(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "kapps")
    assert main(["demo"]) == 2
    assert "streamlit_app.py" in capsys.readouterr().err

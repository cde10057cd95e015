"""`kapps demo`: the gallery in the browser, a Streamlit app that runs on this machine alone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from kapps import paths
from kapps.errors import KappsError

DEFAULT_PORT = 8600  # Streamlit's own 8501 is TensorFlow Serving's port


def command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the gallery listens.")] = DEFAULT_PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window on it.")] = True,
) -> None:
    """Open the gallery: draw or upload, see the answer and what led to it."""
    app = paths.gallery_dir() / "streamlit_app.py"
    if not is_free(port):
        raise KappsError(f"port {port} is in use: run `kapps demo --port {free_port(port)}`")
    # The server replaces this process, so that Ctrl-C and a kill reach it and nothing is left behind.
    os.execve(sys.executable, streamlit_command(app, port, browser), streamlit_environment(app))


def streamlit_command(app: Path, port: int, browser: bool) -> list[str]:
    """The words that start the server: no usage statistics leave the machine and no e-mail address is asked for."""
    words = [sys.executable, "-m", "streamlit", "run", str(app), f"--server.port={port}"]
    words += ["--server.address=localhost", "--browser.gatherUsageStats=false", "--server.showEmailPrompt=false"]
    # Without the flag Streamlit opens a window where there is a display to open it on.
    return words if browser else [*words, "--server.headless=true"]


def streamlit_environment(app: Path) -> dict[str, str]:
    """This process' environment, with the folder around `apps` importable (in a wheel it is not on the path)."""
    around = str(app.parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{around}{os.pathsep}{known}" if known else around}


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just closed is free
        try:
            probe.bind(("localhost", port))
        except OSError:
            return False
        return True


def free_port(after: int) -> int:
    """The next free port above `after`, or one that the system picks when the next hundred are taken."""
    for port in range(after + 1, min(after + 101, 65536)):
        if is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])

"""Fixtures of the tests that hold the whole repository to its rules."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def project_files() -> list[Path]:
    """Every file of the project: what git tracks, and what it would track; build products and the environment aside."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip(f"needs a git checkout to know the project's files: {listed.stderr.strip()}")
    return sorted(path for name in set(listed.stdout.split("\0")) - {""} if (path := REPO / name).is_file())

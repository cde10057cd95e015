"""The Makefile makes the environment once, and again when what it follows from changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def clone(repo, tmp_path) -> Path:
    """A clone with an environment that looks made: sources first, then the two stamps."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for age, name in enumerate(("requirements.lock", "pyproject.toml", "Makefile", ".venv/locked", ".venv/installed")):
        file = tmp_path / name
        file.write_bytes((repo / name).read_bytes() if (repo / name).is_file() and age < 3 else b"")
        os.utime(file, (1_000_000 + age, 1_000_000 + age))
    return tmp_path


def alone() -> dict[str, str]:
    """The environment without what `make test` sets: a make that runs below another says more."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}


def planned(folder: Path, *words: str) -> str:
    """What make would run."""
    command = ["make", "--dry-run", "PYTHON=python3", *words]
    return subprocess.run(command, cwd=folder, env=alone(), capture_output=True, text=True, check=True).stdout


def test_nothing_to_do_when_nothing_changed(clone):
    assert "pip" not in planned(clone, "env")


def test_new_lock_installs_everything(clone):
    os.utime(clone / "requirements.lock")
    plan = planned(clone, "env")
    assert "--no-deps --require-hashes -r requirements.lock" in plan
    assert plan.index("--require-hashes") < plan.index("--no-deps --no-build-isolation -e .")


def test_new_pyproject_installs_kapps_alone(clone):
    os.utime(clone / "pyproject.toml")
    plan = planned(clone, "env")
    assert "-e ." in plan
    assert "requirements.lock" not in plan


@pytest.mark.parametrize("target", ["test", "test-slow", "check", "demo", "format", "lock", "coverage"])
def test_every_target_makes_the_environment_first(clone, target):
    (clone / ".venv" / "locked").unlink()
    assert "--require-hashes" in planned(clone, target)


def test_help_is_the_default_and_lists_every_target(repo):
    shown = subprocess.run(["make"], cwd=repo, env=alone(), capture_output=True, text=True, check=True).stdout
    text = (repo / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"\.PHONY: (.*)", text)[1].split())
    assert {line.split()[0] for line in shown.splitlines()} == targets


def test_no_fitting_python_is_one_clear_line(clone):
    (clone / ".venv" / "locked").unlink()
    done = subprocess.run(["make", "env", "PYTHON="], cwd=clone, env=alone(), capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("error: expected Python 3.11, 3.12 or 3.13, found none")

"""The wheel holds all that `kapps demo` needs; an editable install copies nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from kapps import paths


@pytest.fixture(scope="module")
def wheel(repo, tmp_path_factory) -> zipfile.ZipFile:
    if not any((repo / "saved_models").glob("*/card.json")):
        pytest.skip("needs the shipped models in saved_models/")
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(words, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def tracked(repo: Path, files: list[Path], folder: str) -> set[str]:
    return {file.relative_to(repo).as_posix() for file in files if file.is_relative_to(repo / folder)}


def test_wheel_holds_the_package_the_gallery_and_the_models(wheel, repo, project_files):
    names = set(wheel.namelist())
    assert tracked(repo, project_files, "kapps") <= names
    for folder in ("apps", "saved_models"):
        assert {f"kapps/_gallery/{name}" for name in tracked(repo, project_files, folder)} <= names
    assert "kapps/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_holds_nothing_else(wheel):
    strange = [
        name
        for name in wheel.namelist()
        if not name.startswith("kapps/") and not name.partition("/")[0].endswith(".dist-info")
    ]
    assert strange == []
    assert not [name for name in wheel.namelist() if "__pycache__" in name or "/.part-" in name]


def test_wheel_gives_the_command(wheel):
    points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "kapps = kapps.cli.main:main" in wheel.read(points).decode()


def test_unpacked_wheel_finds_its_gallery(wheel, tmp_path):
    """As an installed package would: nothing of the checkout is on the path."""
    wheel.extractall(tmp_path)
    code = "from kapps.paths import *; print(gallery_dir(), saved_models_dir(), checkout_dir(), sep=chr(10))"
    words = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    gallery = tmp_path / "kapps" / "_gallery"
    assert done.stdout.split() == [str(gallery / "apps"), str(gallery / "saved_models"), "None"]


def test_editable_install_is_one_path_entry(repo, tmp_path):
    code = f"from hatchling.build import build_editable; print(build_editable({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=repo, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        outside = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert len(outside) == 1
        assert archive.read(outside[0]).decode().strip() == str(repo)


def test_checkout_finds_its_gallery(repo):
    assert paths.checkout_dir() == repo
    assert paths.gallery_dir() == repo / "apps"


def test_console_script_is_declared(repo):
    project = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"kapps": "kapps.cli.main:main"}

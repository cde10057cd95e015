"""The import rules of pyproject.toml, and what the package takes from outside."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from importlinter import api

import kapps

PACKAGE = Path(kapps.__file__).parent


def test_import_rules(repo):
    # In a process of its own: import-linter configures logging, and with it silences every logger that exists.
    program = "from importlinter import cli; raise SystemExit(cli.lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_part_has_its_place_in_the_layers(repo, pyproject):
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = {name.strip("() ") for layer in layers for name in re.split(r"[|:]", layer)}
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == placed


def test_contracts_are_read(repo):
    """A typo in the configuration's file name would switch every rule off."""
    configuration = api.read_configuration(str(repo / "pyproject.toml"))
    assert len(configuration["contracts_options"]) >= 6


def third_party_imports(folder: Path) -> dict[str, Path]:
    """Top-level package -> a file that imports it, standard library and kapps itself aside."""
    found = {}
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            found.update(dict.fromkeys((name.partition(".")[0] for name in names), file))
    own = {*sys.stdlib_module_names, "kapps", "apps"}
    return {name: file for name, file in found.items() if name not in own}


@pytest.mark.parametrize("folder", ["kapps", "apps"])
def test_everything_imported_is_a_declared_dependency(repo, pyproject, folder):
    """What comes only along with another package can vanish with that package's next release."""
    extras = [lines for extra, lines in pyproject["project"]["optional-dependencies"].items() if extra != "dev"]
    optional = {_distribution(line) for lines in extras for line in lines}  # need not be installed, so go by their name
    declared = {_distribution(line) for line in pyproject["project"]["dependencies"]} | optional
    providers = packages_distributions()
    undeclared = {
        name: file.relative_to(repo).as_posix()
        for name, file in third_party_imports(repo / folder).items()
        if not {provider.lower().replace("_", "-") for provider in providers.get(name, [])} & declared
        and name.replace("_", "-") not in optional
    }
    assert undeclared == {}


def _distribution(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower()

"""What every file of the project must and must not hold."""

from __future__ import annotations

import ast
import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

# A home or work folder of somebody's machine, and the hosts of package registries: neither exists for a reader.
# Built from parts, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:" + "|".join(["work", "root", r"home/\w+", r"Users/\w+", "mnt"]) + r")/")
REGISTRY_HOST = re.compile(
    "|".join([r"pypi\." + "org", r"python" + r"hosted\.org", r"npm" + r"js\.(?:com|org)", r"deb\." + "debian"])
)


def texts(files: list[Path]) -> list[tuple[Path, str]]:
    """The files that are text; what names itself a text must be UTF-8."""
    found = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            if file.suffix in (".py", ".md", ".json", ".toml", ".yaml", ".svg", ".txt", ".lock"):
                raise
            continue
        if "\0" not in text:
            found.append((file, text))
    return found


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATH, "see /wor" + "k/main/x"),
        (MACHINE_PATH, "'/ho" + "me/ann/x'"),
        (REGISTRY_HOST, "https://py" + "pi.org/simple"),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern, line):
    assert pattern.search(line)


def test_the_machine_pattern_leaves_other_paths_alone():
    assert not MACHINE_PATH.search("docs/work/x, tests/root/y, example.com/home/ann, /usr/bin/env, network/work/x")


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["machine paths", "registry hosts"])
def test_no_file_speaks_of_one_machine(project_files, repo, pattern):
    found = [
        f"{file.relative_to(repo)}:{number}: {line.strip()[:100]}"
        for file, text in texts(project_files)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_saved_models_hold_no_machine_paths(project_files, repo):
    """Keras and TensorFlow write source positions and paths into graphs when they are let."""
    pattern = MACHINE_PATH.pattern.encode()
    folder = repo / "saved_models"
    found = [
        str(file.relative_to(repo))
        for file in project_files
        if folder in file.parents and re.search(pattern, file.read_bytes())
    ]
    assert found == []


def test_json_files_parse(project_files):
    for file in project_files:
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))


def test_modules_with_code_start_with_future_annotations(project_files, repo):
    """One rule everywhere: annotations are never evaluated while importing."""
    lacking = []
    for file in project_files:
        if file.suffix == ".py":
            body = ast.parse(file.read_text(encoding="utf-8")).body
            defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)
            if defines and not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body):
                lacking.append(str(file.relative_to(repo)))
    assert lacking == []


def test_tests_mirror_the_package(project_files, repo):
    """tests/<part>/ exists only where kapps/<part>/ does; what spans parts has its own named folders."""
    spanning = {"contracts", "parity", "apps"}
    parts = {path.relative_to(repo).parts[1] for path in project_files if path.is_relative_to(repo / "tests")}
    folders = {part for part in parts if not part.endswith(".py") and not part.startswith(".")}
    assert {part for part in folders - spanning if not (repo / "kapps" / part).is_dir()} == set()


def test_licence_is_the_full_apache_licence(repo):
    text = (repo / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11_000


def test_ci_runs_make_test_and_nothing_in_its_place(repo):
    script = repo / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.read_text(encoding="utf-8").rstrip().splitlines()[-1] == "make test"


@pytest.mark.parametrize("words", [["format", "--check"], ["check"]], ids=" ".join)
def test_ruff(repo, words):
    done = subprocess.run([sys.executable, "-m", "ruff", *words, "--quiet", str(repo)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lock_covers_every_dependency(repo, pyproject):
    """pip takes the lock as it is: without dependencies of its own finding, and nothing without a hash."""
    entries = re.split(r"\n(?=[\w])", (repo / "requirements.lock").read_text(encoding="utf-8"))
    locked = {re.split(r"[= ]", entry)[0].lower() for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    project = pyproject["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in wanted} <= locked


def test_pre_commit_hooks_need_no_network(repo):
    text = (repo / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    assert all(entry.startswith(".venv/bin/") for entry in re.findall(r"entry: (\S+)", text))

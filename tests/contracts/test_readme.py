"""The README's tables are current, its examples run and its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from kapps.cli.main import main


def test_tables_are_current(repo, capsys):
    assert main(["tables", "--check"]) == 0, capsys.readouterr().err


def test_links_lead_to_files(repo):
    page = (repo / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page)
    assert [target for target in targets if not (repo / target).exists()] == []


def test_examples_run(repo, tmp_path):
    """Every ```python block, one after the other in one interpreter, in a folder with the shipped models beside it."""
    page = (repo / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert blocks, "the README shows the Python API in a ```python block"
    needed = {name for block in blocks for name in re.findall(r"saved_models/(\w+)", block)}
    if missing := [name for name in needed if not (repo / "saved_models" / name / "card.json").is_file()]:
        pytest.skip(f"needs saved_models/{missing[0]}")
    for folder in ("saved_models", "docs"):
        if (repo / folder).is_dir():
            shutil.copytree(repo / folder, tmp_path / folder)
    script = tmp_path / "readme_examples.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_commands_shown_exist(repo, capsys):
    """Every `kapps WORD` in a code block or in backticks is a command."""
    page = (repo / "README.md").read_text(encoding="utf-8")
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    code = re.findall(r"^```.*?^```|`[^`\n]+`", page, flags=re.DOTALL | re.MULTILINE)
    shown = {
        word for part in code for word in re.findall(r"(?:^|`|\$ |bin/)kapps ([a-z]+)\b", part, flags=re.MULTILINE)
    }
    assert [word for word in sorted(shown) if not re.search(rf"\b{word}\b", listed)] == []

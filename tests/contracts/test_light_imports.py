"""What must answer at once loads nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kapps.cli

HEAVY = {"tensorflow", "keras", "numpy", "sklearn", "matplotlib", "PIL", "tensorflow_datasets", "streamlit", "h5py"}
COMMANDS = [module.stem for module in Path(kapps.cli.__file__).parent.glob("*.py") if module.stem != "__init__"]


def heavy_modules_after(code: str) -> set[str]:
    """The heavy packages in `sys.modules` after a fresh interpreter has run `code`."""
    report = f"{code}\nimport sys\nprint('\\nLOADED', *sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.rpartition("LOADED")[2].split())


def test_the_probe_sees_heavy_modules():
    assert heavy_modules_after("import numpy") == {"numpy"}


@pytest.mark.parametrize(
    "code",
    [
        "import kapps; dir(kapps); kapps.list_models()",
        "import kapps.catalog, kapps.errors, kapps.paths, kapps.data",
        "import " + ", ".join(f"kapps.cli.{name}" for name in COMMANDS),
    ],
    ids=["kapps", "plain data", "command modules"],
)
def test_import_is_light(code):
    assert heavy_modules_after(code) == set()


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["list"], ["list", "--json"], ["info", "lenet5"], ["data"]]
)
def test_command_is_light(words):
    assert heavy_modules_after(f"from kapps.cli.main import main\nassert main({words!r}) == 0") == set()


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs os.wait4 for the processor time of one child")
@pytest.mark.parametrize("words", [["--help"], ["list"], ["info", "lenet5"]], ids=" ".join)
def test_command_answers_within_half_a_second(words):
    """Processor time of the whole process, which on an idle machine is the time that a user waits.

    The best of several runs: other work on the machine only ever adds. On a machine so slow, or so busy, that the
    libraries behind a command line take half of that alone, ours may take as much again.
    """
    best = others = float("inf")
    for _ in range(8):
        best = min(best, processor_time("-m", "kapps.cli.main", *words))
        if best < 0.4:
            break
        others = min(others, processor_time("-c", "import typer, typer._adapters, rich.table"))
    assert best < max(0.5, 2 * others)


def processor_time(*arguments):
    """Seconds of a fresh Python, in the user's and in the system's mode."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, errors.decode()
    return usage.ru_utime + usage.ru_stime

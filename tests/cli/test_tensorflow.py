from __future__ import annotations

import subprocess
import sys

import pytest

from kapps.cli.tensorflow import without_notes

NOTE = "I0000 00:00:1795347608.489449   29392 port.cc:153] oneDNN custom operations are on.\n"
NO_GPU = "E0000 00:00:1795347662.755245   27281 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
ERROR = "E0000 00:00:1795347662.755245   27281 executor.cc:52] out of memory\n"
FATAL = "F0000 00:00:1795347662.755245   27281 check.cc:52] Check failed\n"
PLAIN = "Segmentation fault\n"


@pytest.mark.parametrize(("has_gpu", "kept"), [(False, ERROR + FATAL + PLAIN), (True, NO_GPU + ERROR + FATAL + PLAIN)])
def test_only_notes_are_dropped(has_gpu, kept):
    banner = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    assert without_notes(banner + NOTE + NO_GPU + ERROR + FATAL + PLAIN, has_gpu=has_gpu) == kept


def test_a_command_that_loads_tensorflow_writes_its_own_line_alone():
    """The whole process, because these notes pass by Python's stderr."""
    words = [sys.executable, "-m", "kapps.cli.main", "data", "no_such_set"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1

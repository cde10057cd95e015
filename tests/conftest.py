"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Quiet and repeatable: no GPU look-up, no oneDNN banner. Set before TensorFlow is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:  # files run side by side: a core for each
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the real data sets used for building; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("KAPPS_SHARED", REPO.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the shared data folder; {folder} is absent (set KAPPS_SHARED to it)")
    return folder

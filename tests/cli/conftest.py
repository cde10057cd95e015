"""One small real run and its export, made through the command line itself; everything else here looks at them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kapps.cli.main import main


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A finished run on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "mlp_digits", "--out", str(folder), "--set", "epochs=3"]) == 0
    return folder


@pytest.fixture(scope="session")
def saved_model(run_folder, tmp_path_factory) -> Path:
    """The run's export."""
    folder = tmp_path_factory.mktemp("saved_models") / "digits"
    assert main(["export", str(run_folder), str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> tuple[list[Path], list[str]]:
    """The first forty test digits as PNG files, and what they are."""
    from PIL import Image

    import kapps.data

    folder = tmp_path_factory.mktemp("digits")
    data = kapps.data.load("digits", "test[:40]")
    files, names = [], []
    for place, (image, label) in enumerate(data.examples.as_numpy_iterator()):
        files.append(folder / f"{place:02d}.png")
        Image.fromarray(np.squeeze(image, -1)).save(files[-1])
        names.append(data.class_names[label])
    return files, names


@pytest.fixture
def run_json(capsys):
    """`kapps <words> --json` as (exit code, what was printed, stderr)."""

    def run(*words: object) -> tuple[int, object, str]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        output = capsys.readouterr()
        return code, json.loads(output.out) if output.out else None, output.err

    return run

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kapps.data import load
from kapps.errors import DataError, UnknownNameError


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    """A working folder with data folders called like nothing, like a built-in and like a TFDS set."""
    for root in ("photos", "digits", "mnist"):
        for name in ("a", "b"):
            (tmp_path / root / name).mkdir(parents=True)
            for number in range(3):
                Image.new("L", (4, 4)).save(tmp_path / root / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_and_paths(in_a_folder):
    assert load("photos").source == "folder photos"
    assert load("./digits").source == "folder digits"
    assert load(in_a_folder / "mnist").source == "folder mnist"
    assert load("digits").num_examples == 1437
    with pytest.raises(DataError, match="mnist is not prepared"):
        load("mnist", data_dir=in_a_folder)


def test_what_is_nothing(in_a_folder):
    with pytest.raises(UnknownNameError, match="no data set is named 'photo'"):
        load("photo", data_dir=in_a_folder)
    with pytest.raises(DataError, match="found nothing"):
        load("./photo")
    with pytest.raises(DataError, match="got int"):
        load(3)
    with pytest.raises(DataError, match="tuple of 3"):
        load((np.zeros(3), np.zeros(3), np.zeros(3)))

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from kapps import catalog
from kapps.errors import UnknownNameError


def test_patterns():
    assert catalog.list_models("lenet*") == ["lenet5", "lenet5_softmax"]
    assert catalog.list_models("LeNet5") == ["lenet5"]
    assert catalog.list_models("no such*") == []
    assert catalog.list_models() == [entry.name for entry in catalog.ENTRIES]


def test_tasks():
    assert catalog.list_models(task="logic") == ["mcculloch_pitts", "xor_net"]
    assert set(catalog.list_models("m?[px]*", task="classification")) == {"mlp", "maxout"}
    assert set(catalog.list_models("fcn*", task="segmentation")) >= {"fcn32s", "fcn16s", "fcn8s", "fcn_resnet50"}
    with pytest.raises(UnknownNameError, match="'classification'"):
        catalog.list_models(task="clasification")


def test_info():
    assert catalog.info("lenet5").title == "LeNet-5"
    with pytest.raises(UnknownNameError, match="no model is named 'lenet': did you mean 'lenet5'"):
        catalog.info("lenet")
    with pytest.raises(UnknownNameError, match="see `kapps list`"):
        catalog.info("zzz")


@pytest.mark.parametrize("entry", catalog.ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_complete_and_plain(entry):
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        assert value or field.name in ("params", "url"), f"{field.name} is empty"
        assert isinstance(value, str | int | tuple)
    assert entry.name == entry.name.lower()
    assert 1940 < entry.year < 2030
    assert ":" in entry.paper
    assert entry.url.startswith("https://") or not entry.url


def test_entries_of_a_chapter_follow_history():
    chapters: dict[str, list[int]] = {}
    for entry in catalog.ENTRIES:
        chapters.setdefault(entry.module.split(".")[2], []).append(entry.year)
    assert list(chapters) == ["foundations", "convolutional"]
    assert all(years == sorted(years) for years in chapters.values())


def test_needs_the_standard_library_only():
    heavy = {"keras", "tensorflow", "numpy"}
    script = f"import sys, kapps.catalog; kapps.catalog.info('lenet5'); print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

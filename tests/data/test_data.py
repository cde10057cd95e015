"""kapps.data as a package: what it offers, and that looking costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kapps.data


def test_importing_loads_no_tensorflow():
    code = (
        "import sys, kapps.data; from kapps.data.images import check_image_bytes, read_image; "
        "assert kapps.data.SOURCES; "
        "sys.exit(sum(name in sys.modules for name in ('tensorflow', 'keras', 'sklearn', 'tensorflow_datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists():
    for name in kapps.data.__all__:
        assert getattr(kapps.data, name) is not None
    with pytest.raises(AttributeError, match="public names"):
        _ = kapps.data.nonsense


def test_load_stays_a_function():
    from kapps.data.loading import load

    assert kapps.data.load is load


@pytest.mark.parametrize("source", [source for source in kapps.data.SOURCES if source.needs == "built in"])
def test_built_in_sources_are_as_described(source):
    for split, size in source.splits.items():
        if source.kind == "boxes":
            data = kapps.data.load_boxes(source.name, split)
            assert (data.name, data.num_examples) == (source.name, size)
            continue
        data = kapps.data.load(source.name, split)
        assert (data.name, data.kind, data.num_examples) == (source.name, source.kind, size)

from __future__ import annotations

import hashlib
import importlib.metadata
import sys

import pytest

from kapps import catalog
from kapps.data.preprocessing import Preprocessing
from kapps.weights.key_map import key_maps
from kapps.weights.sources import SOURCES, find, installed_file, sources


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{source.name} {source.weights}")
def test_every_source_can_be_used(source):
    entry = catalog.info(source.name)
    assert source.publisher in key_maps(entry.module, entry.name)
    assert Preprocessing(**source.preprocessing).channels == entry.input_shape[-1]
    assert source.licence
    if source.package:
        assert not source.url
        assert source.file.endswith((".pth", ".safetensors", ".h5"))
        assert len(source.checksum) == len("sha256:") + 64
    else:
        assert source.url.startswith("https://")
        assert source.checksum.startswith(("sha256:", "md5:")) or "huggingface.co" in source.url


def test_names_are_unique():
    assert len({(source.name, source.weights) for source in SOURCES}) == len(SOURCES)


def test_imagenet_is_the_first():
    assert find("resnet50", "imagenet") == sources("resnet50")[0]
    assert find("resnet50", "imagenet/torchvision/v1").top1 == 0.7613


PACKAGED = next(source for source in SOURCES if source.package)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that looks like the one with the weights; its code must not be run."""
    distribution = tmp_path / (PACKAGED.package.replace("-", "_") + "-0.1.0.dist-info")
    distribution.mkdir()
    (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGED.package}\nVersion: 0.1.0\n")
    file = tmp_path / PACKAGED.file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    top = tmp_path / PACKAGED.file.partition("/")[0]
    (top / "__init__.py").write_text("raise AssertionError('this code is not to be run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return file


@pytest.fixture
def no_package(monkeypatch):
    def distribution(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


def test_the_file_of_a_package_is_found_without_running_its_code(package):
    assert installed_file(PACKAGED) == package
    assert find(PACKAGED.name, "imagenet") is PACKAGED
    assert package.parents[1].name not in sys.modules


def test_a_package_without_the_file_is_none(package):
    package.unlink()
    assert installed_file(PACKAGED) is None
    assert find(PACKAGED.name, "imagenet").url.startswith("https://")


@pytest.mark.usefixtures("no_package")
def test_without_the_package_imagenet_is_what_can_be_fetched():
    assert installed_file(PACKAGED) is None
    assert find(PACKAGED.name, "imagenet").publisher == "timm"
    assert find(PACKAGED.name, PACKAGED.weights) is PACKAGED


def test_what_is_fetched_is_in_no_package():
    assert installed_file(find("vgg16", "imagenet")) is None


def test_the_installed_package_has_the_file_that_was_checked():
    file = installed_file(PACKAGED)
    if file is None:
        pytest.skip(f"needs the package {PACKAGED.package}")
    assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" == PACKAGED.checksum

from __future__ import annotations

import pytest

from kapps import catalog
from kapps.data.preprocessing import Preprocessing
from kapps.weights.key_map import key_maps
from kapps.weights.sources import SOURCES, find, sources


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{source.name} {source.weights}")
def test_every_source_can_be_used(source):
    entry = catalog.info(source.name)
    assert source.publisher in key_maps(entry.module, entry.name)
    assert source.url.startswith("https://")
    assert source.checksum.startswith(("sha256:", "md5:")) or "huggingface.co" in source.url
    assert Preprocessing(**source.preprocessing).channels == entry.input_shape[-1]
    assert source.licence


def test_names_are_unique():
    assert len({(source.name, source.weights) for source in SOURCES}) == len(SOURCES)


def test_imagenet_is_the_first():
    assert find("resnet50", "imagenet") == sources("resnet50")[0]
    assert find("resnet50", "imagenet/torchvision/v1").top1 == 0.7613

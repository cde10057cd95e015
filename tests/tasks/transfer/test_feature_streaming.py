"""The experiment on few and small photos: what it returns, and that it measures what it says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kapps.errors import TrainingError, UnknownNameError
from kapps.tasks import experiments
from kapps.tasks.transfer import feature_streaming


@pytest.mark.slow
@pytest.mark.parametrize("case", feature_streaming.CASES)
def test_a_stream_is_measured_beside_its_parts(case, tmp_path):
    lines = []
    found = feature_streaming.run(
        case, 0, size=64, data_dir=None, folder=tmp_path, report=lines.append, photos=40, rounds=2, backbone="resnet20"
    )
    parts = found["parts"]
    assert 0 < found["value"] < 2
    assert found["value"] < parts["times as fast as one after the other"] <= 2 * found["value"] + 1e-9
    assert found["value"] <= parts["of what the processors allow"] + 1e-9
    assert all(parts[f"{name}, photos a second"] > 0 for name in ("decoder alone", "network alone", "stream"))
    assert len(lines) == 2
    assert not list(tmp_path.iterdir())


def test_photos_are_made_up_from_the_seed(tmp_path):
    photos = feature_streaming.made_up_photos(tmp_path, 80, 20, seed=3)
    assert len({photo.digest for photo in photos}) == 20
    assert len({photo.path for photo in photos}) == 8
    pixels = [np.asarray(Image.open(photo.path)) for photo in photos[:8]]
    assert pixels[0].shape == (60, 80, 3)
    assert all(np.abs(pixels[0].astype(int) - other).mean() > 10 for other in pixels[1:])
    first = photos[0].path.read_bytes()
    assert feature_streaming.made_up_photos(tmp_path, 80, 1, seed=3)[0].path.read_bytes() == first


def test_what_does_not_exist_and_what_fails(tmp_path, monkeypatch):
    options = {"size": 64, "data_dir": None, "folder": tmp_path, "report": print}
    with pytest.raises(UnknownNameError, match="all processors"):
        feature_streaming.run("all procesors", 0, **options)
    monkeypatch.setattr(experiments.sys, "executable", "/bin/false")
    with pytest.raises(TrainingError, match="ended with 1: nothing was said"):
        feature_streaming.run("all processors", 0, **options)

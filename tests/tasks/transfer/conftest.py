from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nothing is remembered from test to test, nor in the user's own cache."""
    monkeypatch.setenv("KAPPS_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(seed: int, kind: str = "dots", side: int = 64) -> Image.Image:
    """A photo-like picture: smooth random colours with bright dots or dark bars on them, different for each seed."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(60, 200, (5, 5, 3)).astype(np.uint8)
    pixels = np.array(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    for _ in range(6):
        y, x = random.integers(0, side - 12, 2)
        if kind == "dots":
            rows, columns = np.ogrid[:side, :side]
            pixels[(rows - y - 6) ** 2 + (columns - x - 6) ** 2 < 30] = (250, 240, 90)
        else:
            pixels[y : y + 4, :] = (20, 20, 60)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path):
    """Two classes, twelve photos each; names with spaces and in Chinese."""
    for kind, name in (("dots", "点 dots"), ("bars", "bars")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            picture(1000 * (kind == "bars") + index, kind).save(tmp_path / "photos" / name / f"photo {index}.png")
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file with weights of resnet20, as they are made."""
    import keras

    from kapps.create import create_model

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet20.weights.h5"
    create_model("resnet20").save_weights(path)
    return path

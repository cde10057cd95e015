"""Fixtures that every test may use."""

from __future__ import annotations

import gc
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


@pytest.fixture(scope="session")
def colour_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the versions of an exported segmentation whose answers can be foretold. Not to be changed.

    6x8x3 -> for each pixel which colour is strongest: the softmax of about eight times its channels, so that the
    batch normalisation has something to do. Its features are the scores.
    """
    import keras
    import numpy as np

    import kapps
    from kapps.data.preprocessing import Preprocessing

    image = keras.Input((6, 8, 3), name="image")
    conv = keras.layers.Conv2D(3, 1, use_bias=False, name="conv")
    scores = keras.layers.BatchNormalization(name="scores")(conv(image))
    model = keras.Model(image, keras.layers.Softmax(name="predictions")(scores), name="colour_map")
    conv.set_weights([8 * np.eye(3).reshape(1, 1, 3, 3)])
    path = tmp_path_factory.mktemp("segmentations") / "colour_map"
    options = {"preprocessing": Preprocessing((6, 8)), "labels": ("red", "green", "background"), "features": ["scores"]}
    kapps.export(model, path, formats=("onnx",), **options)
    return path


@pytest.fixture(scope="module", autouse=True)
def little_to_collect():
    """What is alive behind a module, mostly TensorFlow's own, is not looked through again by every later collection.

    A process of the suite comes to have millions of objects, and each full collection to take seconds.
    """
    yield
    gc.collect()
    gc.freeze()

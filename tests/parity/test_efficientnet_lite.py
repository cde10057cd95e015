from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kapps.create import create_model
from kapps.data.images import read_image
from kapps.data.preprocessing import Preprocessing
from kapps.weights.seeded import seeded_positions
from kapps.weights.sources import find, installed_file
from kapps.weights.torch_file import TorchFile

from .squeezenet_pixels import checksum, crop, samples

RECORDING = Path(__file__).with_name("efficientnet_lite0.imagenet.npz")


@pytest.mark.parametrize(
    ("publisher", "size"),
    [
        ("efficientnet-lite-pytorch", (224, 224)),
        ("efficientnet-lite-pytorch", (107, 139)),
        pytest.param("timm", (224, 224), marks=pytest.mark.slow),
        ("timm", (107, 139)),
    ],
)
def test_equals_the_recorded(recorded_parity, publisher, size):
    parity = recorded_parity("efficientnet_lite0", publisher, size)
    assert parity.passed, str(parity)


@pytest.fixture(scope="module")
def source():
    source = find("efficientnet_lite0", "imagenet/efficientnet-lite-pytorch")
    if installed_file(source) is None:
        pytest.skip(f"needs the package {source.package}")
    return source


@pytest.fixture(scope="module")
def model(source):
    return create_model("efficientnet_lite0", weights=source.weights, classifier_activation=None)


def test_the_file_of_the_package_is_read(model, source):
    theirs = TorchFile(installed_file(source))["_blocks.2._depthwise_conv.weight"]  # [144, 1, 3, 3]
    ours = model.get_layer("stage3_block2_depthwise").kernel
    np.testing.assert_array_equal(ours, theirs.transpose(2, 3, 0, 1))


@pytest.fixture(scope="module")
def recording():
    with np.load(RECORDING, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def pictures(shared_dir, recording):
    """(paths, labels) of real photographs."""
    folder = shared_dir / "data" / "imagenet_samples"
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name} in the shared folder")
    paths, labels = zip(*samples(folder), strict=True)
    assert [path.name for path in paths] == recording["files"].tolist()
    return paths, np.array(labels)


def test_real_weights_give_the_same_predictions_and_scores(model, pictures, recording):
    paths, labels = pictures
    pixels = [crop(path, 224) for path in paths]
    checksums = [checksum(each) for each in pixels]
    np.testing.assert_array_equal(checksums, recording["checksums"], "another Pillow: record once more")

    scores = model.predict((np.stack(pixels).astype("float32") - 127) / 128, batch_size=8, verbose=0)
    best = _five_best(scores)
    np.testing.assert_array_equal(best, recording["best"])
    assert np.mean(best[:, 0] == labels) == recording["top1"]
    assert np.mean((best == labels[:, None]).any(axis=1)) == recording["top5"]
    difference = np.abs(scores[:, seeded_positions(1000, 64)] - recording["scores"]).max() / recording["std"]
    assert difference < 1e-4, f"{difference:.1e} of the scores' standard deviation"


def test_from_files_to_classes_as_the_authors_do_it(model, source, pictures, recording):
    """They crop first, so that the grid of pixels lies a little elsewhere: of 120 classes one near call differs."""
    paths, labels = pictures
    prepare = Preprocessing(**source.preprocessing)
    images = np.stack([prepare(read_image(path)) for path in paths])
    best = _five_best(model.predict(images, batch_size=8, verbose=0))
    assert np.mean(best[:, 0] == recording["own_best"][:, 0]) >= 0.98
    assert np.mean(best[:, 0] == labels) >= recording["own_top1"] - 0.01
    assert np.mean((best == labels[:, None]).any(axis=1)) >= recording["own_top5"] - 0.01


def _five_best(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :5]

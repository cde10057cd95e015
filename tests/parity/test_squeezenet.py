from __future__ import annotations

import numpy as np
import pytest

from kapps.create import create_model
from kapps.weights.seeded import seeded_positions

from .squeezenet_pixels import RECORDING, checksum, crop, network_input, samples


@pytest.mark.parametrize("size", [(224, 224), (160, 192)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_equals_torchvision(recorded_parity, name, size):
    parity = recorded_parity(name, "torchvision", size)
    assert parity.passed, str(parity)


@pytest.fixture(scope="module")
def answers(shared_dir):
    """(recording, the checksums of our pixels, our scores [120, 1000]) with real weights on real photographs."""
    weights = shared_dir / "weights" / "squeezenet1_0.caffe_in1k.safetensors"
    folder = shared_dir / "data" / "imagenet_samples"
    if not weights.is_file() or not folder.is_dir():
        pytest.skip(f"needs {weights.name} and {folder.name} in the shared folder")
    with np.load(RECORDING, allow_pickle=False) as file:
        recording = dict(file)
    pictures = samples(folder)
    assert [path.name for path, _ in pictures] == recording["files"].tolist()
    pixels = [crop(path) for path, _ in pictures]
    model = create_model("squeezenet1_0", input_shape=(227, 227, 3), weights=weights, classifier_activation=None)
    scores = model.predict(np.stack([network_input(each) for each in pixels]), batch_size=8, verbose=0)
    return recording, np.array([checksum(each) for each in pixels]), scores, np.array([label for _, label in pictures])


def test_real_weights_see_the_same_pixels(answers):
    recording, checksums, _, _ = answers
    np.testing.assert_array_equal(checksums, recording["checksums"], "another Pillow: record once more")


def test_real_weights_give_the_same_predictions(answers):
    recording, _, scores, labels = answers
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(best, recording["best"])
    assert np.mean(best[:, 0] == labels) == pytest.approx(recording["top1"])
    assert np.mean((best == labels[:, None]).any(axis=1)) == pytest.approx(recording["top5"])


def test_real_weights_give_the_same_scores(answers):
    recording, _, scores, _ = answers
    difference = np.abs(scores[:, seeded_positions(1000, 64)] - recording["scores"]).max() / recording["std"]
    assert difference < 1e-4, f"{difference:.1e} of the scores' standard deviation"

from __future__ import annotations

import numpy as np
import pytest

from kapps.architectures.unsupervised.convolutional_dbn import ConvolutionalDBNConfig
from kapps.tasks.unsupervised import conv_dbn_digits
from kapps.tasks.unsupervised.conv_dbn_digits import EXPERIMENT, of_svm


def strokes(split, count, data_dir):
    """Two classes, a stroke down and a stroke across, anywhere."""
    rng = np.random.default_rng(split == "test")
    images, labels = np.zeros((60, 14, 14, 1), "float32"), np.arange(60) % 2
    for image, label, place in zip(images, labels, rng.integers(2, 12, 60), strict=True):
        if label:
            image[:, place] = 1
        else:
            image[place] = 1
    return images, labels


@pytest.fixture
def small(monkeypatch):
    def config(seed):
        return ConvolutionalDBNConfig(filters=(4, 4), kernels=(3, 3), learning_rates=(0.2, 0.1), seed=seed)

    monkeypatch.setattr(conv_dbn_digits, "digits", strokes)
    monkeypatch.setattr(conv_dbn_digits, "ConvolutionalDBNConfig", config)
    monkeypatch.setattr(conv_dbn_digits, "UNLABELLED", 60)
    monkeypatch.setattr(conv_dbn_digits, "EPOCHS", (20, 2))


@pytest.mark.parametrize("case", ["pixels", pytest.param("convolutional DBN", marks=pytest.mark.slow)])
def test_a_run(small, case, tmp_path):
    lines = []
    result = EXPERIMENT.run(case, 1, size=40, data_dir=None, folder=tmp_path, report=lines.append)
    assert 0 <= result["value"] <= 1
    assert result["value"] > 0.6
    if case == "pixels":
        assert lines == []
    else:
        assert len(lines) == 2
        assert set(result["parts"]) == {"accuracy on layer 1 alone", "accuracy on layer 2 alone"}


def test_the_svm_sees_scaled_features():
    """What is small in numbers may still be all that counts."""
    labels = np.arange(100) % 2
    features = np.stack([1e-4 * labels, np.random.default_rng(0).random(100)], axis=1)
    assert of_svm(features, labels, features, labels) == 1

"""The measuring, on codes whose answers can be foretold, and a short run on made-up pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from kapps.architectures.unsupervised.bimodal_autoencoder import BimodalAutoencoderConfig
from kapps.data.digit_pairs import DigitPairs
from kapps.tasks.unsupervised import bimodal_digits
from kapps.tasks.unsupervised.bimodal_digits import (
    CASES,
    classification,
    encoder,
    linear_code,
    mixture,
    precision,
    retrieval,
)


def made(count=120, seed=0):
    """Digit d is a bright row d of an image 10x4, and of a sound 10x3."""
    rng = np.random.default_rng(seed)
    recording_labels = np.arange(20) % 10
    images, recordings = 0.2 * rng.random((count, 10, 4, 1)), 0.2 * rng.random((20, 10, 3, 1))
    labels = np.arange(count) % 10
    images[np.arange(count), labels] += 0.8
    recordings[np.arange(20), recording_labels] += 0.8
    return DigitPairs(
        images.astype("float32"), recordings.astype("float32"), recording_labels, np.arange(count) % 20, labels
    )


def told(weight_of_sound=1.0):
    """A code that knows: the digit's own axis, of both the sum."""

    def encode(images, sounds):
        parts = []
        for some, weight in ((images, 1.0), (sounds, weight_of_sound)):
            if some is not None:
                parts.append(weight * np.eye(10)[some.mean(axis=(2, 3)).argmax(axis=1)])
        return sum(parts)

    return encode


def test_precision_by_hand():
    queries, gallery = np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([[2.0, 0.1], [0.1, 1.0], [1.0, 1.0], [5.0, 0.0]])
    labels, gallery_labels = np.array([0, 1]), np.array([0, 1, 1, 0])
    assert precision(queries, labels, gallery, gallery_labels, nearest=1) == 1
    assert precision(queries, labels, gallery, gallery_labels, nearest=2) == 1
    # the third of the first is the diagonal (of 1), of the second (2, 0.1) (of 0)
    assert precision(queries, labels, gallery, gallery_labels, nearest=3) == pytest.approx(4 / 6)


def test_what_a_perfect_code_measures():
    train, test = made(), made(60, 1)
    accuracies, _ = classification(told(), train, test)
    assert set(accuracies.values()) == {1.0}
    assert len(accuracies) == 9
    measured = retrieval(told(), test)
    assert measured["precision at 1, image to sound"] == measured["precision at 1, sound to image"] == 1
    assert measured["precision at 10, image to sound"] == pytest.approx(0.2)  # two recordings of each digit


@pytest.mark.parametrize(("weight", "believed"), [(2.0, "sound"), (0.5, "image")])
def test_what_a_mixed_input_says(weight, believed):
    svm = LinearSVC(random_state=0).fit(np.eye(10), np.arange(10))
    mixed = mixture(told(weight), svm, made(), seed=0)
    assert mixed[believed] == 1
    assert mixed["other"] == 0
    answers = np.array(mixed["answers"])
    expected = np.tile(np.arange(10), (10, 1))
    np.testing.assert_array_equal(answers, expected if believed == "sound" else expected.T)


def test_principal_components_of_both():
    train = made()
    encode = linear_code(train.images, train.sounds, 5)
    both = encode(train.images, train.sounds)
    assert both.shape == (120, 5)
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-4)
    parts = encode(train.images, None) + encode(None, train.sounds)
    np.testing.assert_allclose(parts, both, atol=1e-5)


@pytest.fixture
def short(monkeypatch):
    """The experiment on made-up pairs, with a small network and few epochs."""
    config = BimodalAutoencoderConfig(image_hidden=(16,), sound_hidden=(16,), code=24, learning_rate=0.01)

    def learn(case, train, seed, report):
        return encoder(case, train, seed, report, config=config, epochs=(10, 60))

    monkeypatch.setattr(bimodal_digits, "BATCH", 20)
    monkeypatch.setattr(bimodal_digits, "encoder", learn)
    monkeypatch.setattr(bimodal_digits, "pairs", lambda split, count, data_dir: made(seed=split == "test"))


@pytest.mark.parametrize("case", [*(pytest.param(case, marks=pytest.mark.slow) for case in CASES[:3]), CASES[3]])
def test_a_run(short, case, tmp_path):
    lines = []
    result = bimodal_digits.run(case, 0, data_dir=None, folder=tmp_path, report=lines.append)
    parts = result["parts"]
    assert result["value"] == (parts["accuracy, image to sound"] + parts["accuracy, sound to image"]) / 2
    assert parts["accuracy, both to both"] > 0.25
    says = [parts[f"mixed input: says the {what}"] for what in ("image", "sound", "other")]
    assert sum(says) == pytest.approx(1)
    assert np.shape(result["mixed"]["answers"]) == (10, 10)
    assert lines

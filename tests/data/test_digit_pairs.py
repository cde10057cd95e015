from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf

from kapps.data import arrays, digit_pairs
from kapps.data.digit_pairs import choose, load_pairs, log_mel, read_recordings
from kapps.errors import DataError


def tone(hertz, seconds=0.4):
    return np.sin(2 * np.pi * hertz * np.arange(int(8000 * seconds)) / 8000).astype("float32")


def test_a_tone_is_a_line_in_its_band():
    low, high = (np.asarray(log_mel(tone(hertz)))[..., 0] for hertz in (300, 2500))
    assert low.shape == (32, 32)
    assert low.max() == pytest.approx(1)
    assert low.min() >= 0
    assert len(set(low.argmax(axis=1))) == 1
    assert low.argmax(axis=1)[0] < high.argmax(axis=1)[0] - 8
    assert low[16, -1] == 0  # far from the tone: more than 60 decibels fainter


def test_loudness_and_length_do_not_matter_silence_is_zero():
    first = np.asarray(log_mel(tone(500)))
    np.testing.assert_allclose(log_mel(0.1 * tone(500)), first, atol=1e-3)
    np.testing.assert_allclose(np.asarray(log_mel(tone(500, 0.8)))[8:24], first[8:24], atol=0.05)
    assert not np.asarray(log_mel(np.zeros(3000, "float32"))).any()
    assert np.asarray(log_mel(tone(500)[:50])).shape == (32, 32, 1)  # shorter than one window
    assert np.asarray(log_mel(tone(500), 20, 24)).shape == (20, 24, 1)


def test_every_recording_of_a_digit_is_used_alike():
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1])
    recording_labels = np.array([1, 0, 1, 0, 0])
    chosen = choose(labels, recording_labels, seed=3)
    np.testing.assert_array_equal(recording_labels[chosen], labels)
    assert sorted(np.bincount(chosen, minlength=5).tolist()) == [1, 2, 2, 2, 2]
    np.testing.assert_array_equal(choose(labels, recording_labels, seed=3), chosen)
    np.testing.assert_array_equal(choose(labels[:5], recording_labels, seed=3), chosen[:5])
    assert any((choose(labels, recording_labels, seed=seed) != chosen).any() for seed in range(3))


def recordings(names):
    """What stands for the prepared set: a tone for each name, higher for higher digits."""
    rows = [
        {"audio/filename": name.encode(), "label": int(name[0]), "audio": (8000 * tone(300 + 200 * int(name[0]), 0.1))}
        for name in names
    ]

    def as_dataset(split):
        spec = {
            "audio/filename": tf.TensorSpec([], tf.string),
            "label": tf.TensorSpec([], tf.int64),
            "audio": tf.TensorSpec([None], tf.int64),
        }
        return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=spec)

    return types.SimpleNamespace(as_dataset=as_dataset, data_path="somewhere")


@pytest.fixture
def prepared(monkeypatch):
    """Ten images and, in no order, four takes of each digit, of which one is for testing."""
    names = [f"{digit}_ada_{take}.wav" for take in (12, 3, 40, 10) for digit in range(10)]
    monkeypatch.setattr(digit_pairs.tfds, "open_builder", lambda name, data_dir, download: recordings(names))
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1)).astype("uint8")
    labels = np.arange(20) % 10

    def load_split(name, split, *, data_dir, download):
        side = split.split("[")[0]
        return arrays.from_arrays(images, labels, "train" if side == "test" else split)

    monkeypatch.setattr(digit_pairs.tfds, "load_split", load_split)
    read_recordings.cache_clear()
    yield images
    read_recordings.cache_clear()


def test_pairs_are_of_one_digit_and_takes_stay_apart(prepared):
    train, test = load_pairs("train", size=(16, 20)), load_pairs("test", size=(16, 20))
    assert train.images.shape == (20, 28, 28, 1)
    np.testing.assert_allclose(train.images, prepared / 255, atol=1e-6)
    assert train.sounds.shape == (20, 16, 20, 1)
    for side in (train, test):
        np.testing.assert_array_equal(side.recording_labels[side.chosen], side.labels)
        bands = side.sounds.mean(axis=(1, 3)).argmax(axis=1)
        assert (np.diff(bands[:10]) > 0).all()  # higher digits sound higher
    assert (len(train.recordings), len(test.recordings)) == (30, 10)
    np.testing.assert_array_equal(load_pairs("train", size=(16, 20)).chosen, train.chosen)


@pytest.mark.parametrize("split", ["validation", "train+test", "train]"])
def test_no_such_split(prepared, split):
    with pytest.raises(DataError, match="expected a split of MNIST"):
        load_pairs(split)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0_ada.wav"], "got '0_ada.wav' of a 0"),
        (["7_ada_12.wav"], r"got none of \[0, 1, 2, 3, 4, 5, 6, 8, 9\]"),
    ],
)
def test_recordings_that_will_not_do(prepared, monkeypatch, names, complaint):
    monkeypatch.setattr(digit_pairs.tfds, "open_builder", lambda *_: recordings(names))
    with pytest.raises(DataError, match=complaint) as caught:
        load_pairs("train", size=(8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_real_recordings(shared_dir):
    folder = shared_dir / "data" / "tfds"
    train, test = (load_pairs(f"{side}[:200]", data_dir=folder) for side in ("train", "test"))
    assert len(train.recordings) + len(test.recordings) == 2700
    assert len(test.recordings) == 300
    assert 0.05 < train.recordings.mean() < 0.7
    np.testing.assert_array_equal(test.recording_labels[test.chosen], test.labels)

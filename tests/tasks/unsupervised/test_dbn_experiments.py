"""The experiments of deep belief nets on a handful of MNIST-like bars, with small nets: what they measure and share."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import UnknownNameError
from kapps.tasks.unsupervised import dbn_mnist, deep_autoencoder_mnist, few_labels, semantic_hashing


def bars(count, seed):
    """Ten classes: a bright line at one of ten rows, with noise; float32 [N, 28, 28, 1]."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10)
    images = rng.uniform(0, 0.3, (count, 28, 28, 1)).astype(np.float32)
    images[np.arange(count), 2 * labels + 4] += 0.7
    return images, labels


@pytest.fixture
def small(monkeypatch):
    """Nets and schedules of toys, and data that is read in no time."""
    keras.utils.set_random_seed(0)
    sets = {"train": bars(400, 0), "test": bars(100, 1)}
    for module in (dbn_mnist, few_labels, deep_autoencoder_mnist, semantic_hashing):
        monkeypatch.setattr(module, "digits", lambda split, data_dir: sets[split])
    monkeypatch.setattr(dbn_mnist, "HIDDEN", (30, 20, 20))
    monkeypatch.setattr(few_labels, "HIDDEN", (30, 20, 20))
    monkeypatch.setattr(dbn_mnist, "GREEDY_EPOCHS", 3)
    monkeypatch.setattr(dbn_mnist, "LABELLED_EPOCHS", 3)
    monkeypatch.setattr(dbn_mnist, "BACKPROPAGATION_EPOCHS", 60)
    monkeypatch.setattr(dbn_mnist, "UP_DOWN", ((1, 1), (1, 2)))
    monkeypatch.setattr(few_labels, "_LEAST_STEPS", 20)


@pytest.mark.slow
@pytest.mark.parametrize("case", dbn_mnist.CASES)
def test_each_way_of_refining_is_measured_and_shares_the_greedy_learning(small, case, tmp_path):
    lines: list[str] = []
    for seed in (0, 1):
        folder = tmp_path / "series" / "case" / f"seed{seed}"
        result = dbn_mnist.run(case, seed, data_dir=None, folder=folder, report=lines.append)
        assert 0 <= result["value"] <= 1
    assert sorted(path.name for path in (tmp_path / "series" / "shared").iterdir()) == [
        "dbn_seed0.weights.h5",
        "dbn_seed1.weights.h5",
    ]
    assert sum(line.startswith("greedy: reconstruction") for line in lines) == 6
    lines.clear()
    dbn_mnist.run(case, 1, data_dir=None, folder=folder, report=lines.append)
    assert not [line for line in lines if line.startswith("greedy: reconstruction")], "it is read, not learned again"


@pytest.mark.slow
def test_what_was_kept_is_the_net_that_learned(small, tmp_path):
    images, _ = bars(60, 2)
    first = dbn_mnist.pretrained(images, 3, tmp_path, print)
    again = dbn_mnist.pretrained(images, 3, tmp_path, print)
    np.testing.assert_array_equal(first.transform(images), again.transform(images))
    other = dbn_mnist.labelled(again, 3)
    assert other.config.classes == 10
    np.testing.assert_array_equal(other.up(images, 2), again.up(images, 2))
    np.testing.assert_array_equal(other.generative[1].numpy(), again.generative[1].numpy())


def test_fine_tuning_takes_so_many_steps_however_few_the_examples():
    images, labels = bars(50, 3)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    dbn_mnist.fine_tune(model, images, labels, steps=80, seed=0)
    assert int(model.optimizer.iterations.numpy()) == 80
    assert dbn_mnist.accuracy(model, images, labels) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("case", few_labels.CASES)
def test_few_labels(small, case, tmp_path):
    folder = tmp_path / "series" / "case" / "100" / "seed0"
    result = few_labels.run(case, 0, size=100, data_dir=None, folder=folder, report=print)
    assert 0 <= result["value"] <= 1
    assert (tmp_path / "series" / "shared").exists() == (case == "pre-trained")


def test_labels_are_drawn_evenly_and_by_the_seed():
    images, labels = bars(400, 0)
    some, theirs = few_labels.drawn(images, labels, 100, seed=0)
    np.testing.assert_array_equal(np.bincount(theirs), [10] * 10)
    np.testing.assert_array_equal(some[:, 4:24:2, 14, 0].argmax(axis=1), theirs)
    assert not np.array_equal(some, few_labels.drawn(images, labels, 100, seed=1)[0])
    np.testing.assert_array_equal(some, few_labels.drawn(images, labels, 100, seed=0)[0])
    assert len(few_labels.drawn(images, labels, 60_000, seed=0)[0]) == 400


def test_principal_components_are_measured(small, tmp_path):
    result = deep_autoencoder_mnist.run("PCA", 0, data_dir=None, folder=tmp_path, report=print)
    assert 0 < result["value"] < bars(100, 1)[0].var()


def test_pixels_find_their_class(small, monkeypatch, tmp_path):
    monkeypatch.setattr(semantic_hashing, "PLACES", 100)
    monkeypatch.setattr(semantic_hashing, "_SHOWN", (1, 10, 100))
    result = semantic_hashing.run("pixels, Euclidean", 0, data_dir=None, folder=tmp_path, report=print)
    parts = result["parts"]
    assert parts["precision at 10"] == 1, "a line at the same row is nearer than one at another"
    assert result["value"] == parts["precision at 100"] == pytest.approx(0.4), "40 of each class are there"
    assert parts["recall at 100"] == 1
    assert parts["share of the 100 nearest by pixels among the first 100"] == 1
    assert parts["bytes an item"] == 4 * 784


@pytest.mark.slow
def test_networks_are_measured_likewise(small, monkeypatch, tmp_path):
    for module in (deep_autoencoder_mnist, semantic_hashing):
        monkeypatch.setattr(module, "EPOCHS", 3)
        monkeypatch.setattr(module, "PRETRAINING", 1)
    monkeypatch.setattr(semantic_hashing, "PLACES", 100)
    monkeypatch.setattr(semantic_hashing, "_SHOWN", (1, 10, 100))
    for case in deep_autoencoder_mnist.CASES[1:]:
        result = deep_autoencoder_mnist.run(case, 0, data_dir=None, folder=tmp_path, report=print)
        assert result["value"] <= result["parts"]["test MSE before fine-tuning"]
    for case, size in zip(semantic_hashing.CASES[1:], (120, 4, 16), strict=True):
        result = semantic_hashing.run(case, 0, data_dir=None, folder=tmp_path, report=print)
        assert result["parts"]["bytes an item"] == size
        assert 0 <= result["value"] <= 1


@pytest.mark.parametrize("module", [dbn_mnist, deep_autoencoder_mnist, semantic_hashing])
def test_an_unknown_case(small, module, tmp_path):
    with pytest.raises(UnknownNameError, match="no case is named 'nothing'"):
        module.run("nothing", 0, data_dir=None, folder=tmp_path / "a" / "b", report=print)

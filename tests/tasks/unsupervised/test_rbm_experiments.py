"""The experiments with restricted Boltzmann machines, on scikit-learn's digits and short streams."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kapps.errors import TrainingError
from kapps.tasks import experiments
from kapps.tasks.unsupervised import rbm_likelihood, rbm_memory, rbm_mnist, rbm_speed


@pytest.fixture(scope="module")
def digits() -> tuple[rbm_mnist.Arrays, rbm_mnist.Arrays]:
    """1,500 digits to learn from and 297 to test on, float32 [N, 64] from 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    images.setflags(write=False)  # as MNIST's: the next case takes the same
    return (images[:1500], labels[:1500]), (images[1500:], labels[1500:])


@pytest.mark.slow
@pytest.mark.parametrize("case", rbm_mnist.CASES)
def test_digits_are_told_apart_in_every_case(digits, case):
    train, test = digits
    lines: list[str] = []
    result = rbm_mnist.measure(
        case, 0, train, test, hidden=100, epochs=80, classifier_epochs=150, tuning_epochs=60, report=lines.append
    )
    assert 0.75 < result["value"] <= 1
    assert lines
    assert set(result["parts"]) <= {"L2 penalty", "pseudo-likelihood"}
    json.dumps(result)


@pytest.mark.slow
@pytest.mark.parametrize("case", rbm_likelihood.CASES)
def test_likelihoods_beat_independent_pixels(digits, case):
    (images, _), (test_images, _) = digits
    betas = np.linspace(0, 1, 300)
    epochs = 40 if case == "CD-25" else 120
    found = rbm_likelihood.measure(case, 0, images, test_images, hidden=50, epochs=epochs, chains=50, betas=betas)
    drawn = np.random.default_rng(0).random(test_images.shape) < test_images
    p = images.mean(axis=0).clip(1e-3, 1 - 1e-3)
    alone = (drawn * np.log(p) + ~drawn * np.log(1 - p)).sum(axis=1).mean()
    assert alone + 0.5 < found["value"] < -10
    parts = found["parts"]
    assert parts["log Z, three standard errors less"] < parts["log Z"] < parts["log Z, three standard errors more"]


@pytest.mark.parametrize("numbers", ["float32", "float64"])
def test_speeds_are_measured_of_both(digits, numbers):
    result = rbm_speed.measure(50, 0, digits[0][0].astype(numbers), hidden=20, rounds=1)
    assert result["value"] > 0
    assert all(np.isfinite(list(result["parts"].values())))
    # The same algorithm: not the same numbers, but as likely digits.
    ours, theirs = (part for name, part in result["parts"].items() if "pseudo" in name)
    assert ours == pytest.approx(theirs, abs=2)


def test_pseudo_likelihood_is_that_of_all_pixels():
    rng = np.random.default_rng(0)
    v, W, b, c = rng.random((3, 5)), rng.normal(size=(5, 4)), rng.normal(size=5), rng.normal(size=4)

    def energy(row):  # free, by summing over all 16 hidden states
        states = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T
        return -np.log(np.exp(row @ b + states @ c + states @ (row @ W)).sum())

    flipped = np.where(np.eye(5, dtype=bool), 1 - v[:, None], v[:, None])
    expected = -sum(
        np.log1p(np.exp(energy(row) - energy(other))) for row, rows in zip(v, flipped, strict=True) for other in rows
    )
    assert rbm_speed.pseudo_likelihood(v, W, b, c) == pytest.approx(expected / 3)


@pytest.mark.slow
def test_memory_of_a_process(tmp_path):
    lines: list[str] = []
    found = rbm_memory.run("", 0, data_dir=None, folder=tmp_path, report=lines.append, patches=20_000)
    assert 100 < found["parts"]["MB before the training"] < found["value"] < 1500
    assert found["parts"]["updates"] == 200
    assert len(lines) == 1


def test_a_process_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments.sys, "executable", "/bin/false")
    with pytest.raises(TrainingError, match="ended with 1: nothing was said"):
        rbm_memory.run("", 0, data_dir=None, folder=tmp_path, report=print)


@pytest.mark.parametrize("module", [rbm_likelihood, rbm_memory, rbm_mnist, rbm_speed])
def test_experiments_are_whole(module):
    experiment = module.EXPERIMENT
    assert experiment.title
    assert experiment.question
    assert experiment.claim
    assert experiment.run is module.run
    assert len(set(experiment.cases)) == len(experiment.cases) > 0


@pytest.mark.slow
def test_mnist_is_read(shared_dir):
    images, labels = rbm_mnist.read("test[:50]", shared_dir / "data" / "tfds")
    assert images.shape == (50, 784)
    assert images.dtype == np.float32
    assert labels.shape == (50,)
    assert images.min() == 0
    assert images.max() == 1
    assert not images.flags.writeable, "the next run takes the same array"

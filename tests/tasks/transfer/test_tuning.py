from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone
from kapps.data.preprocessing import Preprocessing
from kapps.heads import classification
from kapps.tasks.transfer import tuning
from kapps.tasks.transfer.photos import read_photos

STEPS = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def networks():
    keras.utils.set_random_seed(1)
    trunk = create_backbone("resnet20")
    last = list(trunk.output.values())[-1]
    return keras.Model(trunk.input, classification.classify(last, 2, "softmax")), trunk


@pytest.mark.slow
def test_the_best_epoch_is_kept_and_the_steps_are_told(networks, folder, monkeypatch):
    monkeypatch.setattr(tuning, "_MOST_EPOCHS", 2)
    model, trunk = networks
    photos = read_photos(folder, validation=0.25)
    steps = []
    done = tuning.fine_tune(
        model,
        trunk,
        photos.train,
        photos.validation,
        STEPS,
        minutes=10,
        class_weights=np.ones(2),
        progress=lambda *step: steps.append(step),
    )
    assert [row["phase"] for row in done.epochs] == [1, 1, 2, 2]
    assert steps == [(1, 2), (2, 2)] * 2  # one batch of 16 an epoch, two epochs a phase
    assert all(3e-5 <= peak <= 1e-3 for peak in done.peaks)
    held = tuning._batches(photos.validation, STEPS, np.ones(2), shuffle=False)
    losses = [row["validation_loss"] for row in done.epochs]
    if done.kept:
        assert done.kept == 1 + int(np.argmin(losses))
        assert tuning._loss(model, held)[0] == pytest.approx(min(losses), rel=1e-4)
    assert not model.losses  # what pulled is taken out again


@pytest.mark.slow
def test_worse_epochs_leave_the_model_as_it_came(networks, folder, monkeypatch):
    monkeypatch.setattr(tuning, "_MOST_EPOCHS", 2)
    monkeypatch.setattr(tuning, "_PEAK_RANGE", (10.0, 10.0))
    model, trunk = networks
    before = model.get_weights()
    photos = read_photos(folder, validation=0.25)
    done = tuning.fine_tune(model, trunk, photos.train, photos.validation, STEPS, minutes=10, class_weights=np.ones(2))
    assert done.epochs
    assert done.kept == 0
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_time_or_validation_photos_nothing_is_done(networks, folder):
    model, trunk = networks
    photos = read_photos(folder, validation=0.25)
    options = {"class_weights": np.ones(2)}
    done = tuning.fine_tune(model, trunk, photos.train, photos.validation, STEPS, minutes=1e-4, **options)
    assert not done.epochs
    assert "phase 1 left out: an epoch takes" in done.note
    done = tuning.fine_tune(model, trunk, photos.train, (), STEPS, minutes=10, **options)
    assert done.note == "no validation photos: nothing would tell when to stop"

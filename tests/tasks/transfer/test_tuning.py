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
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]  # one batch of 16 an epoch, two epochs a phase
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


@pytest.fixture
def small():
    """A network of one convolution, so that an epoch costs nothing."""
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3))
    feature = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="stage1")(image)
    return keras.Model(image, classification.classify(feature, 2, "softmax")), keras.Model(image, {"stage1": feature})


@pytest.mark.parametrize(
    ("patience", "losses", "epochs", "kept"),
    [
        (2, [9, 0.5, 0.4, 0.6, 0.6, 0.1, 0.1, 0.1], 4, 2),  # the fourth is the second in a row that is no better
        # never two in a row
        pytest.param(2, [9, 0.8, 0.9, 0.7, 0.8, 0.6, 0.7, 0.7], 6, 5, marks=pytest.mark.slow),
        pytest.param(None, [0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9], 6, 0, marks=pytest.mark.slow),
        # as good as before is no better
        pytest.param(1, [0.2, 0.5, 0.5, 0.1], 2, 0, marks=pytest.mark.slow),
    ],
)
def test_a_phase_ends_when_the_validation_photos_are_answered_no_better(
    small, folder, monkeypatch, patience, losses, epochs, kept
):
    monkeypatch.setattr(tuning, "_MOST_EPOCHS", 6)
    told = iter(losses)
    monkeypatch.setattr(tuning, "_loss", lambda model, batches: (next(told), 0.5))
    photos = read_photos(folder, validation=0.25)
    rows = []
    done = tuning.fine_tune(
        *small,
        photos.train,
        photos.validation,
        STEPS,
        minutes=10,
        class_weights=np.ones(2),
        patience=patience,
        watch=rows.append,
    )
    assert rows == done.epochs
    assert [row["validation_loss"] for row in rows] == losses[1 : 1 + epochs]
    assert (len(rows), done.kept) == (epochs, kept)
    assert done.stopped == ([1] if epochs < 6 else [])


def test_without_time_or_validation_photos_nothing_is_done(networks, folder):
    model, trunk = networks
    photos = read_photos(folder, validation=0.25)
    options = {"class_weights": np.ones(2)}
    done = tuning.fine_tune(model, trunk, photos.train, photos.validation, STEPS, minutes=1e-4, **options)
    assert not done.epochs
    assert "phase 1 left out: an epoch takes" in done.note
    done = tuning.fine_tune(model, trunk, photos.train, (), STEPS, minutes=10, **options)
    assert done.note == "no validation photos: nothing would tell when to stop"

"""The catalogue's learners are what their files make."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import kapps
from kapps import catalog
from kapps.architectures import unsupervised
from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.errors import DataError, RecipeError, UnknownNameError

by_entry = pytest.mark.parametrize("entry", catalog.LEARNERS, ids=lambda entry: entry.name)


@by_entry
def test_an_entry_says_what_is_made(entry):
    learner = kapps.create_learner(entry.name)
    assert isinstance(learner, FeatureLearner)
    assert learner.name == entry.name
    assert learner.data_shape == entry.data_shape
    assert learner.count_params() == entry.params
    assert learner.config == importlib.import_module(entry.module).VARIANTS[entry.name]


@by_entry
def test_entries_are_complete(entry):
    for field in dataclasses.fields(entry):
        assert getattr(entry, field.name) or field.name == "url", f"{field.name} is empty"
    assert ":" in entry.paper
    assert entry.url.startswith("https://") or not entry.url


def test_every_variant_has_an_entry_and_they_follow_history():
    modules = [
        importlib.import_module(f"{unsupervised.__name__}.{found.name}")
        for found in pkgutil.iter_modules(unsupervised.__path__)
    ]
    variants = {(name, module.__name__) for module in modules for name in getattr(module, "VARIANTS", {})}
    assert variants == {(entry.name, entry.module) for entry in catalog.LEARNERS}
    years = [entry.year for entry in catalog.LEARNERS]
    assert years == sorted(years)
    assert not {entry.name for entry in catalog.LEARNERS} & {entry.name for entry in catalog.ENTRIES}


def test_names_and_configurations_are_checked():
    assert kapps.list_learners("R*m") == ["rbm"]
    with pytest.raises(UnknownNameError, match="no learner is named 'rmb': did you mean 'rbm'"):
        kapps.create_learner("rmb")
    with pytest.raises(RecipeError, match="rbm has no config field 'hiden': did you mean 'hidden'"):
        kapps.create_learner("rbm", config={"hiden": 3})
    with pytest.raises(RecipeError, match=r"expected the shape of one example, e.g. \(784,\), got \(0,\)"):
        kapps.create_learner("rbm", data_shape=(0,))
    with pytest.raises(RecipeError, match="take fewer components"):
        kapps.create_learner("rbm", config={"hidden": 10**9})


def test_the_encoder_is_a_functional_model_with_the_learner_s_weights():
    learner = kapps.create_learner("rbm", data_shape=(4, 4, 1), config={"hidden": 3})
    encoder = learner.encoder()
    assert encoder.inputs[0].name == "image"
    assert encoder.output_shape == (None, 3)
    assert encoder.count_params() == learner.count_params()
    assert isinstance(encoder, keras.Model)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([["a"] * 16], "expected numbers"),
        ([[0.5] * 15] * 3, r"expected data \[N, 16\], got \[3, 15\]"),
        ([[0.5] * 16], "expected at least 2 examples to learn from, got 1"),
        ([[0.5] * 16, [float("nan")] * 16], "got NaN or infinity in 1 of 2 examples"),
        ([[0.5] * 16, [2.0] * 16], "expected numbers from 0 to 1, got 0.5 to 2"),
    ],
)
def test_data_is_checked(data, message):
    learner = kapps.create_learner("rbm", data_shape=(16,), config={"hidden": 3})
    with pytest.raises(DataError, match=message) as error:
        learner.fit(data)
    assert "\n" not in str(error.value)


def test_rounding_beyond_the_bounds_is_cut_off():
    learner = kapps.create_learner("rbm", data_shape=(2,), config={"hidden": 3})
    data = np.array([[0, 1 + 1e-6], [-1e-6, 0.5]], np.float32)
    assert learner.check(data).tolist() == [[0, 1], [0, 0.5]]
    with pytest.raises(DataError, match="expected numbers from 0 to 1"):
        learner.check(data + 1e-3)

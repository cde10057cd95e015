"""What holds for every entry of the catalogue alike."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import pkgutil
from collections.abc import Callable

import keras
import numpy as np
import pytest

import kapps.architectures
from kapps import catalog
from kapps.create import create_backbone, create_model, load_keras
from kapps.exporting.flops import count_flops_of, without_weights

# The smallest variant of each file. What needs real weights is shown on it, by default where it has fewer than this.
_SMALL = 2_000_000
_OF_A_FILE = {
    min((entry for entry in catalog.ENTRIES if entry.module == module), key=lambda entry: entry.params)
    for module in {entry.module for entry in catalog.ENTRIES}
}


def _entries(*, slow: Callable[[catalog.Entry], bool] = lambda entry: False) -> list:
    return [
        pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] if slow(entry) else []) for entry in catalog.ENTRIES
    ]


ALL = _entries()
OTHERS_SLOW = _entries(slow=lambda entry: entry not in _OF_A_FILE)
SMALLEST = [each for each in ALL if each.values[0] in _OF_A_FILE]
SMALLEST_WITH_WEIGHTS = [
    each for each in _entries(slow=lambda entry: entry.params > _SMALL) if each.values[0] in _OF_A_FILE
]


@functools.cache
def shapes(name: str, build=create_model) -> keras.Model:
    """The model as layers, names and shapes, which is made in a moment and takes no memory; made once."""
    with without_weights():
        return build(name)


def inputs(entry: catalog.Entry) -> np.ndarray:
    images = np.random.default_rng(0).random((2, *entry.input_shape), dtype="float32")
    return images.round() if entry.task == "logic" else images


def test_files_and_entries_are_the_same():
    packages = pkgutil.walk_packages(kapps.architectures.__path__, prefix="kapps.architectures.")
    files = {module.name for module in packages if not module.ispkg and ".unsupervised." not in module.name}
    assert files == {entry.module for entry in catalog.ENTRIES}


def test_variants_and_entries_are_the_same():
    variants = {
        (module, name)
        for module in {entry.module for entry in catalog.ENTRIES}
        for name in importlib.import_module(module).VARIANTS
    }
    assert variants == {(entry.module, entry.name) for entry in catalog.ENTRIES}
    assert len({entry.name for entry in catalog.ENTRIES}) == len(catalog.ENTRIES)


@pytest.mark.parametrize("entry", ALL)
def test_config_is_a_frozen_dataclass_whose_fields_are_explained(entry):
    config = importlib.import_module(entry.module).VARIANTS[entry.name]
    assert type(config).__dataclass_params__.frozen
    for field in dataclasses.fields(config):
        assert field.name in type(config).__doc__, f"{field.name} is not explained"


@pytest.mark.parametrize("entry", ALL)
def test_docstring_has_idea_stages_source_and_deviations(entry):
    doc = importlib.import_module(entry.module).__doc__
    paragraphs = doc.split("\n\n")
    assert paragraphs[1].startswith("Idea: ")
    assert paragraphs[2].lstrip().startswith("stage")
    assert any(paragraph.startswith(("Paper: ", "Source: ")) for paragraph in paragraphs)
    assert any(paragraph.startswith("Deviations: ") for paragraph in paragraphs)


@pytest.mark.parametrize("entry", OTHERS_SLOW)
def test_every_feature_is_a_stage_of_the_docstring(entry):
    """In the same order; a numbered family may be given by its first member and "..."."""
    stages = importlib.import_module(entry.module).__doc__.split("\n\n")[2]
    named = [line.split()[0] for line in stages.splitlines()]
    names = list(shapes(entry.name, create_backbone).output)
    shown = [name for name in names if name in named]
    assert shown == sorted(shown, key=named.index)
    assert shown == names or "..." in named


@pytest.mark.parametrize("entry", ALL)
def test_number_of_weights_is_the_catalogue_s(entry):
    assert shapes(entry.name).count_params() == entry.params


@pytest.mark.parametrize("entry", [entry for entry in catalog.ENTRIES if entry.params_source[0] in "(0123456789"])
def test_arithmetic_of_the_source_gives_the_number(entry):
    assert eval(entry.params_source, {"__builtins__": {}}) == entry.params


@pytest.mark.parametrize("entry", OTHERS_SLOW)
def test_a_feature_is_the_output_of_the_layer_of_its_name(entry):
    backbone, model = shapes(entry.name, create_backbone), shapes(entry.name)
    assert list(backbone.output)
    for name, tensor in backbone.output.items():
        assert backbone.get_layer(name).output is tensor
        assert model.get_layer(name).output.shape == tensor.shape
    assert model.output is model.get_layer("predictions").output


@pytest.mark.parametrize("entry", SMALLEST)
def test_without_head_the_output_is_the_last_feature(entry):
    last = list(shapes(entry.name, create_backbone).output)[-1]
    with without_weights():
        model = create_model(entry.name, num_classes=0)
    assert model.output is model.get_layer(last).output


@pytest.mark.parametrize("entry", OTHERS_SLOW)
def test_models_carry_only_what_json_can_say(entry):
    json.loads(shapes(entry.name).to_json())


@pytest.mark.parametrize("entry", SMALLEST)
def test_half_precision_answers_in_float32(entry):
    if entry.task == "logic":
        pytest.skip(f"{entry.name} learns nothing")
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
        with without_weights():
            assert create_model(entry.name).output.dtype == "float32"
    finally:
        keras.mixed_precision.set_dtype_policy(before)


@pytest.mark.parametrize("name", ["lenet5", "squeezenet_cifar", "resnet20"])
def test_float_operations_of_the_table_are_the_counted_ones(name):
    assert catalog.flops(name) == count_flops_of(name)


def test_float_operations_of_all_were_counted():
    assert [entry.name for entry in catalog.ENTRIES if catalog.flops(entry.name) is None] == []


@pytest.mark.parametrize("entry", SMALLEST_WITH_WEIGHTS)
def test_classes_and_probabilities(entry):
    if entry.task != "classification":
        pytest.skip(f"{entry.name} does not classify")
    model = create_model(entry.name, num_classes=7)
    answers = model(inputs(entry)).numpy()
    assert answers.shape == (2, 7)
    np.testing.assert_allclose(answers.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("entry", SMALLEST_WITH_WEIGHTS)
def test_same_seed_same_model(entry):
    def build():
        keras.utils.set_random_seed(5)
        return create_model(entry.name).get_weights()

    for first, second in zip(build(), build(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("entry", SMALLEST_WITH_WEIGHTS)
def test_keras_file_and_weights_file_give_the_same_outputs(entry, tmp_path):
    images = inputs(entry)
    model = create_model(entry.name)
    expected = model(images).numpy()
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "best.weights.h5")

    whole = load_keras(tmp_path / "model.keras")
    assert type(whole) is type(model)
    np.testing.assert_array_equal(whole(images), expected)
    for file in ("model.keras", "best.weights.h5"):
        np.testing.assert_array_equal(create_model(entry.name, weights=tmp_path / file)(images), expected)

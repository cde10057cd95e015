from __future__ import annotations

import numpy as np
import pytest

from kapps.data import Preprocessing, load
from kapps.errors import DataError, UnknownNameError


@pytest.fixture
def data_dir(shared_dir):
    return shared_dir / "data" / "tfds"


def test_mnist(data_dir):
    data = load("mnist", "train[:55000]", data_dir=data_dir)
    assert (data.num_examples, data.input_shape, data.kind) == (55_000, (28, 28, 1), "image")
    assert data.class_names == tuple("0123456789")
    assert "mnist/3.0.1" in data.source
    inputs, labels = next(iter(data.take(64).batches(64, preprocessing=Preprocessing((28, 28), channels=1))))
    assert float(np.max(inputs)) == 1.0
    assert len(set(labels.numpy().tolist())) == 10
    # The slices meet without overlapping.
    image, _ = next(iter(load("mnist", "train[55000:]", data_dir=data_dir).examples))
    last = load("mnist", "train[54999:55001]", data_dir=data_dir).examples
    np.testing.assert_array_equal(list(last)[1][0], image)


def test_streaming_does_not_depend_on_the_cache(data_dir):
    data = load("mnist", "test[:300]", data_dir=data_dir)
    kept = [labels.numpy().tolist() for _, labels in data.batches(100)]
    streamed = [labels.numpy().tolist() for _, labels in data.batches(100, cache=False)]
    assert kept == streamed


def test_recordings(data_dir):
    data = load("spoken_digit", "train[:20]", data_dir=data_dir)
    assert (data.kind, data.sample_rate, data.input_shape) == ("audio", 8000, (None,))
    inputs, _ = next(iter(data.batches(20, shuffle_seed=1)))
    assert inputs.dtype == "float32"
    assert 0.01 < float(np.abs(inputs).max()) <= 1


def test_splits_are_named(data_dir):
    with pytest.raises(DataError, match=r"expected one of train \(60,000\), test \(10,000\)"):
        load("mnist", "validation", data_dir=data_dir)


def test_the_data_folder_may_come_from_the_environment(data_dir, monkeypatch):
    monkeypatch.setenv("KAPPS_DATA_DIR", str(data_dir))
    assert load("cifar10", "test").num_examples == 10_000


def test_what_is_not_prepared_is_not_downloaded(tmp_path):
    with pytest.raises(DataError, match=r"mnist is not prepared under .*--data-dir") as error:
        load("mnist", data_dir=tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_answered_with_near_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'mnist'"):
        load("mnits", data_dir=tmp_path)
    with pytest.raises(UnknownNameError, match="'digits'"):
        load("digit", data_dir=tmp_path)


def test_a_damaged_preparation_is_named(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text("{")
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="prepare it again"):
        load("mnist", data_dir=tmp_path)

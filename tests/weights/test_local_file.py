from __future__ import annotations

import shutil

import h5py
import keras
import numpy as np
import pytest

from kapps.errors import WeightsError
from kapps.weights.local_file import load_weights


def network(units: int = 4, extra: bool = False) -> keras.Model:
    """A network with state of every kind: nested layers, moving averages, random generators, two alike layers."""
    steps = keras.Input((5, 3))
    x = keras.layers.Bidirectional(keras.layers.LSTM(units, name="lstm"), name="both_ways")(steps)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    if extra:
        x = keras.layers.Dense(2 * units, name="new")(x)
    x = keras.layers.Dense(6, name="second")(x)
    x = keras.layers.Dense(6, name="first")(x)
    return keras.Model(steps, keras.layers.Dense(2, name="predictions")(x), name="network")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    model = network()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 5, 3)), np.ones((2, 2)))  # the optimizer's slots come into the .keras file
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return model, folder


@pytest.fixture
def saved(originals, tmp_path):
    """The model whose weights lie in model.keras and model.weights.h5; each test has its own copy to damage."""
    model, folder = originals
    for file in ("model.keras", "model.weights.h5"):
        shutil.copy(folder / file, tmp_path)
    return model


def same(first: keras.Model, second: keras.Model) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_all_kinds_of_layers(saved, tmp_path, file):
    model = network()
    assert not same(model, saved)
    assert load_weights(model, tmp_path / file) == []
    assert same(model, saved)


def test_layers_are_matched_by_name_not_by_order(saved, tmp_path):
    """Keras would number the two dense layers by their order and silently swap their weights."""
    steps = keras.Input((5, 3))
    x = keras.layers.Bidirectional(keras.layers.LSTM(4, name="lstm"), name="both_ways")(steps)
    x = keras.layers.BatchNormalization(name="norm")(x)
    reader = keras.Model(steps, keras.layers.Dense(6, name="second")(x))
    load_weights(reader, tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(reader.get_layer("second").kernel, saved.get_layer("second").kernel)


def test_missing_layer_is_named(saved, tmp_path):
    with pytest.raises(WeightsError, match=r"layer 'new' expected \(8, 8\), \(8,\), but the file has no such layer"):
        load_weights(network(extra=True), tmp_path / "model.keras")


def test_other_shape_is_named_and_nothing_is_changed(saved, tmp_path):
    model = network(units=5)
    before = model.get_weights()
    with pytest.raises(WeightsError, match=r"layer 'both_ways' expected \(3, 20\).*found \(3, 16\)"):
        load_weights(model, tmp_path / "model.keras")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_optional_layers_stay_fresh_only_where_they_do_not_fit(saved, tmp_path, caplog):
    model = network(extra=True)
    assert load_weights(model, tmp_path / "model.keras", optional={"new", "second"}) == ["new", "second"]
    assert "new, second starts fresh" in caplog.text
    assert load_weights(network(), tmp_path / "model.keras", optional={"predictions"}) == []


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="no such file; expected weights for network"):
        load_weights(network(), tmp_path / "nothing.weights.h5")
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(network(), tmp_path)


@pytest.mark.parametrize("name", ["text.weights.h5", "text.keras"])
def test_text_file(tmp_path, name):
    (tmp_path / name).write_text("these are no weights\n" * 1000)
    with pytest.raises(WeightsError, match=name) as caught:
        load_weights(network(), tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.weights.h5", "model.keras"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_cut_off_file(saved, tmp_path, name, share):
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    model = network()
    before = model.get_weights()
    with pytest.raises(WeightsError, match=name):
        load_weights(model, tmp_path / name)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_flipped_bit_in_an_archive(saved, tmp_path):
    data = bytearray((tmp_path / "model.keras").read_bytes())
    data[data.index(b"HDF") + 20_000] ^= 1
    (tmp_path / "model.keras").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(network(), tmp_path / "model.keras")


def test_weights_far_larger_than_the_model_are_not_unpacked(tmp_path):
    image = keras.Input((2000,))
    keras.Model(image, keras.layers.Dense(9000)(image)).save(tmp_path / "large.keras")
    with pytest.raises(WeightsError, match="expected at most"):
        load_weights(network(), tmp_path / "large.keras")


def replace_dataset(file, path, **options):
    with h5py.File(file, "a") as hdf5:
        shape = hdf5[path].shape
        del hdf5[path]
        hdf5.create_dataset(path, shape, **options)


DENSE = "layers/dense/vars/1"  # a bias of 6 numbers


def test_data_in_another_file_is_refused(saved, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(100))
    file = tmp_path / "model.weights.h5"
    replace_dataset(file, DENSE, dtype="float32", external=[(str(tmp_path / "secret"), 0, 24)])
    with pytest.raises(WeightsError, match="found a link to another file"):
        load_weights(network(), file)


def test_link_to_another_file_is_refused(saved, tmp_path):
    (tmp_path / "other.h5").write_bytes((tmp_path / "model.weights.h5").read_bytes())
    with h5py.File(tmp_path / "model.weights.h5", "a") as hdf5:
        del hdf5["layers/dense"]
        hdf5["layers/dense"] = h5py.ExternalLink("other.h5", "/layers/dense")
    with pytest.raises(WeightsError, match=r"layer 'second' .* the file has no such layer"):
        load_weights(network(), tmp_path / "model.weights.h5")


def test_huge_chunks_are_refused(saved, tmp_path):
    file = tmp_path / "model.weights.h5"
    replace_dataset(file, DENSE, dtype="float32", maxshape=(None,), chunks=(10**8,), compression="gzip")
    with pytest.raises(WeightsError, match="packed in chunks"):
        load_weights(network(), file)


def test_text_in_place_of_numbers_is_refused(saved, tmp_path):
    file = tmp_path / "model.weights.h5"
    replace_dataset(file, DENSE, dtype=h5py.string_dtype())
    with pytest.raises(WeightsError, match="expected numbers"):
        load_weights(network(), file)


def test_group_that_contains_itself_ends(saved, tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "a") as hdf5:
        hdf5["layers/dense/again"] = hdf5["layers/dense"]
    with pytest.raises(WeightsError, match="not a readable HDF5 weights file"):
        load_weights(network(), tmp_path / "model.weights.h5")


def test_half_precision_weights_are_widened(saved, tmp_path):
    file = tmp_path / "model.weights.h5"
    with h5py.File(file, "a") as hdf5:
        values = hdf5[DENSE][:].astype("float16")
        del hdf5[DENSE]
        hdf5[DENSE] = values
    model = network()
    load_weights(model, file)
    np.testing.assert_array_equal(model.get_layer("second").bias, values.astype("float32"))

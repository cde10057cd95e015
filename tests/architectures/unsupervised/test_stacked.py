"""Stacked autoencoders: the greedy learning, both fine-tunings, any classifier on top."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.svm import LinearSVC

from kapps.architectures.unsupervised import stacked as module
from kapps.architectures.unsupervised.stacked import (
    VARIANTS,
    StackedAutoencoder,
    StackedConfig,
    check_labels,
    with_dropout,
)
from kapps.errors import DataError, RecipeError, UnknownNameError


def bars(count, seed=0):
    """Pictures 4x4x1 of one bright row or column, 0 to 3 the rows, 4 to 7 the columns, on noise."""
    rng = np.random.default_rng(seed)
    images, labels = rng.uniform(0, 0.3, (count, 4, 4, 1)).astype("float32"), rng.integers(0, 8, count)
    for image, label in zip(images, labels, strict=True):
        image[label % 4 if label < 4 else slice(None), slice(None) if label < 4 else label % 4] = 0.9
    return images, labels


def small(**values):
    return StackedAutoencoder(
        (4, 4, 1), StackedConfig(**{"hidden": (12, 8), "learning_rate": 0.03, "seed": 1, **values}), name="small"
    )


@pytest.fixture(scope="module")
def learned():
    keras.utils.set_random_seed(0)
    model = small(corruption_level=0.1)
    return model, model.pretrain(bars(400)[0], epochs=(10, 8), batch_size=40, verbose=0)


def test_every_layer_learns_to_give_back_the_one_below(learned):
    model, histories = learned
    assert len(histories) == 2
    for history in histories:
        losses = history.history["loss"]
        assert len(losses) in (10, 8)
        assert losses[-1] < losses[0]
    x = bars(100, seed=1)[0]
    assert np.square(model.inverse_transform(model.transform(x)) - x).mean() < 0.7 * x.var()
    assert model.components_.shape == (8, 4, 4, 1)


def test_the_code_is_that_of_one_layer_after_the_other(learned):
    model, x = learned[0], bars(7, seed=2)[0]
    below, above = model.autoencoders
    np.testing.assert_allclose(model.transform(x), above.transform(below.transform(x)), rtol=1e-5)
    codes = model.transform(x)
    expected = below.inverse_transform(above.inverse_transform(codes))
    np.testing.assert_allclose(model.inverse_transform(codes), expected, rtol=1e-5)


def test_a_layer_is_not_changed_by_those_that_learn_above_it():
    model, x = small(), bars(80)[0]
    below, above = ([variable.numpy() for variable in part.trainable_variables] for part in model.autoencoders)
    assert len(model.fit(x, epochs=(0, 1), verbose=0)) == 1
    for before, variable in zip(below, model.autoencoders[0].trainable_variables, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    for before, variable in zip(above, model.autoencoders[1].trainable_variables, strict=True):
        assert (before != variable.numpy()).any()
    assert model.autoencoders[1].optimizer is None  # its memory is given back


def test_codes_too_large_for_the_memory_and_streams_are_made_on_the_way(monkeypatch):
    x, model = bars(60)[0], small()
    monkeypatch.setattr(module, "_MEMORY_SHARE", 0.0)
    array, stream = x, tf.data.Dataset.from_tensor_slices((x, np.zeros(60))).batch(30)
    for data in (array, stream):
        (history,) = model.pretrain(data, epochs=(0, 1), batch_size=20, verbose=0)
        assert np.isfinite(history.history["loss"][0])


# --- with labels


def test_the_network_starts_as_the_stack(learned):
    model, x = learned[0], bars(5, seed=3)[0]
    network = model.to_mlp(8)
    assert [layer.name for layer in network.layers] == ["image", "values", "hidden1", "hidden2", "predictions"]
    codes = keras.Model(network.input, network.get_layer("hidden2").output)(x)
    np.testing.assert_allclose(codes, model.transform(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(network(x).numpy().sum(axis=1), 1, rtol=1e-5)


def test_both_fine_tunings(learned):
    model = learned[0]
    (x, y), (fresh, right) = bars(300, seed=4), bars(200, seed=5)
    before = [variable.numpy() for variable in model.trainable_variables]
    accuracies = {}
    for whole in (True, False):
        keras.utils.set_random_seed(1)
        tuned = model.fine_tune(
            x, y, whole=whole, epochs=12, batch_size=30, verbose=0, optimizer=keras.optimizers.Adam(0.03)
        )
        held = (tuned.get_layer("hidden1").kernel.numpy() == model.autoencoders[0].W.numpy()).all()
        assert held == (not whole)
        assert len(tuned.trainable_variables) == (6 if whole else 2)
        accuracies[whole] = (tuned(fresh).numpy().argmax(axis=1) == right).mean()
    assert accuracies[True] > 0.9
    assert accuracies[False] > 0.5  # eight classes
    for values, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(values, variable.numpy())


def test_dropout_is_in_front_of_every_dense_layer_and_changes_no_answer(learned):
    plain = learned[0].to_mlp(8)
    model = with_dropout(plain, (0.1, 0.2, 0.5), 5)
    assert [type(layer).__name__ for layer in model.layers] == ["Flatten", *["Dropout", "Dense"] * 3]
    assert [layer.rate for layer in model.layers[1::2]] == [0.1, 0.2, 0.5]
    x = bars(20, seed=3)[0]
    np.testing.assert_array_equal(model(x, training=False), plain(x))
    assert np.abs(model(x, training=True) - plain(x)).max() > 0.01


def test_fine_tuning_with_dropout_learns_the_layers_of_the_model_it_returns(learned):
    (x, y), (fresh, right) = bars(300, seed=4), bars(200, seed=5)
    settings = {"epochs": 12, "batch_size": 30, "verbose": 0}
    tuned, without = (
        learned[0].fine_tune(x, y, optimizer=keras.optimizers.Adam(0.03), dropout=rates, **settings)
        for rates in ((0, 0.2, 0.2), None)
    )
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in tuned.layers)
    assert np.abs(tuned(fresh).numpy() - without(fresh).numpy()).max() > 0.01
    assert (tuned(fresh).numpy().argmax(axis=1) == right).mean() > 0.9
    assert tuned.evaluate(fresh, right, verbose=0)[1] > 0.9
    for rates, whole in [((0.5,), True), ((0, 0, 1), True), ((0, 0, 0), False)]:
        with pytest.raises(RecipeError, match=r"dropout: expected a rate|expected no dropout"):
            learned[0].fine_tune(x, y, dropout=rates, whole=whole, **settings)


def test_a_linear_svm_on_the_codes(learned):
    (x, y), (fresh, right) = bars(300, seed=4), bars(200, seed=5)
    svm = LinearSVC(C=10, random_state=0).fit(learned[0].transform(x), y)
    assert svm.score(learned[0].transform(fresh), right) > 0.6


def test_labels_that_cannot_be_learned_are_refused_in_one_line(learned):
    x, y = bars(4)
    for labels, complaint in [
        (None, "expected labels to fine-tune with, got none"),
        (y[:3], r"an integer label for each of 4 examples, got int64 \[3\]"),
        (y.astype(float), "got float64"),
        (np.array([0, 1, -1, 0]), "labels from 0 to 1, got -1 to 1"),
    ]:
        with pytest.raises(DataError, match=complaint) as caught:
            learned[0].fine_tune(x, labels)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="labels from 0 to 2, got 0 to 3"):
        check_labels([0, 1, 2, 3], 4, 3)
    with pytest.raises(RecipeError, match="at least 2 classes to tell apart, got 1"):
        learned[0].fine_tune(x, np.zeros(4, int))


# --- kept, repeated, refused


def test_a_seed_gives_the_same_again(learned):
    codes = learned[0].transform(bars(20, seed=6)[0])
    assert (float(codes.mean()), float(codes.std())) == pytest.approx(FINGERPRINT, rel=5e-3)


FINGERPRINT = (0.49138, 0.34836)


def test_save_and_load(learned, comes_back_from_a_file, tmp_path):
    model, x = learned[0], bars(5)[0]
    comes_back_from_a_file(model, x, tmp_path)


def test_variants_and_other_units():
    assert {name: config.corruption for name, config in VARIANTS.items()} == {
        "stacked_autoencoder": "none",
        "stacked_denoising_autoencoder": "masking",
    }
    model = small(activation="relu", corruption="gaussian", tied=False)
    assert [autoencoder.config.output for autoencoder in model.autoencoders] == ["sigmoid", "linear"]
    assert model.to_mlp(3).get_layer("hidden2").activation is keras.activations.relu
    # hidden layers and their decoders' biases; tied
    assert StackedAutoencoder((784,)).count_params() == 785_000 + 2 * 1_001_000 + 784 + 2 * 1000


@pytest.mark.parametrize(
    ("values", "error", "complaint"),
    [
        ({"hidden": ()}, RecipeError, "as hidden, got \\(\\)"),
        ({"hidden": (4, 0)}, RecipeError, "of at least 1 as hidden"),
        ({"corruption": "gausian"}, UnknownNameError, "did you mean 'gaussian'"),
        ({"activation": "elu"}, RecipeError, "as activation, got 'elu'"),
        ({"hidden": (10**6, 10**6)}, RecipeError, "take fewer components"),
    ],
)
def test_configurations_that_are_refused_in_one_line(values, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        small(**values)
    assert "\n" not in str(caught.value)


def test_epochs_and_data_that_are_refused():
    x = bars(3)[0]
    for epochs in ((1,), (1, -1)):
        with pytest.raises(RecipeError, match="one for each of 2 layers"):
            small().pretrain(x, epochs=epochs)
    with pytest.raises(DataError, match="at least 2 examples"):
        small().pretrain(x[:1])
    with pytest.raises(DataError, match="numbers from 0 to 1"):
        small().fit(x - 1)

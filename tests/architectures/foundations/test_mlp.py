from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.foundations.mlp import INITIALIZERS
from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError

SQUARE = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")
DROPOUTS = ["none", "dropout", "dropconnect", "standout", "annealed_dropout"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_equals_the_formula():
    model = create_model("mlp", config={"hidden": (7, 5)})
    images = np.random.default_rng(0).random((3, 16, 16, 1), dtype="float32")
    w1, b1, w2, b2, w3, b3 = model.get_weights()
    z = sigmoid(sigmoid(images.reshape(3, 256) @ w1 + b1) @ w2 + b2) @ w3 + b3
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(images), expected, rtol=1e-5)


def test_pixels_can_be_permuted():
    """The same shuffle of all pixels and of the first kernel's rows changes nothing: no neighbourhood is known."""
    rng = np.random.default_rng(1)
    order = rng.permutation(256)
    images = rng.random((4, 16, 16, 1), dtype="float32")
    model = create_model("mlp")
    expected = model(images).numpy()
    first, *others = model.get_weights()
    model.set_weights([first[order], *others])
    shuffled = images.reshape(4, 256)[:, order].reshape(4, 16, 16, 1)
    np.testing.assert_allclose(model(shuffled), expected, atol=1e-6)


def test_any_depth_and_width():
    model = create_backbone("mlp", input_shape=(28, 28, 1), config={"hidden": (128, 64, 32, 16), "activation": "relu"})
    assert {name: tensor.shape[1] for name, tensor in model.output.items()} == {
        "hidden1": 128,
        "hidden2": 64,
        "hidden3": 32,
        "hidden4": 16,
    }


def test_without_hidden_layer_it_is_a_linear_classifier():
    model = create_model("mlp", config={"hidden": ()})
    assert model.count_params() == 256 * 10 + 10


@pytest.mark.parametrize("activation", INITIALIZERS)
def test_every_initialiser_keeps_the_signal(activation):
    """Through eight layers; with Glorot's rule for ReLU it would shrink to 1/16 and less."""
    keras.utils.set_random_seed(0)
    config = {"hidden": (256,) * 8, "activation": activation}
    images = np.random.default_rng(0).normal(size=(64, 16, 16, 1)).astype("float32")
    features = create_backbone("mlp", config=config)(images)
    first, last = (np.sqrt(np.mean(np.square(features[name]))) for name in ("hidden1", "hidden8"))
    assert 0.3 < last / first < 3


def test_initialiser_can_be_chosen():
    model = create_model("mlp", config={"kernel_initializer": "zeros"})
    assert not np.any(model.get_layer("hidden1").kernel)
    with pytest.raises(RecipeError, match="nosuch"):
        create_model("mlp", config={"kernel_initializer": "nosuch"})


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("activation", INITIALIZERS)
def test_every_activation_with_every_dropout(dropout, activation):
    config = {"hidden": (12, 6), "activation": activation, "dropout": dropout, "input_dropout_rate": 0.1}
    if (dropout, activation) == ("standout", "maxout"):
        with pytest.raises(RecipeError, match="maxout unit has several"):
            create_model("mlp", config=config)
        return
    model = create_model("mlp", config=config)
    images = np.random.default_rng(0).random((5, 16, 16, 1), dtype="float32")
    assert [model.get_layer(f"hidden{n}").output.shape for n in (1, 2)] == [(None, 12), (None, 6)]
    np.testing.assert_array_equal(model(images), model(images))  # nothing is dropped outside training
    assert not np.array_equal(model(images, training=True), model(images, training=True))
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(images, np.arange(5)))


def test_dropout_lies_between_the_layers_but_not_behind_the_answer():
    layers = [layer.name for layer in create_model("mlp", config={"dropout": "dropout"}).layers]
    assert layers == ["image", "pixels", "hidden1", "hidden1_dropout", "hidden2", "hidden2_dropout", "predictions"]


def test_maxout_hidden_layer_is_the_maximum_of_its_pieces():
    model = create_backbone("mlp", config={"hidden": (4,), "activation": "maxout", "pieces": 3})
    images = np.random.default_rng(0).random((2, 16, 16, 1), dtype="float32")
    kernel, _ = model.get_weights()
    expected = (images.reshape(2, 256) @ kernel).reshape(2, 3, 4).max(axis=1)
    np.testing.assert_allclose(model(images)["hidden1"], expected, rtol=1e-5)


@pytest.mark.parametrize("hidden", [(0,), (5, -1)])
def test_impossible_width_is_refused(hidden):
    with pytest.raises(RecipeError, match="at least 1"):
        create_model("mlp", config={"hidden": hidden})


def test_xor_by_hand():
    """Steep sigmoids are McCulloch-Pitts units: hidden (a and not b), (b and not a), output their OR."""
    model = create_model("xor_net")
    steep = 40.0
    hidden = [steep * np.array([[1.0, -1.0], [-1.0, 1.0]]), steep * np.array([-0.5, -0.5])]
    output = [steep * np.array([[1.0], [1.0]]), steep * np.array([-0.5])]
    model.set_weights([*hidden, *output])
    np.testing.assert_allclose(model(SQUARE)[:, 0], [0, 1, 1, 0], atol=1e-6)


def test_xor_by_back_propagation():
    """Not every start gets there: some stop at one of the known local minima, with one or two errors."""
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        model = create_model("xor_net")
        model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy", steps_per_execution=50)
        model.fit(
            np.tile(SQUARE, (100, 1)), np.tile([0, 1, 1, 0], 100), batch_size=4, epochs=5, verbose=0, shuffle=False
        )
        if model(SQUARE).numpy()[:, 0].round().tolist() == [0, 1, 1, 0]:
            return
    pytest.fail("none of five starts solved XOR")


def test_fingerprint(fingerprint):
    fingerprint("mlp", {"hidden1": (0.5002, 0.1136), "hidden2": (0.4965, 0.1154)})
    fingerprint("xor_net", {"hidden1": (0.4755, 0.04874)})

from __future__ import annotations

import keras
import numpy as np

from kapps.create import create_model


def test_equals_the_formula():
    keras.utils.set_random_seed(0)
    model = create_model("maxout", config={"units": (6, 4), "pieces": 3, "initial_range": 0.5})
    images = np.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")
    w0, b0, w1, b1, w2, b2 = model.get_weights()
    x = images.reshape(3, 784)
    x = (x @ w0 + b0).reshape(3, 3, 6).max(axis=1)
    x = (x @ w1 + b1).reshape(3, 3, 4).max(axis=1)
    z = x @ w2 + b2
    z = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(model(images), z / z.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_is_permutation_invariant():
    rng = np.random.default_rng(1)
    order = rng.permutation(784)
    images = rng.random((4, 28, 28, 1), dtype="float32")
    model = create_model("maxout", config={"units": (20, 10), "initial_range": 0.3})
    expected = model(images).numpy()
    first, *others = model.get_weights()
    model.set_weights([first[order], *others])
    shuffled = images.reshape(4, 784)[:, order].reshape(4, 28, 28, 1)
    np.testing.assert_allclose(model(shuffled), expected, atol=1e-5)


def test_norms_are_held_for_every_piece_and_output():
    model = create_model("maxout", config={"units": (8, 8), "pieces": 2, "max_norm": 0.5, "initial_range": 0.3})
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    rng = np.random.default_rng(2)
    for _ in range(3):
        model.train_on_batch(rng.random((16, 28, 28, 1), dtype="float32"), rng.integers(0, 10, 16))
    largest = []
    for name in ("h0", "h1", "predictions"):
        norms = np.linalg.norm(model.get_layer(name).kernel, axis=0)
        assert norms.shape[0] == {"h0": 16, "h1": 16, "predictions": 10}[name]
        assert norms.max() <= 0.5 + 1e-5
        largest.append(norms.max())
    assert max(largest) > 0.49  # columns of h0 start with a norm of about 5: the limit is reached, not merely kept


def test_dropout_of_the_paper():
    model = create_model("maxout")
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {"pixels_dropout": 0.2, "h0_dropout": 0.5, "h1_dropout": 0.5}


def test_start_of_the_paper():
    model = create_model("maxout")
    for name in ("h0", "h1", "predictions"):
        kernel = np.asarray(model.get_layer(name).kernel)
        assert 0.0049 < np.abs(kernel).max() <= 0.005
        assert abs(kernel.mean()) < 2e-4


def test_fingerprint(fingerprint):
    fingerprint("maxout", {"h0": (0.05475, 0.03212), "h1": (0.003356, 0.001906)})

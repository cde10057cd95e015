from __future__ import annotations

import keras
import numpy as np
from scipy.signal import correlate

from kapps.create import create_backbone, create_model


def test_equals_the_formula():
    model = create_model("mnist_convnet", config={"maps": (2, 3), "units": 5})
    image = np.random.default_rng(0).random((28, 28), dtype="float32")
    k1, b1, k2, b2, w3, b3, w, b = model.get_weights()

    def stage(maps, kernel, bias):
        outputs = range(kernel.shape[3])
        sums = [sum(correlate(m, kernel[:, :, i, o], "valid") for i, m in enumerate(maps)) for o in outputs]
        relu = [np.maximum(total + bias[o], 0) for o, total in enumerate(sums)]
        return [m.reshape(m.shape[0] // 2, 2, m.shape[1] // 2, 2).max(axis=(1, 3)) for m in relu]

    maps = stage(stage([image], k1, b1), k2, b2)
    z = np.maximum(np.stack(maps, axis=-1).ravel() @ w3 + b3, 0) @ w + b
    np.testing.assert_allclose(model(image[None, :, :, None])[0], np.exp(z) / np.exp(z).sum(), rtol=1e-4)


def test_stages():
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("mnist_convnet").output.items()}
    assert shapes == {
        "conv1": (24, 24, 32),
        "pool1": (12, 12, 32),
        "conv2": (8, 8, 32),
        "pool2": (4, 4, 32),
        "fc3": (256,),
    }


def test_both_full_connections_have_dropout_before_them():
    layers = create_model("mnist_convnet", config={"dropout_rate": 0.25}).layers
    names = [layer.name for layer in layers]
    for dropout, dense in (("pool2_dropout", "fc3"), ("fc3_dropout", "predictions")):
        assert names.index(dense) == names.index(dropout) + 1
        assert layers[names.index(dropout)].rate == 0.25


def test_translation():
    images = np.zeros((1, 28, 28, 1), "float32")
    images[:, 8:16, 8:16] = np.random.default_rng(0).random((8, 8, 1))
    backbone = create_backbone("mnist_convnet")
    before, after = backbone(images)["pool2"], backbone(np.roll(images, 4, axis=1))["pool2"]
    np.testing.assert_allclose(after[:, 1:], before[:, :-1], atol=1e-6)


def test_fits_a_batch():
    keras.utils.set_random_seed(0)
    model = create_model("mnist_convnet", config={"maps": (8, 8), "units": 32, "dropout_rate": 0.0})
    optimizer = keras.optimizers.SGD(0.05, 0.9, nesterov=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels = np.random.default_rng(0).random((10, 28, 28, 1), dtype="float32") - 0.5, np.arange(10)
    model.fit(images, labels, 10, epochs=60, verbose=0)
    assert model.evaluate(images, labels, verbose=0)[1] == 1


def test_fingerprint(fingerprint):
    fingerprint(
        "mnist_convnet",
        {
            "conv1": (0.05025, 0.06914),
            "pool1": (0.09104, 0.08506),
            "conv2": (0.06488, 0.07996),
            "pool2": (0.09134, 0.09259),
            "fc3": (0.05739, 0.08609),
        },
    )

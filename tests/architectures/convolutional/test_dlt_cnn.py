from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.signal import correlate

from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_equals_the_toolbox_s_forward_pass():
    """CNN/cnnff.m written out with SciPy: convolve map by map, squash, average 2x2; then the output perceptrons."""
    model = create_model("dlt_cnn", classifier_activation="sigmoid")
    image = np.random.default_rng(0).random((28, 28), dtype="float32")
    k1, b1, k2, b2, w, b = model.get_weights()

    def convolve(maps, kernel, bias):
        outputs = range(kernel.shape[3])
        sums = [sum(correlate(m, kernel[:, :, i, o], "valid") for i, m in enumerate(maps)) for o in outputs]
        return [sigmoid(total + bias[o]) for o, total in enumerate(sums)]

    def average(maps):
        return [m.reshape(m.shape[0] // 2, 2, m.shape[1] // 2, 2).mean(axis=(1, 3)) for m in maps]

    maps = average(convolve(average(convolve([image], k1, b1)), k2, b2))
    expected = sigmoid(np.stack(maps, axis=-1).ravel() @ w + b)
    np.testing.assert_allclose(model(image[None, :, :, None])[0], expected, rtol=1e-5)


def test_start_of_the_toolbox():
    """CNN/cnnsetup.m: +-sqrt(6 / (fan-in + fan-out)), both times the window; biases 0."""
    model = create_model("dlt_cnn")
    for name, fans in {"c1": 25 * (1 + 6), "c3": 25 * (6 + 12), "predictions": 192 + 10}.items():
        kernel, bias = model.get_layer(name).get_weights()
        assert 0.95 < np.abs(kernel).max() / np.sqrt(6 / fans) <= 1
        assert not bias.any()


def test_translation():
    """A shift by one window of the last subsampling, 4 pixels, shifts s4 by one."""
    images = np.zeros((1, 28, 28, 1), "float32")
    images[:, 8:16, 8:16] = np.random.default_rng(0).random((8, 8, 1))
    backbone = create_backbone("dlt_cnn")
    before, after = backbone(images)["s4"], backbone(np.roll(images, 4, axis=2))["s4"]
    np.testing.assert_allclose(after[:, :, 1:], before[:, :, :-1], atol=1e-6)


def test_too_small_an_image_is_refused():
    with pytest.raises(RecipeError, match=r"dlt_cnn cannot be built on input_shape \(8, 8, 1\)"):
        create_model("dlt_cnn", input_shape=(8, 8, 1))


def test_learns_with_its_own_loss():
    keras.utils.set_random_seed(0)
    model = create_model("dlt_cnn", classifier_activation="sigmoid")
    model.compile(keras.optimizers.SGD(1.0), lambda target, output: keras.ops.sum((target - output) ** 2, axis=-1) / 2)
    rng = np.random.default_rng(0)
    images, targets = rng.random((50, 28, 28, 1), dtype="float32"), np.eye(10, dtype="float32")[np.arange(50) % 10]
    before = model.evaluate(images, targets, verbose=0)
    model.fit(images, targets, 50, epochs=5, verbose=0)
    assert model.evaluate(images, targets, verbose=0) < before


def test_fingerprint(fingerprint):
    fingerprint(
        "dlt_cnn",
        {
            "c1": (0.4939, 0.0584),
            "s2": (0.4939, 0.0493),
            "c3": (0.5403, 0.1081),
            "s4": (0.5403, 0.1081),
            "fv": (0.5403, 0.1081),
        },
    )

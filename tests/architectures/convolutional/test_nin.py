from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("nin_cifar10", [(32, 32, 96), (16, 16, 192), (8, 8, 192)]),
        ("nin_imagenet", [(54, 54, 96), (27, 27, 256), (13, 13, 384), (6, 6, 1024)]),
    ],
)
def test_shapes_are_those_of_the_authors_files(name, shapes):
    assert [tensor.shape[1:] for tensor in create_backbone(name).output.values()] == shapes


def test_a_mlpconv_is_a_perceptron_that_slides_over_the_image():
    """Figure 1 (b): the three layers at one place, written out for one window of pixels."""
    keras.utils.set_random_seed(0)
    backbone = create_backbone("nin_cifar10", config={"filters": ((6, 5, 4), (4, 4, 4), (4, 4))})
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    found = backbone(image)["mlpconv1"][0, 10, 20]
    x = image[0, 8:13, 18:23].reshape(-1)
    for name in ("mlpconv1_conv1", "mlpconv1_conv2", "mlpconv1"):
        kernel, bias = backbone.get_layer(name).get_weights()
        x = np.maximum(x @ kernel.reshape(-1, kernel.shape[-1]) + bias, 0)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def small():
    return create_backbone("nin_cifar10", config={"filters": ((4, 4, 4), (4, 4, 4), (4, 4))})


def test_pooling_counts_what_hangs_over_the_border(small):
    """Caffe's rule: 32 rows give 16 windows of 3; the last one has 2 rows, and a mean is that of those."""
    features = {
        name: small.get_layer(name).output for name in ("mlpconv1", "mlpconv1_pool", "mlpconv2", "mlpconv2_pool")
    }
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    maps = {name: np.asarray(value)[0] for name, value in keras.Model(small.input, features)(image).items()}
    for i, j in ((0, 0), (3, 7), (15, 2), (15, 15)):
        window = maps["mlpconv1"][2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_array_equal(maps["mlpconv1_pool"][i, j], window.max(axis=(0, 1)))
    for i, j in ((0, 0), (7, 3), (7, 7)):
        window = maps["mlpconv2"][2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_allclose(maps["mlpconv2_pool"][i, j], window.mean(axis=(0, 1)), rtol=1e-5)


def test_answers_are_the_means_of_the_class_maps():
    config = {"filters": ((4, 4, 4), (4, 4, 4), (4, 4))}
    model = create_model("nin_cifar10", config=config, classifier_activation=None, input_shape=(None, None, 3))
    image = np.random.default_rng(0).normal(size=(2, 40, 56, 3)).astype("float32")
    maps = keras.Model(model.input, model.get_layer("class_maps").output)(image)
    assert maps.shape == (2, 10, 14, 10)
    np.testing.assert_allclose(model(image), np.asarray(maps).mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_batch_normalisation_on_request():
    config = {"filters": ((4, 4, 4), (4, 4, 4), (4, 4)), "batch_normalization": True}
    keras.utils.set_random_seed(0)
    model = create_model("nin_cifar10", num_classes=2, config=config)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == 8
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).random((8, 32, 32, 3), dtype="float32")
    labels = np.arange(8) % 2
    images += labels[:, None, None, None]
    losses = model.fit(images, labels, batch_size=8, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]

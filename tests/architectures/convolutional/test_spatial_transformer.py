from __future__ import annotations

import keras
import numpy as np

from kapps.architectures.convolutional.spatial_transformer import SpatialTransformerConfig, transform
from kapps.create import create_backbone, create_model


def images(count=2, size=42, channels=1):
    return np.random.default_rng(0).random((count, size, size, channels), dtype="float32")


def test_transformer_starts_as_the_identity():
    model = create_backbone("st_cnn")
    np.testing.assert_allclose(model(images())["transformed"], images(), atol=1e-5)


def test_both_networks_are_the_same_behind_the_transformer():
    keras.utils.set_random_seed(0)
    plain = create_model("st_cnn_plain")
    whole = create_model("st_cnn")
    for layer in plain.layers:
        whole.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_allclose(whole(images()), plain(images()), atol=1e-5)


def test_transformer_learns_from_the_classifier_alone():
    """The gradient of the loss reaches all six numbers of the transformation, and then all of the localisation."""
    model = create_model("st_cnn")
    model.compile("sgd", "sparse_categorical_crossentropy")
    first = model.get_layer("transformed_conv1").get_weights()[0]
    model.train_on_batch(images(8), np.arange(8))
    theta = keras.Model(model.input, model.get_layer("transformed_theta").output)(images(8)).numpy()
    assert (np.abs(theta - [1, 0, 0, 0, 1, 0]) > 1e-8).all()
    assert np.abs(theta[0] - theta[1]).max() > 0
    # behind a kernel of zeros no gradient passed; now one does
    np.testing.assert_array_equal(model.get_layer("transformed_conv1").get_weights()[0], first)
    model.train_on_batch(images(8), np.arange(8))
    assert np.abs(model.get_layer("transformed_conv1").get_weights()[0] - first).max() > 0


def test_in_front_of_another_network_at_another_size():
    image = keras.Input((64, 48, 3))
    front = transform(SpatialTransformerConfig(), image, size=(28, 28), name="look")
    model = keras.Model(image, front)
    assert model.output_shape == (None, 28, 28, 3)
    x = np.random.default_rng(0).random((2, 64, 48, 3), dtype="float32")
    # the whole image at the other size: its corners stay its corners
    np.testing.assert_allclose(np.asarray(model(x))[:, ::27, ::27], x[:, ::63, ::47], atol=1e-5)
    assert model.get_layer("look_theta").units == 6

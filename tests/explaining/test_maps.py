from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError, UnknownNameError
from kapps.explaining.maps import layer_map


@pytest.fixture(scope="module")
def model():
    """Flattened pixels, a hidden layer of three units, two classes."""
    keras.utils.set_random_seed(0)
    image = keras.Input((2, 2, 1))
    hidden = keras.layers.Dense(3, use_bias=False, name="hidden")(keras.layers.Flatten(name="flat")(image))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="scores")(hidden))


@pytest.fixture(scope="module")
def groups():
    """Three groups of images far from each other."""
    random = np.random.default_rng(1)
    centres = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 9]], np.float32)
    labels = np.repeat([0, 1, 2], 20)
    images = centres[labels] + random.normal(scale=0.3, size=(60, 4)).astype(np.float32)
    return images.reshape(-1, 2, 2, 1), labels


def test_pca_is_the_plane_of_the_singular_vectors(model, groups):
    images, labels = groups
    found = layer_map(model, images, layer="hidden", method="pca", labels=labels, batch_size=7)
    values = images.reshape(60, 4) @ model.get_layer("hidden").get_weights()[0]
    centred = values - values.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(left[:, :2] * size[:2]), rtol=1e-3, atol=1e-3)
    assert found.explained == pytest.approx((size[:2] ** 2).sum() / (size**2).sum(), rel=1e-4)
    assert layer_map(model, images, layer="flat", method="pca").coordinates.shape == (60, 2)


def test_tsne_keeps_groups_apart_and_is_repeatable(model, groups):
    images, labels = groups
    found = layer_map(model, images, labels=labels, perplexity=10, iterations=300, class_names=["a", "b", "<c>"])
    assert (found.layer, found.explained) == ("hidden", None)  # the last one before the scores
    distances = np.linalg.norm(found.coordinates[:, None] - found.coordinates, axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    again = layer_map(model, images, labels=labels, perplexity=10, iterations=300)
    np.testing.assert_array_equal(again.coordinates, found.coordinates)
    picture = found.picture
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)
    # a colour for each class
    coloured = picture[(np.ptp(picture.astype(int), axis=-1) > 80)]
    assert len(np.unique(coloured // 64, axis=0)) >= 3


def test_few_images_and_unlabelled_ones_are_drawn(model, groups):
    found = layer_map(model, groups[0][:4], iterations=250)
    assert np.isfinite(found.coordinates).all()
    assert found.picture.std() > 0


def test_wrong_arguments_are_refused(model, groups):
    images, labels = groups
    with pytest.raises(UnknownNameError, match="no method is named 'umap': known: tsne, pca"):
        layer_map(model, images, method="umap")
    with pytest.raises(UnknownNameError, match="no layer is named 'hiden': did you mean 'hidden'"):
        layer_map(model, images, layer="hiden")
    with pytest.raises(DataError, match=r"at least 4 images .* and a label for each"):
        layer_map(model, images[:3])
    with pytest.raises(DataError, match=r"got .*, 59 labels"):
        layer_map(model, images, labels=labels[:59])

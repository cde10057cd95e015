from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kapps.errors import DataError, RecipeError
from kapps.explaining.attribution import Attribution
from kapps.explaining.sanity import deletion_and_insertion, randomisation, shuffle_weights, weighted_layers


def attribution(map_, target=0):
    return Attribution(np.asarray(map_, np.float32), "by hand", target, 0.0, True)


def test_a_map_of_the_weights_is_lost_and_a_map_of_the_image_stays():
    """Score = weights . image: its gradient is the weights; of an edge detector the map would be the image's."""
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1))
    hidden = layers.Dense(8, activation="tanh", name="hidden")(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(3, name="scores")(hidden))
    before = model.get_weights()
    picture = np.random.default_rng(1).normal(size=(12, 12, 1)).astype(np.float32)
    rows = randomisation(model, picture, method="saliency", seed=2)
    assert [row.layer for row in rows] == ["scores", "hidden"]  # from the top
    assert abs(rows[1].correlation) < 0.3  # nothing is left of 144 values
    assert rows[0].correlation > rows[1].correlation
    assert rows[0].magnitude == pytest.approx(rows[0].correlation)  # saliency is never negative
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    signed = randomisation(model, picture, method="integrated_gradients", target=1, options={"steps": 5})
    assert signed[0].magnitude != signed[0].correlation


def test_weights_change_places_and_only_there():
    model = keras.Sequential([keras.Input((3, 3, 2)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()])
    assert len(weighted_layers(model)) == 2
    layer = model.layers[0]
    before = layer.get_weights()
    shuffle_weights(layer, np.random.default_rng(0))
    after = layer.get_weights()
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(np.sort(before[0].ravel()), np.sort(after[0].ravel()))


def test_curves_by_hand():
    """Score = 4 x0 + 3 x1 + 2 x2 + x3 of ones; deleted best first it falls 10, 6, 3, 1, 0."""
    weights = np.array([4.0, 3.0, 2.0, 1.0], np.float32)
    image = np.ones((2, 2, 1), np.float32)

    def model(batch):
        return (batch.reshape(len(batch), 4) @ weights)[:, np.newaxis]

    curves = deletion_and_insertion(model, image, attribution([[4, 3], [2, 1]]), steps=4, batch_size=2)
    np.testing.assert_allclose(curves.share, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curves.deletion, [10, 6, 3, 1, 0])
    assert curves.deletion_area == pytest.approx((10 / 2 + 6 + 3 + 1) / 4)
    worst = deletion_and_insertion(model, image, attribution([[1, 2], [3, 4]]), steps=4)
    np.testing.assert_allclose(worst.deletion, [10, 9, 7, 4, 0])
    assert worst.deletion_area > curves.deletion_area


def test_insertion_begins_with_the_blurred_image():
    image = np.zeros((20, 20, 1), np.float32)
    image[5, 7] = 1.0

    def model(batch):
        return batch[:, 5, 7]

    map_ = np.zeros((20, 20))
    map_[5, 7] = 1
    curves = deletion_and_insertion(model, image, attribution(map_), steps=20, blur=3.0)
    assert curves.insertion[0] < 0.05
    np.testing.assert_allclose(curves.insertion[1:], 1)
    assert curves.insertion_area > 0.95
    assert curves.deletion_area == pytest.approx(0.025)
    assert deletion_and_insertion(model, image, attribution(-map_), steps=20).insertion_area < 0.1


def test_wrong_arguments_are_refused(linear):
    image = np.ones((4, 5, 2), np.float32)
    with pytest.raises(DataError, match=r"expected a map of \[4, 5\], got \[5, 4\]"):
        deletion_and_insertion(linear, image, attribution(np.zeros((5, 4))))
    with pytest.raises(RecipeError, match="expected 1 to 20 steps, got 50"):
        deletion_and_insertion(linear, image, attribution(np.zeros((4, 5))))

    class Own(keras.Model):
        def __init__(self, size):
            super().__init__()
            self.dense = layers.Dense(size)

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 40)))

    own = Own(2)
    own.build((None, 4, 5, 2))
    with pytest.raises(DataError, match="cannot be copied, and its own weights are not touched"):
        randomisation(own, image, method="saliency")

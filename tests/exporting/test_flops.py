from __future__ import annotations

import keras

from kapps.exporting.flops import count_flops


def test_a_convolution_and_a_dense_layer_counted_by_hand():
    image = keras.Input((10, 9, 2))
    x = keras.layers.Conv2D(4, (3, 2), use_bias=False)(image)  # 8 x 8 x 4 outputs of 3 * 2 * 2 multiply-adds
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(5, use_bias=False)(x)  # 5 outputs of 256 multiply-adds
    assert count_flops(keras.Model(image, x)) == 2 * (8 * 8 * 4 * 3 * 2 * 2) + 2 * (5 * 256)


def test_bias_costs_one_operation_an_output():
    image = keras.Input((7, 1, 1))
    x = keras.layers.Flatten()(image)
    assert count_flops(keras.Model(image, keras.layers.Dense(3)(x))) == 2 * 7 * 3 + 3

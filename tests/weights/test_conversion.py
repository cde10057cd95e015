"""Layouts by hand: what torch computes with its tensors, in numpy, against the layer with the converted ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kapps.errors import WeightsError
from kapps.weights.conversion import assign_tensors
from kapps.weights.key_map import KeyMap
from kapps.weights.seeded import seeded_image, seeded_tensor

SAME = KeyMap(rules=((r".+", r"\g<0>"),))


def given(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name.replace("__", "."): seeded_tensor(name.replace("__", "."), shape) for name, shape in shapes.items()}


def answer(layer, image, tensors, key_map=SAME, shape=None) -> np.ndarray:
    inputs = keras.Input(shape or image.shape[1:])
    model = keras.Model(inputs, layer(inputs), name="tiny")
    assign_tensors(model, tensors, key_map, layout="torch", source="here")
    return model(image).numpy()


def test_convolution():
    """One output pixel is the sum over channels and window of weight [O, I, H, W] times input."""
    tensors = given(conv__weight=(5, 3, 2, 4), conv__bias=(5,))
    image = seeded_image((1, 2, 4, 3))
    expected = np.einsum("oihw,hwi->o", tensors["conv.weight"], image[0]) + tensors["conv.bias"]
    np.testing.assert_allclose(
        answer(layers.Conv2D(5, (2, 4), name="conv"), image, tensors)[0, 0, 0], expected, atol=1e-5
    )


def test_depthwise_convolution_with_a_multiplier():
    """Torch's output c * multiplier + m belongs to channel c."""
    tensors = given(conv__weight=(6, 1, 2, 2), conv__bias=(6,))
    image = seeded_image((1, 2, 2, 3))
    expected = [
        (tensors["conv.weight"][place, 0] * image[0, :, :, place // 2]).sum() + tensors["conv.bias"][place]
        for place in range(6)
    ]
    layer = layers.DepthwiseConv2D(2, depth_multiplier=2, name="conv")
    np.testing.assert_allclose(answer(layer, image, tensors)[0, 0, 0], expected, atol=1e-5)


def test_transposed_convolution():
    """One input pixel lays weight [I, O, H, W] into the output."""
    tensors = given(conv__weight=(3, 5, 2, 2), conv__bias=(5,))
    image = seeded_image((1, 1, 1, 3))
    expected = np.einsum("iohw,i->hwo", tensors["conv.weight"], image[0, 0, 0]) + tensors["conv.bias"]
    layer = layers.Conv2DTranspose(5, 2, name="conv")
    np.testing.assert_allclose(answer(layer, image, tensors)[0], expected, atol=1e-5)


def test_dense_layer_behind_a_flattened_map():
    """Torch flattens [C, H, W], Keras [H, W, C]."""
    tensors = given(fc__weight=(5, 2 * 3 * 4), fc__bias=(5,))
    image = seeded_image((1, 3, 4, 2))  # H, W, C
    expected = tensors["fc.weight"] @ image[0].transpose(2, 0, 1).reshape(-1) + tensors["fc.bias"]
    key_map = KeyMap(rules=SAME.rules, flattened={"fc": (3, 4, 2)})
    got = answer(layers.Dense(5, name="fc"), image.reshape(1, -1), tensors, key_map)
    np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_dense_layer_written_as_a_convolution():
    tensors = given(fc__weight=(5, 2 * 3 * 4), fc__bias=(5,))
    image = seeded_image((1, 3, 4, 2))
    expected = tensors["fc.weight"] @ image[0].transpose(2, 0, 1).reshape(-1) + tensors["fc.bias"]
    np.testing.assert_allclose(
        answer(layers.Conv2D(5, (3, 4), name="fc"), image, tensors)[0, 0, 0], expected, atol=1e-5
    )


def test_prelu_slopes():
    tensors = given(act__weight=(3,))
    image = -np.ones((1, 2, 2, 3), "float32")
    got = answer(layers.PReLU(shared_axes=(1, 2), name="act"), image, tensors)
    np.testing.assert_allclose(got, np.broadcast_to(-tensors["act.weight"], got.shape), rtol=1e-6)


def test_bias_and_epsilon_are_folded_into_the_normalisation():
    """norm(conv + bias) with the publisher's epsilon, given to a convolution without bias and another epsilon."""
    inputs = keras.Input((2, 2, 3))
    conv = layers.Conv2D(5, 2, use_bias=False, name="conv")(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(epsilon=1e-3, name="bn")(conv), name="tiny")
    tensors = given(
        conv__weight=(5, 3, 2, 2), conv__bias=(5,), bn__weight=(5,), bn__bias=(5,), bn__running_mean=(5,),
        bn__running_var=(5,),
    )  # fmt: skip
    key_map = KeyMap(rules=SAME.rules, folded={"conv": "bn"}, epsilon=0.1)
    assign_tensors(model, tensors, key_map, layout="torch", source="here")
    image = seeded_image((1, 2, 2, 3))
    summed = np.einsum("oihw,hwi->o", tensors["conv.weight"], image[0]) + tensors["conv.bias"]
    scale = tensors["bn.weight"] / np.sqrt(tensors["bn.running_var"] + 0.1)
    expected = (summed - tensors["bn.running_mean"]) * scale + tensors["bn.bias"]
    np.testing.assert_allclose(model(image, training=False)[0, 0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (given(fc__weight=(5, 7), fc__bias=(5,)), r"layer 'fc' expected fc.weight to make \(4, 5\), found \(5, 7\)"),
        (given(fc__weight=(5, 4)), "expected fc.bias for .* no such tensor"),
        (given(fc__weight=(5, 4), fc__bias=(5,), other=(2,)), "tiny has no place for other"),
        ({"fc.weight": np.array([["a"]]), "fc.bias": np.zeros(5)}, "expected numbers in fc.weight"),
    ],
)
def test_misfits(tensors, message):
    with pytest.raises(WeightsError, match=message):
        answer(layers.Dense(5, name="fc"), seeded_image((1, 4)), tensors)


def test_a_layer_that_the_key_map_does_not_know():
    with pytest.raises(WeightsError, match="layer 'fc' has no counterpart"):
        answer(layers.Dense(5, name="fc"), seeded_image((1, 4)), {}, KeyMap(rules=(("conv", "conv"),)))

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
def test_sizes_and_weights_are_the_paper_s():
    model = create_model("alexnet")
    counts = {}
    for layer in model.layers:
        if layer.weights:
            name = layer.name.partition("_tower")[0]
            counts[name] = counts.get(name, 0) + layer.count_params()
    assert counts == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "predictions": 4_097_000,
    }
    units = {}
    for layer in model.layers:
        name = layer.name.partition("_tower")[0]
        units[name] = units.get(name, 0) + int(np.prod(layer.output.shape[1:]))
    # figure 2's caption; its 253,440 for the first layer does not agree with the 55x55x96 of the figure
    assert [units[name] for name in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")] == [
        186_624,
        64_896,
        64_896,
        43_264,
        4096,
        4096,
    ]


@pytest.fixture(scope="module")
def small():
    """The original's body, whose full connections see a single place."""
    keras.utils.set_random_seed(0)
    return create_backbone("alexnet", input_shape=(67, 67, 3), config={"filters": (8, 8, 12, 12, 8)})


def test_two_towers_are_a_convolution_in_two_groups(small):
    conv2 = [small.get_layer(f"conv2_tower{tower}") for tower in (1, 2)]
    kernel = np.zeros((5, 5, 8, 8), "float32")  # no connection from one tower to the other
    kernel[..., :4, :4], kernel[..., 4:, 4:] = (layer.get_weights()[0] for layer in conv2)
    bias = np.concatenate([layer.get_weights()[1] for layer in conv2])
    image = np.random.default_rng(0).normal(size=(1, 67, 67, 3)).astype("float32")
    names = ("pool1_tower1", "pool1_tower2", "conv2_tower1", "conv2_tower2")
    maps = keras.Model(small.input, [small.get_layer(name).output for name in names])(image)
    pool1, found = np.concatenate(maps[:2], axis=-1), np.concatenate(maps[2:], axis=-1)
    expected = keras.ops.relu(keras.ops.conv(pool1, kernel, padding="same") + bias)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_conv3_sees_both_towers(small):
    assert [small.get_layer(f"conv{n}_tower1").kernel.shape[2] for n in (1, 2, 3, 4, 5)] == [3, 4, 8, 6, 6]


def test_pooling_overlaps_and_follows_the_normalisation(small):
    names = [layer.name for layer in small.layers]
    assert names.index("conv1_tower1") < names.index("norm1_tower1") < names.index("pool1_tower1")
    assert small.get_layer("pool1_tower1").pool_size == (3, 3)
    assert small.get_layer("pool1_tower1").strides == (2, 2)
    assert not any(name.startswith("norm3") for name in names)


def test_start_of_the_paper(small):
    """Section 5: N(0, 0.01^2) and ones in the biases of conv2, conv4, conv5 and the full connections."""
    starts = {n: float(small.get_layer(f"conv{n}_tower1").bias.numpy().mean()) for n in (1, 2, 3, 4, 5)}
    assert starts == {1: 0.0, 2: 1.0, 3: 0.0, 4: 1.0, 5: 1.0}
    assert small.get_layer("fc7").bias.numpy().mean() == 1.0
    assert small.get_layer("fc7").kernel.numpy().std() == pytest.approx(0.01, rel=0.01)

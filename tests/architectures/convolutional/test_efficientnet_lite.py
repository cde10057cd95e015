from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.convolutional.efficientnet_lite import scaled_channels
from kapps.create import create_backbone, create_model
from kapps.weights.key_maps.efficientnet_lite import DEPTHS


@pytest.mark.usefixtures("without_weights")
def test_sizes_are_table_1():
    shapes = [tensor.shape[1:] for tensor in create_backbone("efficientnet_lite0").output.values()]
    assert shapes == [
        (112, 112, 32),
        (112, 112, 16),
        (56, 56, 24),
        (28, 28, 40),
        (14, 14, 80),
        (14, 14, 112),
        (7, 7, 192),
        (7, 7, 320),
        (7, 7, 1280),
    ]


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "trainable", "channels"),
    [
        ("efficientnet_lite0", 4_652_008, (32, 16, 24, 40, 80, 112, 192, 320, 1280)),
        ("efficientnet_lite1", 5_416_680, (32, 16, 24, 40, 80, 112, 192, 320, 1280)),
        ("efficientnet_lite2", 6_092_072, (32, 16, 24, 48, 88, 120, 208, 352, 1280)),
        ("efficientnet_lite3", 8_197_096, (32, 24, 32, 48, 96, 136, 232, 384, 1280)),
        ("efficientnet_lite4", 13_006_568, (32, 24, 32, 56, 112, 160, 272, 448, 1280)),
    ],
)
def test_scaling_is_the_authors(name, trainable, channels):
    """The numbers of trainable weights that the authors' own test expects."""
    model = create_model(name)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert tuple(model.get_layer(f"stage{stage}").output.shape[-1] for stage in range(1, 10)) == channels
    depthwise = [layer.name for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    stages = [name.partition("_")[0] for name in depthwise]
    assert tuple(stages.count(f"stage{stage}") for stage in range(2, 9)) == DEPTHS[name]


def test_channels_are_multiples_of_8_that_lose_at_most_a_tenth():
    assert [scaled_channels(channels, 1.4) for channels in (16, 24, 40)] == [24, 32, 56]
    assert scaled_channels(16, 0.6) == 16  # 9.6: 8 would be less than nine tenths of it
    assert scaled_channels(1, 1.0) == 8


@pytest.mark.usefixtures("without_weights")
def test_whole_blocks_are_left_out_more_often_the_deeper_they_are():
    drops = [layer for layer in create_model("efficientnet_lite0").layers if layer.name.endswith("_drop")]
    assert [layer.name for layer in drops][:2] == ["stage3_block2_drop", "stage4_block2_drop"]
    np.testing.assert_allclose([layer.rate for layer in drops][:2], [0.2 * 2 / 16, 0.2 * 4 / 16])
    assert all(layer.noise_shape == (None, 1, 1, 1) for layer in drops)
    assert [layer.rate for layer in drops] == sorted(layer.rate for layer in drops)
    plain = create_model("efficientnet_lite0", config={"drop_connect": 0.0})
    assert not [layer.name for layer in plain.layers if layer.name.endswith("_drop")]


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite4"])
def test_other_sizes(name):
    for shape, last in (((33, 65, 3), (2, 3, 1280)), ((None, None, 3), (None, None, 1280))):
        assert create_backbone(name, input_shape=shape).output["stage9"].shape[1:] == last

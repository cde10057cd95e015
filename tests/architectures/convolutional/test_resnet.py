"""What the parity tests (tests/parity/test_resnet.py) do not show."""

from __future__ import annotations

import keras
import pytest

from kapps.create import create_backbone, create_model


@pytest.fixture(scope="module")
def resnet18() -> keras.Model:
    return create_model("resnet18", input_shape=(None, None, 3), num_classes=10)


def test_depth_is_that_of_the_name(resnet18):
    kernels = [layer for layer in resnet18.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    assert len([layer for layer in kernels if "shortcut" not in layer.name]) == 18


def test_shortcuts_have_weights_only_where_the_shape_changes(resnet18):
    names = [layer.name for layer in resnet18.layers if "shortcut_conv" in layer.name]
    assert names == [f"stage{stage}_block1_shortcut_conv" for stage in (2, 3, 4)]


def test_any_input_size(resnet18):
    assert resnet18(keras.ops.zeros((1, 65, 33, 3))).shape == (1, 10)


@pytest.mark.parametrize(("name", "strides"), [("resnet50", (1, 2)), ("resnet50_v1", (2, 1))])
def test_the_place_of_the_stride(name, strides):
    backbone = create_backbone(name, input_shape=(64, 64, 3))
    for stage in (2, 3, 4):
        found = [backbone.get_layer(f"stage{stage}_block1_conv{number}").strides[0] for number in (1, 2)]
        assert tuple(found) == strides
    sides = [tensor.shape[1] for tensor in backbone.output.values()]
    assert sides == [32, 16, 16, 8, 4, 2]


def test_v2_halves_in_the_last_block_of_a_stage():
    backbone = create_backbone("resnet50_v2", input_shape=(64, 64, 3))
    sides = {name: tensor.shape[1] for name, tensor in backbone.output.items()}
    assert sides == {"stem": 32, "pool": 16, "stage1": 8, "stage2": 4, "stage3": 2, "stage4": 2, "final": 2}
    strided = {layer.name for layer in backbone.layers if getattr(layer, "strides", None) == (2, 2)}
    blocks = ("stage1_block3", "stage2_block4", "stage3_block6")
    assert strided == {"stem", "pool", *(f"{block}_{part}" for block in blocks for part in ("conv2", "shortcut"))}

from __future__ import annotations

import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
def test_sizes_are_figures_3_and_9():
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("inception_v4").output.items()}
    assert len(shapes) == 1 + 3 + 4 + 1 + 7 + 1 + 3
    assert shapes["stem_relu3"] == (147, 147, 64)
    assert shapes["stem4"] == (73, 73, 160)
    assert shapes["stem5"] == (71, 71, 192)
    assert shapes["stem6"] == shapes["a4"] == (35, 35, 384)
    assert shapes["reduction_a"] == shapes["b7"] == (17, 17, 1024)
    assert shapes["reduction_b"] == shapes["c3"] == (8, 8, 1536)


@pytest.mark.usefixtures("without_weights")
def test_trainable_parameters_are_timm_s():
    model = create_model("inception_v4")
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 42_679_816


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize("shape", [(75, 75, 3), (None, None, 3)])
def test_other_sizes_and_depths(shape):
    model = create_model("inception_v4", input_shape=shape, config={"repeats": (1, 1, 1)})
    assert model.output_shape == (None, 1000)
    assert "a2" not in {layer.name for layer in model.layers}

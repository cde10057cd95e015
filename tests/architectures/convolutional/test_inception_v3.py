from __future__ import annotations

import numpy as np
import pytest

from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.usefixtures("without_weights")
def test_sizes_are_table_1():
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("inception_v3").output.items()}
    assert shapes["stem2_pool1"] == (35, 35, 192)
    assert shapes["mixed_5d"] == (35, 35, 288)
    assert shapes["mixed_6e"] == (17, 17, 768)
    assert shapes["mixed_7a"] == (8, 8, 1280)
    assert shapes["mixed_7c"] == (8, 8, 2048)


@pytest.mark.usefixtures("without_weights")
def test_parameters_with_the_auxiliary_classifier_are_torchvision_s():
    assert trainable(create_model("inception_v3_torchvision", auxiliary=True)) == 27_161_264
    assert trainable(create_model("inception_v3")) == 23_817_352  # keras.applications


@pytest.mark.usefixtures("without_weights")
def test_auxiliary_classifier_needs_the_full_size():
    model = create_model("inception_v3", num_classes=5, auxiliary=True)
    assert {name: tensor.shape for name, tensor in model.output.items()} == {
        "predictions": (None, 5),
        "aux1": (None, 5),
    }
    assert model.get_layer("aux1_conv2").output.shape[1:] == (1, 1, 768)
    with pytest.raises(RecipeError, match="inception_v3 cannot be built on input_shape"):
        create_model("inception_v3", input_shape=(139, 139, 3), auxiliary=True)


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize("shape", [(75, 75, 3), (None, None, 3)])
def test_other_sizes(shape):
    assert create_model("inception_v3", input_shape=shape).output_shape == (None, 1000)

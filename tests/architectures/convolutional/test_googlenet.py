from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.convolutional.googlenet import MODULES
from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError

# Table 1: output channels and "params" (in K = 1024) of each module.
PRINTED = {
    "inception_3a": (256, 159),
    "inception_3b": (480, 380),
    "inception_4a": (512, 364),
    "inception_4b": (512, 437),
    "inception_4c": (512, 463),
    "inception_4d": (528, 580),
    "inception_4e": (832, 840),
    "inception_5a": (832, 1072),
    "inception_5b": (1024, 1388),
}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.usefixtures("without_weights")
def test_channels_and_parameters_are_table_1():
    backbone = create_backbone("googlenet")
    kernels = dict.fromkeys(MODULES, 0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith("inception"):
            kernels[layer.name.partition("_branch")[0]] += int(np.prod(layer.kernel.shape))
    for name, (channels, thousands) in PRINTED.items():
        assert backbone.output[name].shape[-1] == channels
        assert kernels[name] / 1024 == pytest.approx(thousands, rel=0.08)  # the table is that far off in 4c


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "count", "with_auxiliary"),
    [
        ("googlenet", 6_998_552, 13_378_280),  # BVLC's Caffe model, in use and in training
        ("googlenet_bn", 6_624_904, 13_004_888),  # torchvision, without and with aux_logits
    ],
)
def test_trainable_parameters(name, count, with_auxiliary):
    assert trainable(create_model(name)) == count
    assert trainable(create_model(name, auxiliary=True)) == with_auxiliary


@pytest.mark.usefixtures("without_weights")
def test_sizes_at_each_stage():
    features = {name: tensor.shape[1:3] for name, tensor in create_backbone("googlenet").output.items()}
    assert features["stem1_pool1"] == (56, 56)
    assert features["inception_3b"] == (28, 28)
    assert features["inception_4e"] == (14, 14)
    assert features["inception_5b"] == (7, 7)


@pytest.mark.usefixtures("without_weights")
def test_unknown_size():
    assert create_model("googlenet", input_shape=(None, None, 3)).output_shape == (None, 1000)
    with pytest.raises(RecipeError, match="googlenet cannot be built on input_shape"):
        create_model("googlenet", input_shape=(64, 64, 3), auxiliary=True)  # the paper's 5x5 pool does not fit


def test_each_output_has_its_own_path_of_gradients():
    model = create_model("googlenet_bn", num_classes=3, input_shape=(32, 32, 3), auxiliary=True)
    assert set(model.output) == {"predictions", "aux1", "aux2"}
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    names = ["stem1_conv1", "inception_4b_branch1_conv1", "inception_4e_branch1_conv1", "aux1_fc1", "aux2_fc1"]
    kernels = [model.get_layer(name).kernel.value for name in names]
    with tf.GradientTape(persistent=True) as tape:
        outputs = {name: output[:, 0] for name, output in model(images, training=True).items()}
    reached = {
        output: [name for name, slope in zip(names, tape.gradient(score, kernels), strict=True) if slope is not None]
        for output, score in outputs.items()
    }
    assert reached == {
        "aux1": ["stem1_conv1", "aux1_fc1"],
        "aux2": ["stem1_conv1", "inception_4b_branch1_conv1", "aux2_fc1"],
        "predictions": ["stem1_conv1", "inception_4b_branch1_conv1", "inception_4e_branch1_conv1"],
    }

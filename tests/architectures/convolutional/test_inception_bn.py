from __future__ import annotations

import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
def test_sizes_and_channels_are_figure_5():
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("inception_bn").output.items()}
    assert shapes == {
        "stem1_pool1": (56, 56, 64),
        "stem2_pool1": (28, 28, 192),
        "inception_3a": (28, 28, 256),
        "inception_3b": (28, 28, 320),
        "inception_3c": (14, 14, 576),
        "inception_4a": (14, 14, 576),
        "inception_4b": (14, 14, 576),
        "inception_4c": (14, 14, 608),  # 160 + 160 + 160 + 128; the figure says 576
        "inception_4d": (14, 14, 608),
        "inception_4e": (7, 7, 1056),
        "inception_5a": (7, 7, 1024),
        "inception_5b": (7, 7, 1024),
    }


def _numbers(model):
    """(numbers in kernels and the last layer, normalised channels)."""
    channels = sum(layer.moving_mean.shape[0] for layer in model.layers if hasattr(layer, "moving_mean"))
    return model.count_params() - 4 * channels, channels


@pytest.mark.usefixtures("without_weights")
def test_parameters_are_the_caffe_model_s():
    kernels, channels = _numbers(create_model("inception_bn"))
    assert kernels + 3 * channels == 11_295_240  # there with a bias, a scale and a shift for each channel


@pytest.mark.usefixtures("without_weights")
def test_parameters_of_the_small_form_are_the_paper_s():
    kernels, channels = _numbers(create_model("inception_bn_cifar"))
    assert kernels + channels == 1_649_402  # Zhang et al., table 1


@pytest.mark.usefixtures("without_weights")
def test_small_form_takes_the_paper_s_pieces_and_any_size():
    assert create_model("inception_bn_cifar", input_shape=(28, 28, 3)).get_layer("inception_5b").output.shape[1:] == (
        *(7, 7),
        336,
    )
    assert create_model("inception_bn_cifar", input_shape=(None, None, 1)).output_shape == (None, 10)


def test_small_form_learns():
    model = create_model("inception_bn_cifar", num_classes=2)
    labels = np.arange(16) % 2
    images = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype("float32") * 0.1 + labels[:, None, None, None]
    model.compile("adam", loss="sparse_categorical_crossentropy", run_eagerly=True)
    losses = [float(model.train_on_batch(images, labels)) for _ in range(4)]
    assert losses[-1] < 0.5 * losses[0]

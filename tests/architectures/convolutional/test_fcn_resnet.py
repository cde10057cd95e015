from __future__ import annotations

import numpy as np
import pytest

from kapps.create import create_backbone, create_model


@pytest.mark.usefixtures("without_weights")
def test_the_map_stays_at_an_eighth_and_kernels_spread():
    model = create_backbone("fcn_resnet50", input_shape=(520, 480, 3))
    assert {name: tensor.shape[1:3] for name, tensor in model.output.items()} == {
        **{"pixels": (520, 480), "stem": (260, 240), "pool": (130, 120), "stage1": (130, 120)},
        **{"stage2": (65, 60), "stage3": (65, 60), "stage4": (65, 60)},
    }
    spread = [model.get_layer(f"stage{s}_block{b}_conv2").dilation_rate[0] for s in (2, 3, 4) for b in (1, 2, 3)]
    assert spread == [1, 1, 1, 1, 2, 2, 2, 4, 4]


@pytest.mark.usefixtures("without_weights")
def test_weights_with_the_auxiliary_head_are_torchvision_s():
    """35,322,218 trained numbers in torchvision's documentation; the moving statistics are ours to count."""
    model = create_model("fcn_resnet50", auxiliary=True, classifier_activation=None)
    assert set(model.output) == {"predictions", "aux"}
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 35_322_218


@pytest.mark.slow
def test_answers_have_the_size_of_any_image():
    model = create_model("fcn_resnet50", input_shape=(None, None, 3), num_classes=3)
    for size in ((33, 50), (64, 64)):
        answers = model(np.random.default_rng(0).random((1, *size, 3), dtype="float32"))
        assert answers.shape == (1, *size, 3)
        np.testing.assert_allclose(np.sum(answers, axis=-1), 1, rtol=1e-5)

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.convolutional import fcn
from kapps.create import create_backbone, create_model

NARROW = {"filters": (4, 4, 4, 4, 4), "units": 4}


def crops(model: keras.Model) -> dict[str, int]:
    return {layer.name: layer.offset for layer in model.layers if type(layer).__name__ == "CropLike"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fcn32s", {"scores": 19}),
        ("fcn16s", {"score_pool4_crop": 5, "scores": 27}),
        ("fcn8s", {"score_pool4_crop": 5, "score_pool3_crop": 9, "scores": 31}),
    ],
)
def test_crops_are_those_of_the_published_networks(name, expected):
    """The offsets in the authors' train.prototxt files, which follow here from the geometry."""
    assert crops(create_model(name, config=NARROW)) == expected


@pytest.mark.usefixtures("without_weights")
def test_sizes_are_those_of_the_table():
    model = create_backbone("fcn8s")
    sides = {name: tensor.shape[1] for name, tensor in model.output.items()}
    assert sides == {
        **{"pixels": 500, "pool1": 349, "pool2": 175, "pool3": 88, "pool4": 44, "pool5": 22},
        **{"fc6": 16, "fc7": 16},
    }
    scores = create_model("fcn8s")
    assert [scores.get_layer(f"score_stride{stride}").output.shape[1] for stride in (16, 8, 1)] == [34, 70, 568]


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "fcn_scenes"])
@pytest.mark.parametrize("size", [(1, 1), (37, 52), (64, 33)])
def test_answers_have_the_size_of_any_image(name, size):
    config = NARROW if name != "fcn_scenes" else {}
    model = create_model(name, input_shape=(None, None, 3), num_classes=4, config=config)
    assert model.output_shape == (None, None, None, 4)
    answers = model(np.random.default_rng(0).random((1, *size, 3), dtype="float32"))
    assert answers.shape == (1, *size, 4)
    np.testing.assert_allclose(np.sum(answers, axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "fcn_scenes"])
def test_scores_lie_over_the_pixels_they_are_about(name):
    """A ramp pooled by the mean and enlarged again must be the ramp: with all convolutions passing their input on,
    every path to the answer shows whether it is aligned."""
    size, stages = 96, len(fcn.VARIANTS[name].depths)
    config = {"filters": (1,) * stages, "units": 1, "batch_normalization": False, "dropout_rate": 0.0}
    model = create_model(name, input_shape=(size, size, 1), num_classes=1, classifier_activation=None, config=config)
    paths = [layer.name for layer in model.layers if layer.name.startswith("score_pool") and "crop" not in layer.name]
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, "float32")
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1
            layer.set_weights([kernel, np.zeros(1, "float32")])
    row = np.arange(size, dtype="float32") + 200
    ramp = np.broadcast_to(row, (1, size, size))[..., None] + row[:, None, None] * 0
    centre = slice(40, 56)
    for path in ["score", *paths]:
        for other in ["score", *paths]:
            kernel = np.full((1, 1, 1, 1), float(other == path), "float32")
            model.get_layer(other).set_weights([kernel, np.zeros(1, "float32")])
        answer = np.asarray(model(ramp))[0, centre, centre, 0]
        # Maximum pooling sees the right edge of each 2x2: the middle of its pixels lies half a stride to the left.
        stride = 2 ** int(path[-1]) if path != "score" else 2**stages
        np.testing.assert_allclose(answer - row[centre], (stride - 1) / 2, atol=1e-3, err_msg=path)


def test_scores_start_at_zero_and_all_classes_equal():
    model = create_model("fcn_scenes")
    answers = model(np.random.default_rng(0).random((1, 64, 64, 3), dtype="float32"))
    np.testing.assert_allclose(answers, 1 / 19, rtol=1e-6)


def test_crf_behind_and_in_training():
    image = np.random.default_rng(0).random((1, 24, 24, 3), dtype="float32")
    answers, trainable = {}, {}
    for crf in ("none", "behind", "end_to_end"):
        keras.utils.set_random_seed(0)
        model = create_model("fcn_scenes", input_shape=(24, 24, 3), config={"crf": crf})
        kernel = np.random.default_rng(1).normal(scale=0.2, size=(1, 1, 128, 19))
        model.get_layer("score").set_weights([kernel, np.zeros(19)])
        answers[crf] = np.asarray(model(image))
        answers[f"{crf}, training"] = np.asarray(model(image, training=True))
        trainable[crf] = len(model.trainable_weights)
    assert trainable["behind"] == trainable["none"] == trainable["end_to_end"] - 3
    assert np.abs(answers["behind"] - answers["none"]).max() > 1e-3
    np.testing.assert_allclose(answers["behind"], answers["end_to_end"], atol=1e-6)
    np.testing.assert_allclose(answers["behind, training"], answers["none, training"], atol=1e-6)
    assert np.abs(answers["end_to_end, training"] - answers["none, training"]).max() > 1e-3

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.architectures.convolutional import overfeat
from kapps.create import create_backbone, create_model
from kapps.layers.offset_pooling import OffsetMaxPooling2D

# The accurate net with few maps: all sizes in pixels stay.
NARROW = {
    "convolutions": [(4, *row[1:]) for row in overfeat.VARIANTS["overfeat_accurate"].convolutions],
    "units": (8, 6),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = create_model("overfeat_accurate", input_shape=(None, None, 3), num_classes=5, config=NARROW)
    for weight in model.weights:  # the paper's small Gaussian would let all scores be nearly alike
        weight.assign(weight * 20)
    return model


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((1, 281, 317, 3), dtype="float32")


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "sides", "millions"),
    [
        ("overfeat_fast", [56, 24, 12, 12, 12, 6, 1, 1], 145),
        ("overfeat_accurate", [108, 30, 15, 15, 15, 15, 5, 1, 1], 144),
    ],
)
def test_sizes_are_tables_1_3_and_4(name, sides, millions):
    assert [tensor.shape[1] for tensor in create_backbone(name).output.values()] == sides
    assert int(create_model(name).count_params() / 1e6) == millions


@pytest.mark.parametrize(
    ("height", "width", "before_pooling", "answers"),
    [  # from table 5 of the paper: scales, the maps before the last pooling, and the places of all 3x3 offsets
        (245, 245, (17, 17), (3, 3)),
        (281, 317, (20, 23), (6, 9)),
        (317, 389, (23, 29), (9, 15)),
        (461, 569, (35, 44), (21, 30)),
    ],
)
@pytest.mark.usefixtures("without_weights")
def test_scales_of_table_5(height, width, before_pooling, answers):
    model = create_model("overfeat_accurate", input_shape=(height, width, 3), num_classes=2, config=NARROW)
    assert model.get_layer("conv6").output.shape[1:3] == before_pooling
    pooled = OffsetMaxPooling2D(3).compute_output_shape((1, *before_pooling, 4))[1:3]
    assert tuple((side - 4) * 3 for side in pooled) == answers


def test_a_larger_image_gives_the_answers_of_its_windows(model, image):
    """Before the padded convolutions a window's features are exactly a part of the whole image's."""
    early = keras.Model(model.input, model.get_layer("pool2").output)
    window = image[:, 36 : 36 + 221, 72 : 72 + 221]  # a stride is 2 * 3 * 2 pixels
    np.testing.assert_allclose(early(window), early(image)[:, 3:18, 6:21], rtol=1e-4, atol=1e-5)
    maps = keras.Model(model.input, model.get_layer("class_map").output)(image)
    assert maps.shape == (1, 2, 3, 5)
    expected = np.asarray(maps).max(axis=(1, 2))
    expected = np.exp(expected) / np.exp(expected).sum()
    np.testing.assert_allclose(model(image), expected, rtol=1e-4)


def test_densely_evaluates_every_offset_of_the_last_pooling(model, image):
    fine = np.asarray(overfeat.densely(model)(image))
    assert fine.shape == (1, 6, 9, 5)
    pooling = model.get_layer("pooled")
    before = np.asarray(keras.Model(model.input, pooling.input)(image))
    assert before.shape[1:3] == (20, 23)
    head = keras.Model(pooling.output, model.get_layer("class_map").output)
    for y in range(3):
        for x in range(3):
            shifted = keras.layers.MaxPooling2D(3)(before[:, y : y + 18, x : x + 21])
            np.testing.assert_allclose(fine[:, y::3, x::3], head(shifted), rtol=1e-4, atol=1e-5)
    coarse = keras.Model(model.input, model.get_layer("class_map").output)(image)
    np.testing.assert_allclose(fine[:, ::3, ::3], coarse, rtol=1e-4, atol=1e-5)


def test_densely_needs_a_model_for_all_sizes():
    fixed = create_model("overfeat_accurate", num_classes=2, config=NARROW)
    with pytest.raises(ValueError, match=r"create it with input_shape=\(None, None, 3\)"):
        overfeat.densely(fixed)


def test_regressor_learns_boxes_on_kept_features(model, image):
    keras.utils.set_random_seed(1)
    config = overfeat.OverFeatConfig(window=5, **{key: tuple(value) for key, value in NARROW.items()})
    features = {"pooled": model.get_layer("pooled").output}
    localiser = keras.Model(model.input, overfeat.localise(config, features, 3))
    assert [layer.kernel.shape[-1] for layer in localiser.layers if "box" in layer.name] == [4096, 1024, 12]
    for layer in localiser.layers:
        layer.trainable = "box" in layer.name
    localiser.compile(keras.optimizers.Adam(1e-3), "mse")
    crop = image[:, :221, :221]
    target = np.tile(np.array([0.1, 0.2, 0.8, 0.9], "float32"), 3).reshape(1, 1, 1, 12)
    before = model.get_weights()
    losses = [float(localiser.train_on_batch(crop, target)) for _ in range(10)]
    assert losses[-1] < losses[0] / 4
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert overfeat.densely(keras.Model(model.input, localiser.output), "boxes")(image).shape == (1, 6, 9, 12)

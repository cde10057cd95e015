from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import RecipeError
from kapps.heads import classification
from kapps.optimizers.layerwise import layerwise
from kapps.training.fine_tuning import groups_of, hold, let_go, rates_of, unfreeze


@pytest.fixture
def trunk():
    """Two stages; the second takes the first, and both have a batch normalisation."""
    image = x = keras.Input((6, 6, 2))
    features = {}
    for stage in (1, 2):
        x = keras.layers.Conv2D(3, 3, padding="same", name=f"stage{stage}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"stage{stage}_bn")(x)
        features[f"stage{stage}"] = x = keras.layers.ReLU(name=f"stage{stage}")(x)
    return keras.Model(image, features)


@pytest.fixture
def model(trunk):
    return keras.Model(trunk.input, classification.classify(trunk.output["stage2"], 3, "softmax"))


GROUPS = (("stage1_conv", "stage1_bn"), ("stage2_conv", "stage2_bn"), ("predictions",))
IMAGES = np.random.default_rng(0).normal(1, 2, (16, 6, 6, 2)).astype(np.float32)
LABELS = np.arange(16) % 3


def weights_of(model):
    return {variable.path: variable.numpy() for variable in model.weights}


def moved(model, before):
    return {path for path, value in weights_of(model).items() if not np.array_equal(value, before[path])}


def test_a_group_holds_what_its_feature_needs_beyond_the_earlier_ones(model, trunk):
    assert groups_of(model, trunk) == GROUPS


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_only_the_last_groups_move_and_batch_norms_stay_unless_asked(model, count, batch_norm):
    unfreeze(model, GROUPS, count, batch_norm=batch_norm)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    before = weights_of(model)
    model.fit(IMAGES, LABELS, batch_size=8, epochs=2, verbose=0)
    layers = {path.split("/")[-2] for path in moved(model, before)}
    expected = {name for group in GROUPS[-count:] for name in group}
    assert layers == {name for name in expected if batch_norm or not name.endswith("bn")}


def test_a_batch_norm_that_stays_normalises_by_its_own_statistics_in_training(model):
    unfreeze(model, GROUPS, 3)
    np.testing.assert_allclose(model(IMAGES, training=True), model(IMAGES, training=False), rtol=1e-5)
    unfreeze(model, GROUPS, 3, batch_norm=True)
    assert np.abs(model(IMAGES, training=True) - model(IMAGES, training=False)).max() > 1e-3


@pytest.mark.parametrize("count", [0, 4])
def test_another_number_of_groups_is_refused(model, count):
    with pytest.raises(RecipeError, match="expected 1 to 3 groups to move, got"):
        unfreeze(model, GROUPS, count)


def test_the_rates_fall_from_the_head_to_the_input(model):
    optimizer = layerwise(keras.optimizers.SGD(1.0), rates_of(GROUPS, decay=0.5))
    optimizer.build(model.trainable_variables)
    found = {v.path.split("/")[-2]: f for v, f in zip(model.trainable_variables, optimizer.factors, strict=True)}
    assert found == {"stage1_conv": 0.25, "stage1_bn": 0.25, "stage2_conv": 0.5, "stage2_bn": 0.5, "predictions": 1}


def test_the_penalty_is_the_papers(model):
    """By hand: pull / 2 |w - start|^2 over what was pre-trained, decay / 2 |w|^2 over the head's kernel."""
    unfreeze(model, GROUPS, 2)
    hold(model, GROUPS, pull=0.3, decay=0.2)
    head = model.get_layer("predictions").kernel.numpy()
    assert float(sum(model.losses)) == pytest.approx(0.1 * (head**2).sum(), rel=1e-5)
    conv = model.get_layer("stage2_conv")
    kernel, bias = conv.get_weights()
    conv.set_weights([kernel + 0.5, bias - 1])
    model.get_layer("stage1_conv").set_weights([w + 1 for w in model.get_layer("stage1_conv").get_weights()])  # frozen
    expected = 0.1 * (head**2).sum() + 0.15 * (0.25 * kernel.size + bias.size)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    let_go(model)
    assert not model.losses


def test_a_strong_pull_keeps_the_weights_where_they_were(model):
    distances = []
    start = model.get_weights()
    for pull in (0.0, 100.0):
        model.set_weights(start)
        unfreeze(model, GROUPS, 3)
        hold(model, GROUPS, pull=pull, decay=0.0)
        model.compile(keras.optimizers.SGD(0.005), "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(IMAGES, LABELS, epochs=20, batch_size=16, verbose=0)
        distances.append(np.abs(model.get_layer("stage1_conv").kernel.numpy() - start[0]).max())
    assert distances[1] < 0.3 * distances[0]


def test_a_negative_pull_is_refused(model):
    with pytest.raises(RecipeError, match="expected pull and decay of at least 0, got -1 and 0"):
        hold(model, GROUPS, pull=-1, decay=0)

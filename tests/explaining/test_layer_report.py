from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kapps.errors import DataError
from kapps.explaining.layer_report import COLUMNS, as_table, effective_rank, layer_report


@pytest.fixture(scope="module")
def model():
    """A 1x1 convolution: one channel copies, one is its half, one is always off; then means and two classes."""
    image = keras.Input((4, 4, 1))
    x = layers.Conv2D(3, 1, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="means")(x)
    model = keras.Model(image, layers.Dense(2, activation="softmax", use_bias=False, name="scores")(x))
    model.set_weights(
        [np.array([[[[1.0, 0.5, -1.0]]]]), np.array([0.0, 0.0, -1.0]), np.array([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])]
    )
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0.5, 1.5, (6, 4, 4, 1)).astype(np.float32)


def test_a_row_by_hand(model, images):
    conv, means, scores = layer_report(model, images)
    assert [row.name for row in (conv, means, scores)] == ["conv", "means", "scores"]
    assert (conv.kind, conv.shape, means.shape, scores.shape) == ("Conv2D", (4, 4, 3), (3,), (2,))
    said = images * np.array([1.0, 0.5, 0.0])
    assert conv.mean == pytest.approx(said.mean(), rel=1e-5)
    assert conv.std == pytest.approx(said.std(), rel=1e-5)
    assert (conv.dead, means.dead, scores.dead) == (pytest.approx(1 / 3), pytest.approx(1 / 3), 0)
    assert conv.effective_rank == pytest.approx(1, abs=1e-3)  # all on one line
    # the predicted class is 0 with the evidence 2 * mean of the first channel: 2 / 16 at each of 16 places
    assert means.gradient == pytest.approx(np.linalg.norm([2, 0, 5]), rel=1e-5)
    assert conv.gradient == pytest.approx(np.linalg.norm([2, 0, 5]) / 16 * 4, rel=1e-5)
    assert (conv.receptive_field, conv.stride) == ((1, 1), (1, 1))
    assert (means.receptive_field, means.stride) == (None, None)


def test_with_labels_the_gradient_is_the_loss_s(model, images):
    labels = np.array([0, 1, 0, 1, 1, 0])
    means = layer_report(model, images, labels=labels)[1]
    weights = np.array([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    wrong = model(images).numpy() - np.eye(2)[labels]  # d cross-entropy / d logits
    assert means.gradient == pytest.approx(np.linalg.norm(wrong @ weights.T, axis=1).mean(), rel=1e-4)


def test_effective_rank():
    assert effective_rank(np.eye(5)) == pytest.approx(5)
    assert effective_rank(np.outer([1, 2, 3], [4, 5])) == pytest.approx(1)
    assert effective_rank(np.zeros((3, 3))) == 0
    shares = np.array([3, 1]) / 4  # singular values 3 and 1, by hand
    assert effective_rank(np.diag([3.0, -1.0])) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_a_layer_within_a_model_and_one_behind_a_step_without_gradient(images):
    class Rounded(layers.Layer):
        def call(self, x):
            return keras.ops.cast(keras.ops.cast(x, "int32"), "float32")

    inner = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, name="conv")], name="trunk")
    image = keras.Input((4, 4, 1))
    x = Rounded(name="rounded")(inner(image))
    model = keras.Model(image, layers.Dense(2, name="scores")(layers.Flatten(name="flat")(x)))
    rows = {row.name: row for row in layer_report(model, images)}
    assert set(rows) == {"trunk/conv", "trunk", "rounded", "flat", "scores"}
    assert rows["trunk/conv"].receptive_field == rows["rounded"].receptive_field == (3, 3)
    assert rows["trunk/conv"].gradient is None
    assert rows["scores"].gradient == pytest.approx(1)


def test_the_table_has_a_line_a_layer(model, images):
    rows = layer_report(model, images[:1])
    lines = as_table(rows).splitlines()
    assert len(lines) == 1 + len(rows)
    assert [word.strip() for word in lines[0].split("  ") if word.strip()] == list(COLUMNS)
    assert lines[1].split()[:3] == ["conv", "Conv2D", "4x4x3"]
    assert lines[2].split()[-1] == "all"


def test_wrong_arguments_are_refused(model, images, linear):
    with pytest.raises(DataError, match=r"a label for each, got \[6, 4, 4, 1\] and 2 labels"):
        layer_report(model, images, labels=[0, 1])
    with pytest.raises(DataError, match=r"expected images \[B, h, w, c\]"):
        layer_report(model, images[0])
    with pytest.raises(DataError, match="labels need a model that ends in a softmax"):
        layer_report(linear, np.ones((1, 4, 5, 2), np.float32), labels=[0])

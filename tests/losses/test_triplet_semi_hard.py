"""The triplet loss against its definition in plain numpy, by hand and by numerical gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.losses import get_loss
from kapps.losses.triplet_semi_hard import TripletSemiHard


def oracle(labels, embeddings, margin):
    """Pair by pair, as the paper says it."""
    losses = []
    for anchor in range(len(labels)):
        distance = ((embeddings - embeddings[anchor]) ** 2).sum(axis=-1)
        negatives = distance[labels != labels[anchor]]
        for positive in np.flatnonzero(labels == labels[anchor]):
            if positive == anchor or not len(negatives):
                continue
            beyond = negatives[negatives > distance[positive]]
            negative = beyond.min() if len(beyond) else negatives.max()
            losses.append(max(0.0, distance[positive] - negative + margin))
    return float(np.mean(losses)) if losses else 0.0


def on_sphere(shape, seed):
    points = np.random.default_rng(seed).normal(size=shape)
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def test_by_hand():
    # on a line: anchor 0.0 and positive 0.5 of class 7, negatives at 0.4 (nearer: not semi-hard), 0.6 and 2.0
    embeddings = np.array([[0.0], [0.5], [0.4], [0.6], [2.0]])
    labels = np.array([7, 7, 1, 2, 3])
    # pair (0.0, 0.5): 0.25 - 0.36 + 0.2; pair (0.5, 0.0): the negative beyond 0.25 is 2.0 at 2.25: nothing to pay
    expected = (0.25 - 0.36 + 0.2) / 2
    assert float(TripletSemiHard()(labels, embeddings)) == pytest.approx(expected, abs=1e-6)
    per_anchor = TripletSemiHard(reduction=None)(labels, embeddings)
    np.testing.assert_allclose(per_anchor, [5 * expected, 0, 0, 0, 0], atol=1e-6)


def test_no_negative_beyond_the_positive_takes_the_farthest():
    embeddings = np.array([[0.0], [3.0], [1.0], [2.0]])
    labels = np.array([[0], [0], [1], [2]])
    # from 0.0: positive at 9, negatives at 1 and 4; from 3.0: positive at 9, negatives at 4 and 1
    assert float(TripletSemiHard(margin=0.5)(labels, embeddings)) == pytest.approx(9 - 4 + 0.5)


@pytest.mark.parametrize("margin", [0.2, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_against_the_definition(seed, margin):
    labels = np.random.default_rng(seed).integers(0, 5, 24)
    embeddings = on_sphere((24, 3), seed)
    expected = oracle(labels, embeddings, margin)
    assert expected > 0
    assert float(TripletSemiHard(margin)(labels, embeddings.astype("float32"))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("labels", [[1, 2, 3, 4], [5, 5, 5, 5]])
def test_without_a_triplet_the_loss_and_its_gradient_are_zero(labels):
    points = tf.Variable(on_sphere((4, 3), 0))
    with tf.GradientTape() as tape:
        loss = TripletSemiHard(dtype="float64")(np.array(labels), points)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, points), np.zeros((4, 3)))


def test_numerical_gradient():
    points, labels = on_sphere((10, 3), 4), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 4])
    loss = TripletSemiHard(dtype="float64")
    with tf.GradientTape() as tape:
        variable = tf.Variable(points)
        value = loss(labels, variable)
    gradient = tape.gradient(value, variable).numpy()
    assert np.abs(gradient).max() > 0.1
    for index in np.ndindex(points.shape):
        step = np.zeros_like(points)
        step[index] = 1e-6
        slope = (float(loss(labels, points + step)) - float(loss(labels, points - step))) / 2e-6
        assert gradient[index] == pytest.approx(slope, abs=1e-6)


def test_compiled_by_xla_and_without_a_known_batch():
    labels, points = np.array([0, 0, 1, 1, 2]), on_sphere((5, 4), 2).astype("float32")
    loss = TripletSemiHard()
    call = tf.function(
        loss, jit_compile=True, input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 4], tf.float32)]
    )
    assert float(call(labels, points)) == pytest.approx(float(loss(labels, points)), rel=1e-5)


def test_trains_an_embedding():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 64)
    inputs = np.eye(4)[labels] + rng.normal(scale=0.6, size=(64, 4))
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(16, "relu"),
        keras.layers.Dense(3),
        keras.layers.UnitNormalization(),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.01), loss=get_loss("triplet_semi_hard"))
    before = oracle(labels, model(inputs).numpy(), 0.2)
    model.fit(inputs, labels, batch_size=64, epochs=60, verbose=0)
    assert oracle(labels, model(inputs).numpy(), 0.2) < 0.5 * before


def test_margin_is_checked_and_kept():
    with pytest.raises(ValueError, match="margin must be above 0, got 0"):
        TripletSemiHard(margin=0)
    assert TripletSemiHard.from_config(TripletSemiHard(margin=0.3).get_config()).margin == 0.3

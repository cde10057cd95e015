from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps.layers.dense_crf
from kapps.data.scenes import make_scene
from kapps.layers.dense_crf import DenseCRF

NARROW = {"theta_alpha": 4.0, "theta_beta": 90.0, "theta_gamma": 2.0, "appearance": 0.7, "smoothness": 0.4}


def oracle(scores, image, compatibility, iterations, normalization, theta_alpha, theta_beta, theta_gamma, **weights):
    """Algorithm 1 of both papers, with the kernel of all pairs written down, in float64."""
    answers = []
    for unary, pixels in zip(scores.astype("float64"), image.astype("float64"), strict=True):
        height, width, labels = unary.shape
        unary = unary.reshape(-1, labels)
        place = np.indices((height, width)).reshape(2, -1).T
        near = ((place[:, None] - place) ** 2).sum(-1)
        colours = pixels.reshape(height * width, -1)
        alike = ((colours[:, None] - colours) ** 2).sum(-1)
        kernels = [
            np.exp(-near / (2 * theta_alpha**2) - alike / (2 * theta_beta**2)),
            np.exp(-near / (2 * theta_gamma**2)),
        ]
        for kernel in kernels:
            np.fill_diagonal(kernel, 0)
            rows = kernel.sum(axis=1)
            if normalization == "mean":
                kernel /= rows[:, None]
            elif normalization == "symmetric":
                kernel /= np.sqrt(np.outer(rows, rows))
        updated = unary
        for _ in range(iterations):
            q = np.exp(updated - updated.max(axis=1, keepdims=True))
            q /= q.sum(axis=1, keepdims=True)
            message = weights["appearance"] * (kernels[0] @ q) + weights["smoothness"] * (kernels[1] @ q)
            updated = unary - message @ compatibility.T
        answers.append(updated.reshape(height, width, labels))
    return np.array(answers)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 6, 5, 4)).astype("float32")
    return scores, rng.uniform(0, 255, size=(2, 6, 5, 3)).astype("float32")


def test_two_pixels_by_hand():
    """One unit apart, of the same colour: both kernels are exp(-1/2) with all widths 1."""
    scores = np.log(np.float32([[[[0.8, 0.2], [0.5, 0.5]]]]))
    layer = DenseCRF(1, 1.0, 1.0, 1.0, appearance=2.0, smoothness=1.0, normalization="none")
    answer = layer(scores, np.zeros((1, 1, 2, 1), "float32")).numpy()[0, 0]
    k = 3 * np.exp(-0.5)  # both weights together
    # The second pixel gets 0.8 k and 0.2 k; Potts charges each label with what the others got.
    np.testing.assert_allclose(answer[1], np.log(0.5) - k * np.array([0.2, 0.8]), rtol=1e-5)
    np.testing.assert_allclose(answer[0], np.log([0.8, 0.2]) - k * np.array([0.5, 0.5]), rtol=1e-5)


@pytest.mark.parametrize("normalization", ["none", "mean", "symmetric"])
def test_against_all_pairs(data, normalization):
    """The layer's answer after three iterations; what both papers call Q is its softmax."""
    expected = oracle(*data, 1 - np.eye(4), 3, normalization, **NARROW)
    answer = DenseCRF(3, normalization=normalization, **NARROW)(*data)
    np.testing.assert_allclose(answer, expected, atol=2e-6 * np.abs(expected).max())


def test_weights_of_each_label_and_an_uneven_compatibility(data):
    layer = DenseCRF(2, normalization="mean", **NARROW)
    layer(*data)
    rng = np.random.default_rng(1)
    appearance, smoothness = rng.uniform(size=(2, 4)).astype("float32")
    compatibility = rng.normal(size=(4, 4)).astype("float32")
    layer.set_weights([appearance, smoothness, compatibility])
    weights = {**NARROW, "appearance": appearance, "smoothness": smoothness}
    np.testing.assert_allclose(layer(*data), oracle(*data, compatibility, 2, "mean", **weights), atol=1e-5)


def test_blocks_change_nothing(data, monkeypatch):
    whole = DenseCRF(2, **NARROW)(*data)
    monkeypatch.setattr(kapps.layers.dense_crf, "_PAIRS_AT_ONCE", 7 * 30)  # 7 of the 30 pixels: the last block has 2
    np.testing.assert_allclose(DenseCRF(2, **NARROW)(*data), whole, atol=1e-5)


@pytest.mark.parametrize("method", ["exact", "grid"])
@pytest.mark.parametrize("normalization", ["none", "symmetric"])
def test_gradients_against_differences(method, normalization, data):
    """Of a random function of the answer by scores and weights, along a random direction."""
    scores, image = data[0][:1, :4], data[1][:1, :4, :, :1]  # the grid of one channel has 8 corners, of three 32
    layer = DenseCRF(2, normalization=normalization, method=method, **NARROW)
    layer(scores, image)
    rng = np.random.default_rng(2)
    target = rng.normal(size=scores.shape).astype("float32")

    def function(unary):
        return tf.reduce_sum(layer(unary, image) * target)

    unary = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(unary)
        value = function(unary)
    gradients = tape.gradient(value, [unary, *(weight.value for weight in layer.weights)])
    starts = layer.get_weights()
    for index, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape).astype("float32")

        def moved(step, index=index, direction=direction):
            if index == 0:
                return float(function(unary + step * direction))
            layer.set_weights([w + step * direction if i == index - 1 else w for i, w in enumerate(starts)])
            result = float(function(unary))
            layer.set_weights(starts)
            return result

        difference = (moved(1e-2) - moved(-1e-2)) / 2e-2
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(difference, rel=2e-2, abs=2e-3)


def test_image_gets_no_gradient(data):
    image = tf.constant(data[1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tf.reduce_sum(DenseCRF(1)(data[0], image) ** 2)
    assert tape.gradient(loss, image) is None


def test_grid_is_near_all_pairs():
    """On pictures, as it is meant for; a grid of the wrong scale would be off by its whole factor."""
    image = np.stack([make_scene(0, index, (32, 32)).image for index in range(2)]).astype("float32")
    scores = np.random.default_rng(3).normal(size=(2, 32, 32, 5)).astype("float32")
    exact, grid = (DenseCRF(3, 10.0, 30.0, 2.0, method=method)(scores, image) for method in ("exact", "grid"))
    difference = np.abs(np.asarray(tf.nn.softmax(exact) - tf.nn.softmax(grid)))
    assert difference.mean() < 0.02
    assert np.mean(np.argmax(exact, -1) == np.argmax(grid, -1)) > 0.97


def test_noise_is_cleaned_along_the_edge():
    """Two halves of different grey, labels right with 70 %: inference finds the halves."""
    rng = np.random.default_rng(4)
    truth = np.repeat([[0, 1]], 8, axis=1).repeat(16, axis=0)[None]  # [1, 16, 16]
    image = (truth * 100 + rng.normal(scale=5, size=truth.shape))[..., None].astype("float32")
    seen = np.where(rng.uniform(size=truth.shape) < 0.7, truth, 1 - truth)
    scores = np.log(np.where(seen[..., None] == np.arange(2), 0.7, 0.3)).astype("float32")
    answer = DenseCRF(5, 20.0, 20.0, 1.0)(scores, image)
    assert np.mean(seen == truth) < 0.75
    assert np.mean(np.argmax(answer, axis=-1) == truth) > 0.98


def test_post_processing_leaves_training_alone(data):
    layer = DenseCRF(2, post_processing=True)
    np.testing.assert_array_equal(layer(*data, training=True), data[0])
    assert np.abs(layer(*data) - data[0]).max() > 0.1
    assert layer.trainable_weights == []
    assert len(DenseCRF(2)(*data, training=True).shape) == 4


@pytest.mark.parametrize("method", ["exact", "grid"])
def test_save_and_load_with_unknown_image_size(tmp_path, data, method):
    data = data[0], data[1][..., :1]
    inputs = keras.Input((None, None, 4)), keras.Input((None, None, 1))
    layer = DenseCRF(1, normalization="mean", method=method, post_processing=True, value_range=(-1.0, 256.0), **NARROW)
    model = keras.Model(inputs, layer(*inputs))
    assert model.output_shape == (None, None, None, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    answer = loaded.predict(data, verbose=0)  # in graph mode, sizes unknown
    np.testing.assert_allclose(answer, layer(*data), atol=1e-5)


def test_half_precision_policy_computes_in_float32(data):
    answer = DenseCRF(2, dtype="mixed_float16")(*data)
    assert answer.dtype == tf.float32
    np.testing.assert_array_equal(answer, DenseCRF(2)(*data))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iterations": 0}, "iterations must be an integer of at least 1, got 0"),
        ({"theta_beta": 0.0}, "theta_beta is a width and must be above 0, got 0.0"),
        ({"normalization": "rows"}, "normalization must be 'none', 'mean' or 'symmetric', got 'rows'"),
        ({"method": "lattice"}, "method must be 'exact' or 'grid', got 'lattice'"),
        ({"value_range": (1.0, 0.0)}, r"value_range must be \(lowest, highest\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(**arguments)


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"an image .* of the same height and width"):
        DenseCRF()(keras.Input((4, 4, 2)), keras.Input((4, 5, 3)))
    with pytest.raises(ValueError, match=r"the bilateral grid of a 500x500 image would hold .*: enlarge theta_beta"):
        DenseCRF(theta_beta=1.0, method="grid")(keras.Input((500, 500, 21)), keras.Input((500, 500, 3)))

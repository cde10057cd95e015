from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.convolutional_rbm import VARIANTS, ConvolutionalRBM, ConvolutionalRBMConfig
from kapps.errors import DataError, RecipeError

# 3x3 visible units, two kernels of 2x2: two maps of 2x2, each one block.
TINY = {"filters": 2, "kernel": (2, 2), "pool": (2, 2)}
# Of each block none or one of its four detectors, so 25 settings of both: [25, 2, 2, 2].
_BLOCKS = np.concatenate([np.zeros((1, 4)), np.eye(4)]).reshape(5, 2, 2)
HIDDEN = np.array([np.stack(pair, axis=-1) for pair in itertools.product(_BLOCKS, _BLOCKS)])
VISIBLE = np.array(list(itertools.product([0, 1], repeat=9)), "float32").reshape(-1, 3, 3, 1)


def tiny(visible_units="bernoulli", **fields):
    rbm = ConvolutionalRBM((3, 3, 1), ConvolutionalRBMConfig(visible_units=visible_units, **TINY, **fields))
    rng = np.random.default_rng(0)
    for weight in (rbm.W, rbm.b, rbm.c):
        weight.assign(rng.normal(size=weight.shape))
    return rbm


def energy(rbm, v, h):
    """E(v, h) of [3, 3] and [2, 2, 2], term by term."""
    kernels, b, c = (weight.numpy() for weight in (rbm.W, rbm.b, rbm.c))
    total = -b[0] * v.sum()
    for i, j, k in itertools.product(range(2), repeat=3):
        field = sum(kernels[r, s, 0, k] * v[i + r, j + s] for r, s in itertools.product(range(2), repeat=2))
        total -= h[i, j, k] * (field + c[k])
    return total + (v**2).sum() / 2 if rbm.config.visible_units == "gaussian" else total


@pytest.mark.parametrize("units", ["bernoulli", "gaussian"])
def test_free_energy_and_detectors_by_enumeration(units):
    rbm = tiny(units)
    rng = np.random.default_rng(1)
    v = rng.normal(size=(4, 3, 3, 1)) if units == "gaussian" else rng.integers(0, 2, (4, 3, 3, 1))
    v = v.astype("float32")
    weights = np.exp([[-energy(rbm, one[..., 0], h) for h in HIDDEN] for one in v])  # [4, 25]
    np.testing.assert_allclose(rbm.free_energy(v), -np.log(weights.sum(axis=1)), rtol=1e-5, atol=1e-5)
    chances = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rbm.hidden_probabilities(v), np.tensordot(chances, HIDDEN, 1), rtol=1e-4)
    pooled = np.tensordot(chances, HIDDEN.max(axis=(1, 2)), 1)
    np.testing.assert_allclose(rbm.encode(v)[:, 0, 0], pooled, rtol=1e-4)


def test_visible_units_by_enumeration():
    rbm = tiny()
    for h in HIDDEN[[0, 7, 19]]:
        chances = np.exp([-energy(rbm, v[..., 0], h) for v in VISIBLE])
        expected = np.tensordot(chances / chances.sum(), VISIBLE, 1)
        np.testing.assert_allclose(rbm.visible_mean(tf.constant(h[None], tf.float32))[0], expected, rtol=1e-4)


def test_gaussian_visible_units_have_the_mean_of_least_energy():
    rbm = tiny("gaussian")
    h = HIDDEN[8]
    mean = rbm.visible_mean(tf.constant(h[None], tf.float32)).numpy()[0, ..., 0].astype("float64")
    for i, j in itertools.product(range(3), repeat=2):
        step = np.zeros((3, 3))
        step[i, j] = 1e-3
        higher = [energy(rbm, mean + sign * step, h) - energy(rbm, mean, h) for sign in (1, -1)]
        np.testing.assert_allclose(higher, 1e-6 / 2, rtol=0.05)  # (v - mean)^2 / 2 both ways


def test_gibbs_sampling_ends_in_the_machine_s_own_distribution():
    rbm = tiny()
    energies = rbm.free_energy(VISIBLE).numpy().astype("float64")
    chances = np.exp(-energies) / np.exp(-energies).sum()
    expected = np.tensordot(chances, VISIBLE, 1)[..., 0]
    chains = rbm.gibbs(np.zeros((3000, 3, 3, 1)), steps=30)
    np.testing.assert_allclose(chains.mean(axis=0)[..., 0], expected, atol=0.04)


@pytest.mark.parametrize("units", ["bernoulli", "gaussian"])
def test_a_step_goes_down_the_gradient_of_contrastive_divergence(units, monkeypatch):
    """Against the gradient that TensorFlow finds of F(v) - F(fantasy), and by differences for one weight."""
    rbm = tiny(units, weight_decay=0.1, sparsity_target=0.1, sparsity_cost=0.7, learning_rate=0.5, momentum=0.0)
    rng = np.random.default_rng(2)
    v, fantasy = rng.random((2, 5, 3, 3, 1)).astype("float32")
    monkeypatch.setattr(rbm, "contrast", lambda signals: (tf.constant(v), tf.constant(fantasy)))
    weights = [rbm.W, rbm.b, rbm.c]
    before = [weight.numpy() for weight in weights]

    def difference():
        return tf.reduce_sum(rbm.free_energy(v) - rbm.free_energy(fantasy))

    with tf.GradientTape() as tape:
        loss = difference()
    of_w, of_b, of_c = (gradient.numpy() for gradient in tape.gradient(loss, [w.value for w in weights]))
    moved = before[0].copy()
    sides = []
    for sign in (1, -1):
        moved[1, 0, 0, 1] = before[0][1, 0, 0, 1] + sign * 1e-2
        rbm.W.assign(moved)
        sides.append(float(difference()))
    rbm.W.assign(before[0])
    assert (sides[0] - sides[1]) / 2e-2 == pytest.approx(of_w[1, 0, 0, 1], abs=2e-3)

    places, pixels = 5 * 2 * 2, 5 * 3 * 3
    activity = rbm.hidden_probabilities(v).numpy().mean(axis=(0, 1, 2))
    expected = [
        before[0] - 0.5 * (of_w / places + 0.1 * before[0]),
        before[1] - 0.5 * of_b / pixels,
        before[2] - 0.5 * of_c / places + 0.5 * 0.7 * (0.1 - activity),
    ]
    rbm.started.assign(1.0)
    rbm.compile(rbm.default_optimizer())
    rbm.train_on_batch(v)
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, rtol=1e-4, atol=1e-5, err_msg=weight.name)


def bars(count, seed=0):
    """12x12 images of three bars, down or across."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 12, 12, 1), "float32")
    for image in images:
        for place in rng.choice(12, 3, replace=False):
            if rng.random() < 0.5:
                image[place] = 1
            else:
                image[:, place] = 1
    return images


SMALL = ConvolutionalRBMConfig(filters=6, kernel=(5, 5), sparsity_target=0.05, seed=5)


@pytest.fixture(scope="module")
def learned():
    keras.utils.set_random_seed(0)
    rbm = ConvolutionalRBM((12, 12, 1), SMALL)
    return rbm, rbm.fit(bars(200), epochs=10, batch_size=20, verbose=0).history


def test_bars_are_learned(learned):
    rbm, history = learned
    assert history["reconstruction_error"][-1] < 0.75 * history["reconstruction_error"][0]
    assert abs(history["activity"][-1] - 0.05) < 0.04
    fresh = ConvolutionalRBM((12, 12, 1), SMALL)
    fresh.initialise_from(bars(200))
    errors = [((model.reconstruct(bars(50, 1)) - bars(50, 1)) ** 2).mean() for model in (rbm, fresh)]
    assert errors[0] < 0.7 * errors[1]


def test_visible_biases_start_at_the_data_s_mean():
    rbm = ConvolutionalRBM((12, 12, 1), SMALL)
    rbm.initialise_from(np.concatenate([np.ones((1, 12, 12, 1)), np.zeros((3, 12, 12, 1))]))
    np.testing.assert_allclose(rbm.b.numpy(), np.log(0.25 / 0.75), rtol=1e-5)


def test_shapes(learned):
    rbm, _ = learned
    codes = rbm.transform(bars(3))
    assert codes.shape == (3, 4, 4, 6)
    assert rbm.code_shape == (4, 4, 6)
    assert 0 <= codes.min() <= codes.max() <= 1
    assert rbm.inverse_transform(codes).shape == (3, 12, 12, 1)
    assert rbm.components_.shape == (6, 5, 5, 1)
    encoder = rbm.encoder()
    assert encoder.inputs[0].name == "image"
    np.testing.assert_allclose(encoder(bars(3)), codes, rtol=1e-5)


def test_codes_move_with_the_image(learned):
    """By two pixels, a block's side: the codes of the shared part move by one."""
    images = np.random.default_rng(4).random((2, 14, 12, 1)).astype("float32")
    upper, lower = (learned[0].transform(images[:, start : start + 12]) for start in (0, 2))
    np.testing.assert_allclose(upper[:, 1:], lower[:, :-1], rtol=1e-4, atol=1e-6)


def test_a_seed_gives_the_same_again():
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        rbm = ConvolutionalRBM((12, 12, 1), SMALL)
        rbm.compile(rbm.default_optimizer(), run_eagerly=True)
        rbm.fit(bars(40), epochs=2, batch_size=20, verbose=0)
        weights.append(rbm.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_save_and_load(learned, tmp_path):
    learned[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.config == learned[0].config
    np.testing.assert_array_equal(loaded.transform(bars(5)), learned[0].transform(bars(5)))


@pytest.mark.slow
def test_gaussian_units_do_not_mind_how_data_are_scaled():
    rng = np.random.default_rng(6)
    data = rng.normal(size=(40, 8, 6, 2)).astype("float32")
    codes = []
    for some in (data, 10 * data + np.float32([3, -5])):
        keras.utils.set_random_seed(0)
        config = ConvolutionalRBMConfig(filters=3, kernel=(3, 3), visible_units="gaussian", learning_rate=0.05, steps=2)
        rbm = ConvolutionalRBM((8, 6, 2), config)
        rbm.compile(rbm.default_optimizer(), run_eagerly=True)
        rbm.fit(some, epochs=2, batch_size=20, verbose=0)
        codes.append(rbm.transform(some))
        assert rbm.inverse_transform(codes[-1]).std(axis=(0, 1, 2)).shape == (2,)
        np.testing.assert_allclose(rbm.mean.numpy(), some.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(*codes, rtol=1e-3)


def test_spectrograms_are_sequences_and_may_come_as_a_stream():
    config = ConvolutionalRBMConfig(filters=5, kernel=(6, None), pool=(3, 1))
    rbm = ConvolutionalRBM((14, 10, 1), config)
    assert rbm.W.shape == (6, 10, 1, 5)
    assert rbm.hidden_shape == (9, 1, 5)
    assert rbm.code_shape == (3, 1, 5)
    sounds = np.random.default_rng(7).random((12, 14, 10, 1)).astype("float32")
    stream = tf.data.Dataset.from_tensor_slices((sounds, np.zeros(12))).batch(4)
    rbm.compile(rbm.default_optimizer(), run_eagerly=True)
    rbm.fit(stream, epochs=1, verbose=0)
    assert float(rbm.started) == 1
    assert rbm.transform(sounds).shape == (12, 3, 1, 5)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_sizes(name):
    rbm = ConvolutionalRBM((28, 28, 1), VARIANTS[name])
    assert (rbm.hidden_shape, rbm.code_shape) == ((20, 20, 24), (10, 10, 24))
    assert sum(int(np.prod(weight.shape)) for weight in rbm.trainable_variables) == 9 * 9 * 24 + 24 + 1


@pytest.mark.parametrize(
    ("shape", "config", "complaint"),
    [
        ((784,), {}, r"expected data \[height, width, channels\]"),
        ((28, 28, 1), {"visible_units": "binary"}, "bernoulli or gaussian, got 'binary'"),
        ((28, 28, 1), {"filters": 0}, "filters of at least 1"),
        ((28, 28, 1), {"steps": 0}, "steps of at least 1"),
        ((28, 28, 1), {"pool": (2, 0)}, "pool of at least 1"),
        ((28, 28, 1), {"learning_rate": -1.0}, "learning_rate of at least 0"),
        ((28, 28, 1), {"sparsity_target": 1.0}, "sparsity_target between 0 and 1"),
        ((28, 28, 1), {"kernel": (29, 3)}, "a kernel that fits into 28x28"),
        ((28, 28, 1), {"kernel": (10, 9)}, "blocks that divide the maps of 19x20, got 2x2"),
        ((28, 28, 1), {"filters": 10**9}, "take fewer components"),
    ],
)
def test_what_cannot_be_made(shape, config, complaint):
    with pytest.raises(RecipeError, match=complaint) as caught:
        ConvolutionalRBM(shape, ConvolutionalRBMConfig(**config))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_learned_from():
    rbm = ConvolutionalRBM((12, 12, 1), SMALL)
    with pytest.raises(DataError, match="from 0 to 1, got 0 to 3"):
        rbm.fit(3 * bars(4))
    with pytest.raises(DataError, match="at least 2 examples"):
        rbm.fit(bars(1))
    gaussian = ConvolutionalRBM((8, 6, 2), ConvolutionalRBMConfig(kernel=(3, 3), visible_units="gaussian"))
    data = np.random.default_rng(0).random((3, 8, 6, 2))
    data[..., 1] = 4
    with pytest.raises(DataError, match="got 1 constant of 2 channels"):
        gaussian.fit(data)

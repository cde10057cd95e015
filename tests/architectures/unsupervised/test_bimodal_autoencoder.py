from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.bimodal_autoencoder import VARIANTS, BimodalAutoencoder, BimodalAutoencoderConfig
from kapps.errors import DataError, RecipeError

SMALL = {"image_shape": (4, 4, 1), "sound_shape": (3, 4), "image_hidden": (10,), "sound_hidden": (9,), "code": 6}


def made(**fields):
    return BimodalAutoencoder((28,), BimodalAutoencoderConfig(**{**SMALL, **fields}))


def pairs(count=200, seed=0):
    """Light above goes with high tones, light below with low ones, all with noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, count)
    images, sounds = 0.3 * rng.random((count, 4, 4, 1)), 0.3 * rng.random((count, 3, 4))
    images[kind == 0, :2] += 0.7
    images[kind == 1, 2:] += 0.7
    sounds[kind == 0, :, 2:] += 0.7
    sounds[kind == 1, :, :2] += 0.7
    return images.astype("float32"), sounds.astype("float32"), kind


@pytest.fixture(scope="module")
def learned():
    images, sounds, _ = pairs()
    keras.utils.set_random_seed(0)
    network = made(learning_rate=0.02)
    network.compile(network.default_optimizer(), steps_per_execution=10)
    return network, network.fit((images, sounds), epochs=25, batch_size=20, verbose=0).history


def test_either_brings_back_both(learned):
    network, history = learned
    assert history["image_loss"][-1] < history["image_loss"][0]
    images, sounds, kind = pairs(50, seed=1)
    heard = network.reconstruct((None, sounds))
    seen = network.reconstruct((images, None))
    assert [some.shape for some in (*heard, *seen)] == [(50, 4, 4, 1), (50, 3, 4)] * 2
    above = heard[0][:, :2].mean(axis=(1, 2, 3)) > heard[0][:, 2:].mean(axis=(1, 2, 3))
    high = seen[1][:, :, 2:].mean(axis=(1, 2)) > seen[1][:, :, :2].mean(axis=(1, 2))
    assert (above == (kind == 0)).mean() > 0.95
    assert (high == (kind == 0)).mean() > 0.95


def test_the_losses_are_those_of_numpy():
    network = made(image_hidden=(10, 8))
    images, sounds, _ = pairs(5)
    rows = network.join(images, sounds)
    shown = rows * np.repeat([[1, 0]], 5, axis=0).repeat([16, 12], axis=1)

    def through(x, layer, last=False):
        kernel, bias = layer.get_weights()
        return x @ kernel + bias if last else 1 / (1 + np.exp(-(x @ kernel + bias)))

    image, sound = shown[:, :16], shown[:, 16:]
    for layer in network.ups[0]:
        image = through(image, layer)
    sound = through(sound, network.ups[1][0])
    code = through(np.concatenate([image, sound], axis=1), network.ups[2][0])
    back = through(code, network.backs[2][0])
    image = through(through(back[:, :8], network.backs[0][1]), network.backs[0][0], last=True)
    sound = through(back[:, 8:], network.backs[1][0], last=True)
    expected = []
    for scores, wanted in ((image, rows[:, :16]), (sound, rows[:, 16:])):
        p = 1 / (1 + np.exp(-scores))
        expected.append(-(wanted * np.log(p) + (1 - wanted) * np.log(1 - p)).sum(axis=1).mean())
    np.testing.assert_allclose(network.losses_of(shown, rows), expected, rtol=1e-5)
    np.testing.assert_allclose(network.transform((images, None)), code, rtol=1e-4)


def test_the_gradient_by_differences():
    network = made(seed=3)
    rows = network.join(*pairs(6)[:2])

    def loss():
        return tf.add_n(network.losses_of(rows, rows))

    with tf.GradientTape() as tape:
        value = loss()
    weights = network.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(value, [w.value for w in weights]), strict=True):
        before = weight.numpy()
        place = tuple(size // 2 for size in before.shape)
        sides = []
        for sign in (1, -1):
            moved = before.copy()
            moved[place] += sign * 0.02
            weight.assign(moved)
            sides.append(float(loss()))
        weight.assign(before)
        assert (sides[0] - sides[1]) / 0.04 == pytest.approx(float(gradient[place]), abs=2e-3), weight.path


def test_a_third_each_loses_the_image_the_sound_or_nothing():
    network = made()
    hidden = network.hide(tf.ones((3000, 28))).numpy()
    image, sound = hidden[:, :16], hidden[:, 16:]
    assert (image == image[:, :1]).all()
    assert (sound == sound[:, :1]).all()
    kinds = 2 * image[:, 0] + sound[:, 0]
    shares = [(kinds == kind).mean() for kind in (0, 1, 2, 3)]
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], 1 / 3, atol=0.04)
    np.testing.assert_array_equal(made(missing=0.0).hide(tf.ones((100, 28))), np.ones((100, 28)))


def test_pre_training_unrolls_its_machines():
    network = made()
    images, sounds, _ = pairs(60)
    tf.config.run_functions_eagerly(True)  # tracing takes far longer than these few steps
    histories = network.pretrain((images, sounds), epochs=1, batch_size=20, verbose=0)
    tf.config.run_functions_eagerly(False)
    assert len(histories) == 3  # of images, of sounds, of both
    for ups, backs in zip(network.ups, network.backs, strict=True):
        for up, back in zip(ups, backs, strict=True):
            np.testing.assert_array_equal(up.kernel.numpy(), back.kernel.numpy().T)
            assert np.abs(back.bias.numpy()).sum() > 0


def test_pairs_and_rows():
    network = made()
    images, sounds, _ = pairs(3)
    rows = network.join(images, sounds)
    for one, other in zip(network.split(rows), (images, sounds), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not network.join(None, sounds)[:, :16].any()
    np.testing.assert_array_equal(network.join(None, sounds)[:, 16:], rows[:, 16:])
    np.testing.assert_array_equal(network.transform((images, sounds)), network.transform(rows))
    assert network.components_.shape == (10 + 9, 28)
    encoder = network.encoder()
    np.testing.assert_allclose(encoder({"image": images, "sound": sounds}), network.transform(rows), rtol=1e-5)


@pytest.mark.slow
def test_a_seed_gives_the_same_again():
    images, sounds, _ = pairs()
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        network = made()
        network.compile(network.default_optimizer(), run_eagerly=True)
        network.fit((images, sounds), epochs=1, batch_size=50, verbose=0)
        weights.append(network.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_save_and_load(learned, tmp_path):
    learned[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images, sounds, _ = pairs(4)
    assert loaded.config == learned[0].config
    np.testing.assert_array_equal(loaded.transform((images, sounds)), learned[0].transform((images, sounds)))


def test_the_variant_s_sizes():
    network = BimodalAutoencoder((1808,), VARIANTS["bimodal_autoencoder"])
    both_ways = 2 * (784 * 500 + 1024 * 500 + 1000 * 200)
    assert network.count_params() == both_ways + (500 + 500 + 200) + (784 + 1024 + 1000)


@pytest.mark.parametrize(
    ("shape", "fields", "complaint"),
    [
        ((27,), {}, r"rows of 16 \+ 12 = 28 numbers, got the shape \[27\]"),
        ((28,), {"code": 0}, "layers of at least 1 unit"),
        ((28,), {"image_hidden": ()}, "layers of at least 1 unit"),
        ((28,), {"missing": 1.5}, "missing from 0 to 1"),
        ((28,), {"sound_weight": 0.0}, "sound_weight and learning_rate above 0"),
        ((28,), {"code": 10**9}, "take fewer components"),
    ],
)
def test_what_cannot_be_made(shape, fields, complaint):
    with pytest.raises(RecipeError, match=complaint) as caught:
        BimodalAutoencoder(shape, BimodalAutoencoderConfig(**{**SMALL, **fields}))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_taken():
    network = made()
    images, sounds, _ = pairs(4)
    with pytest.raises(DataError, match="one kind alone, got 3 and 4"):
        network.transform((images[:3], sounds))
    with pytest.raises(DataError, match="got neither"):
        network.transform((None, None))
    with pytest.raises(DataError, match=r"expected sounds \[N, 3, 4\], got \[4, 4, 4, 1\]"):
        network.fit((images, images))
    with pytest.raises(DataError, match=r"expected a pair \(images, sounds\), got 3"):
        network.fit((images, sounds, sounds))
    with pytest.raises(DataError, match="from 0 to 1"):
        network.fit((9 * images, sounds))

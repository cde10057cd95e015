"""Plain, sparse, denoising and contractive autoencoders: the objective by hand and by numbers, what is learned."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.autoencoder import (
    VARIANTS,
    Autoencoder,
    AutoencoderConfig,
    contraction,
    reconstruction_loss,
    sparsity,
)
from kapps.errors import DataError, RecipeError, UnknownNameError

# name -> a configuration whose objective has another form
FORMS = {
    "plain": {},
    "untied": {"tied": False},
    "squared error": {"output": "linear", "activation": "tanh"},
    "l1": {"l1": 0.3},
    "sparsity": {"sparsity_target": 0.1, "sparsity_cost": 0.7},
    "contractive": {"contraction": 0.4},
    "contractive tanh": {"contraction": 0.4, "activation": "tanh", "tied": False},
}


def bars(count, seed=0):
    """Pictures 4x4x1 of one bright row or column on a dim ground."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.1, (count, 4, 4, 1)).astype("float32")
    places, upright = rng.integers(0, 4, count), rng.random(count) < 0.5
    images[~upright, places[~upright]] = 0.95
    images[upright, :, places[upright]] = 0.95
    return images


def random_weights(model, seed=0, scale=0.5):
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=scale, size=variable.shape))
    return model


# --- by hand


def test_a_case_computed_by_hand():
    model = Autoencoder((2,), AutoencoderConfig(hidden=1))
    model.W.assign([[1.0], [-1.0]])
    model.c.assign([0.0])
    model.b.assign([0.0, 1.0])
    x = np.array([[1.0, 0.0]], "float32")
    h = 1 / (1 + np.exp(-1))  # 0.731
    y = 1 / (1 + np.exp(-np.array([h, 1 - h])))
    np.testing.assert_allclose(model.transform(x), [[h]], rtol=1e-6)
    np.testing.assert_allclose(model.inverse_transform([[h]]), [y], rtol=1e-6)
    loss, again = model.objective(tf.constant(x), tf.constant(x))
    assert float(loss) == pytest.approx(-np.log(y[0]) - np.log(1 - y[1]), rel=1e-6)
    np.testing.assert_allclose(again, [y], rtol=1e-6)


def test_the_parts_of_the_objective_by_hand():
    x, scores = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [3.0, 1.0]])
    np.testing.assert_allclose(reconstruction_loss(x, scores, "linear"), [2.5, 5.0])
    np.testing.assert_allclose(
        reconstruction_loss(np.array([[1.0, 0.5]]), np.zeros((1, 2)), "sigmoid"), [2 * np.log(2)]
    )
    h = np.array([[0.1, 0.4], [0.3, 0.6]])  # means 0.2 and 0.5
    expected = 0.2 * np.log(0.2 / 0.5) + 0.8 * np.log(0.8 / 0.5)
    assert float(sparsity(tf.constant(h), 0.2)) == pytest.approx(expected)
    # one sigmoid unit at 0.5, its slope 1/4, weights 3 and 4: 1/16 of 25
    norm = contraction(tf.constant([[0.5]]), tf.constant([[3.0], [4.0]]), "sigmoid")
    np.testing.assert_allclose(norm, [25 / 16])


def test_a_unit_that_is_never_on_has_a_finite_divergence():
    assert np.isfinite(float(sparsity(tf.zeros([3, 2]), 0.05)))


# --- by numbers


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear"])
def test_the_closed_form_of_the_contraction_is_the_norm_of_the_jacobian(activation):
    model = random_weights(Autoencoder((3, 2), AutoencoderConfig(hidden=4, activation=activation), dtype="float64"))
    x = tf.constant(np.random.default_rng(1).normal(size=(5, 3, 2)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        h = model.encode(x)
    jacobian = tape.batch_jacobian(h, x)
    closed = contraction(h, tf.convert_to_tensor(model.W), activation)
    np.testing.assert_allclose(closed, np.square(jacobian).sum(axis=(1, 2, 3)), rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_numerical_gradients(form, gradients_are_differences):
    model = random_weights(Autoencoder((3,), AutoencoderConfig(hidden=2, **FORMS[form]), dtype="float64"))
    rng = np.random.default_rng(2)
    x, seen = tf.constant(rng.random((6, 3))), tf.constant(rng.random((6, 3)))
    learned = model.trainable_variables
    gradients_are_differences(lambda: model.objective(x, seen)[0], learned)


# --- learning


@pytest.fixture(scope="module")
def learned():
    """Plain, sparse and contractive, on the same pictures: name -> (learner, history)."""
    x, found = bars(300), {}
    settings = {
        "plain": {},
        "sparsity": {"sparsity_target": 0.1, "sparsity_cost": 3.0},
        "contractive": {"contraction": 1.0},
    }
    for name, values in settings.items():
        keras.utils.set_random_seed(0)
        model = Autoencoder((4, 4, 1), AutoencoderConfig(hidden=12, learning_rate=0.05, **values))
        history = model.fit(x, epochs=15, batch_size=50, verbose=0).history
        found[name] = model, history
    return found


def test_it_learns_to_give_back_what_it_sees(learned):
    model, history = learned["plain"]
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert history["reconstruction_error"][-1] < 0.4 * history["reconstruction_error"][0]
    fresh = bars(100, seed=1)
    again = model.inverse_transform(model.transform(fresh))
    assert again.shape == fresh.shape
    assert np.square(again - fresh).mean() < 0.4 * fresh.var()
    assert model.components_.shape == (12, 4, 4, 1)


def test_what_was_asked_for_is_what_becomes_small(learned):
    x = bars(200, seed=2)
    codes = {name: model.transform(x) for name, (model, _) in learned.items()}
    assert np.abs(codes["sparsity"].mean(axis=0) - 0.1).mean() < 0.5 * np.abs(codes["plain"].mean(axis=0) - 0.1).mean()
    norms = {
        name: float(np.mean(contraction(tf.constant(codes[name]), tf.convert_to_tensor(learned[name][0].W), "sigmoid")))
        for name in ("plain", "contractive")
    }
    assert norms["contractive"] < 0.5 * norms["plain"]


def test_tied_weights_stay_tied(learned):
    model, _ = learned["plain"]
    assert [variable.name for variable in model.trainable_variables] == ["W", "c", "b"]
    codes = np.random.default_rng(3).random((5, 12)).astype("float32")
    expected = 1 / (1 + np.exp(-(codes @ model.W.numpy().T + model.b.numpy())))
    np.testing.assert_allclose(model.inverse_transform(codes).reshape(5, -1), expected, rtol=1e-4, atol=1e-6)


def test_validation_data_is_not_damaged(learned):
    model = Autoencoder((4, 4, 1), AutoencoderConfig(hidden=12, corruption="masking", corruption_level=0.9))
    model.set_weights(learned["plain"][0].get_weights())
    model.compile("sgd")
    x = bars(100, seed=4)
    plain = learned["plain"][0].evaluate(x, batch_size=100, verbose=0, return_dict=True)
    assert model.evaluate(x, batch_size=100, verbose=0, return_dict=True) == pytest.approx(plain, rel=1e-5)


@pytest.fixture(scope="module")
def denoising():
    """All of the input is struck out but a little."""
    keras.utils.set_random_seed(7)
    config = AutoencoderConfig(hidden=3, corruption="masking", corruption_level=0.99, learning_rate=0.1, seed=3)
    model = Autoencoder((4, 4, 1), config)
    model.fit(bars(200), epochs=10, batch_size=20, verbose=0)
    return model


def test_the_target_of_a_denoising_autoencoder_is_whole(denoising):
    """The best answer to nothing is the mean picture, not a dark one."""
    nothing = denoising.inverse_transform(denoising.transform(np.zeros((1, 4, 4, 1), "float32")))
    assert nothing.mean() == pytest.approx(bars(200).mean(), abs=0.08)


def test_a_seed_gives_the_same_again(denoising):
    codes = denoising.transform(bars(10, seed=1))
    assert (float(codes.mean()), float(codes.std())) == pytest.approx(FINGERPRINT, rel=2e-2)


FINGERPRINT = (0.04508, 0.03413)


def test_save_and_load_and_a_stream(tmp_path):
    model = Autoencoder((4, 4, 1), AutoencoderConfig(hidden=5, tied=False, corruption="gaussian"), name="small")
    x = bars(40)
    stream = tf.data.Dataset.from_tensor_slices((x, np.arange(40))).batch(10)
    model.fit(stream, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.config == model.config
    np.testing.assert_array_equal(loaded.transform(x), model.transform(x))
    codes = np.random.default_rng(0).random((2, 5))
    np.testing.assert_array_equal(loaded.inverse_transform(codes), model.inverse_transform(codes))
    np.testing.assert_allclose(model.encoder()(x), model.transform(x), rtol=1e-5, atol=1e-6)


# --- what cannot be


@pytest.mark.parametrize("name", VARIANTS)
def test_the_catalogue_has_what_its_name_says(name):
    config = VARIANTS[name]
    assert (config.sparsity_cost > 0) == (name == "sparse_autoencoder")
    assert (config.corruption != "none") == (name == "denoising_autoencoder")
    assert (config.contraction > 0) == (name == "contractive_autoencoder")
    assert Autoencoder((784,), config).count_params() >= 784 * 500 + 784 + 500


@pytest.mark.parametrize(
    ("values", "error", "complaint"),
    [
        ({"hidden": 0}, RecipeError, "at least 1 unit as hidden, got 0"),
        ({"activation": "gelu"}, RecipeError, "as activation, got 'gelu'"),
        ({"output": "softmax"}, RecipeError, "sigmoid or linear as output"),
        ({"l1": -1.0}, RecipeError, "a number from 0 as l1"),
        ({"contraction": float("nan")}, RecipeError, "a number from 0 as contraction"),
        ({"learning_rate": 0.0}, RecipeError, "over 0 as learning_rate"),
        ({"sparsity_target": 1.0}, RecipeError, "between 0 and 1 as sparsity_target"),
        ({"sparsity_target": 0.1, "activation": "relu"}, RecipeError, "sigmoid units for a target"),
        ({"corruption": "salt_and_peper"}, UnknownNameError, "did you mean 'salt_and_pepper'"),
        ({"corruption": "salt_and_pepper", "output": "linear"}, RecipeError, "data in \\[0, 1\\]"),
        ({"corruption": "masking", "corruption_level": 1.0}, RecipeError, "a level from 0"),
        ({"hidden": 10**10}, RecipeError, "take fewer components"),
    ],
)
def test_configurations_that_are_refused_in_one_line(values, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        Autoencoder((8,), AutoencoderConfig(**values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (np.full((3, 4), 1.5), "numbers from 0 to 1"),
        (np.array([[0, 0, np.nan, 0]] * 2), "NaN or infinity in 2 of 2"),
        (np.zeros((1, 4)), "at least 2 examples"),
        (np.zeros((3, 5)), r"expected data \[N, 4\], got \[3, 5\]"),
    ],
)
def test_data_that_is_refused_in_one_line(data, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        Autoencoder((4,), AutoencoderConfig(hidden=2)).fit(data)
    assert "\n" not in str(caught.value)


def test_linear_outputs_take_any_finite_data():
    model = Autoencoder((4,), AutoencoderConfig(hidden=2, output="linear", activation="linear"))
    x = np.full((2, 4), -7.0)
    expected = x @ model.W.numpy() @ model.W.numpy().T
    np.testing.assert_allclose(model.inverse_transform(model.transform(x)), expected, rtol=1e-4, atol=1e-4)

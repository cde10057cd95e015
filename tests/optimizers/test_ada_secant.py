from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from kapps.optimizers.ada_secant import AdaSecant


class ScalarOracle:
    """Algorithm 1 on one variable, weight by weight in plain Python floats."""

    def __init__(self, size: int, gamma_clip: float = 1.8, epsilon: float = 1e-7):
        names = "g gt Eg Eg2 Ea Ea2 Ed Ed2 Eda num den"
        self.weights = [{"tau": 2.2, **dict.fromkeys(names.split(), 0.0)} for _ in range(size)]
        self.gamma_clip, self.epsilon, self.first = gamma_clip, epsilon, True

    def steps(self, gradient) -> list[float]:
        eps = self.epsilon
        norm = sum(float(g) ** 2 for g in gradient) ** 0.5
        result = []
        for w, raw in zip(self.weights, gradient, strict=True):
            keep, new = 1 - 1 / w["tau"], 1 / w["tau"]
            g = float(raw) / (norm + eps)
            w["Eg"] = keep * w["Eg"] + new * g
            w["Eg2"] = keep * w["Eg2"] + new * g**2
            w["num"] = keep * w["num"] + new * ((g - w["gt"]) * (g - w["Eg"])) ** 2
            w["den"] = keep * w["den"] + new * ((g - w["Eg"]) * (w["gt"] - w["Eg"])) ** 2
            gamma = min(w["num"] ** 0.5 / (w["den"] + eps) ** 0.5, self.gamma_clip)
            corrected = (g + gamma * w["Eg"]) / (1 + gamma)
            if self.first:
                w["Ed"], w["Ed2"] = g, g**2
            a = g - w["g"]
            w["Ea"] = keep * w["Ea"] + new * a
            w["Ea2"] = keep * w["Ea2"] + new * a**2
            eta = (w["Ed2"] + eps) ** 0.5 / (w["Ea2"] + eps) ** 0.5 - w["Eda"] / (w["Ea2"] + eps)
            step = -max(eta, 0.0) * corrected
            tau = (1 - w["Ed"] ** 2 / (w["Ed2"] + eps)) * w["tau"] + 1
            for value, mean, square in ((g, w["Eg"], w["Eg2"]), (a, w["Ea"], w["Ea2"])):
                if abs(value - mean) > 2 * max(square - mean**2, 0.0) ** 0.5:
                    tau = 2.2
            w["Ed"] = keep * w["Ed"] + new * step
            w["Ed2"] = keep * w["Ed2"] + new * step**2
            w["Eda"] = keep * w["Eda"] + new * step * a
            w["tau"], w["g"], w["gt"] = min(max(tau, 1.5), 1e7), g, corrected
            result.append(step)
        self.first = False
        return result


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images [n, 64] in 0 .. 1 and their labels, shuffled: the set is sorted by writer."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.data[order] / 16).astype("float32"), data.target[order]


def classifier(optimizer, jit_compile: bool = False) -> keras.Model:
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, kernel_initializer="zeros")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit_compile)
    return model


def quadratic(optimizer, curvature, steps: int, noise: float = 0.0) -> float:
    """Minimises 1/2 sum h x^2 from x = 3 and gives the last value."""
    curvature = np.asarray(curvature, "float32")
    x = keras.Variable(np.full(curvature.shape, 3.0, "float32"))
    optimizer.build([x])

    @tf.function
    def step(disturbance):
        optimizer.apply([curvature * x.value + disturbance], [x])

    rng = np.random.default_rng(0)
    for _ in range(steps):
        step(tf.constant(noise * rng.normal(size=curvature.shape), "float32"))
    return float(0.5 * (curvature * x.numpy() ** 2).sum())


@pytest.mark.parametrize("gamma_clip", [1.8, 0.0])
def test_steps_equal_the_scalar_oracle(gamma_clip):
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (4,), ()]  # a block each, normalised on its own
    variables = [keras.Variable(rng.normal(size=shape), dtype="float64") for shape in shapes]
    optimizer = AdaSecant(gamma_clip=gamma_clip)
    optimizer.build(variables)
    apply = tf.function(lambda *gradients: optimizer.apply(gradients, variables))
    oracles = [ScalarOracle(int(np.prod(shape)), gamma_clip) for shape in shapes]
    resets = []
    for t in range(30):
        gradients = [rng.normal(size=shape) for shape in shapes]
        if t == 25:
            gradients[0][1, 1] = 100.0  # an outlier
        before = [v.numpy() for v in variables]
        apply(*(tf.constant(g) for g in gradients))
        for old, variable, gradient, oracle in zip(before, variables, gradients, oracles, strict=True):
            expected = np.reshape(oracle.steps(np.ravel(gradient)), gradient.shape)
            np.testing.assert_allclose(variable.numpy() - old, expected, rtol=1e-5, atol=1e-9)
        taus = np.array([w["tau"] for oracle in oracles for w in oracle.weights])
        resets.append((t > 0) & (taus == 2.2))
        np.testing.assert_allclose(
            np.concatenate([np.ravel(m.numpy()) for m in optimizer._state["memory"]]), taus, rtol=1e-5
        )
    assert resets[25][3]  # weight (1, 1) of the first variable
    assert np.mean(resets) < 0.2


def test_gradient_length_does_not_matter():
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(10, 5)).astype("float32")
    results = []
    for scale in (1.0, 1e4):
        x = keras.Variable(np.zeros(5, "float32"))
        optimizer = AdaSecant()
        for gradient in gradients:
            optimizer.apply([tf.constant(scale * gradient)], [x])
        results.append(x.numpy())
    np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-4)


def test_zero_gradient_moves_nothing():
    x = keras.Variable(np.ones((3, 2), "float32"))
    optimizer = AdaSecant()
    for _ in range(3):
        optimizer.apply([tf.zeros((3, 2))], [x])
    np.testing.assert_array_equal(x, np.ones((3, 2)))


def test_learning_rate_scales_the_step():
    gradient = tf.constant([1.0, -2.0])
    moves = []
    for learning_rate in (1.0, 0.25):
        x = keras.Variable(np.zeros(2, "float32"))
        AdaSecant(learning_rate).apply([gradient], [x])
        moves.append(x.numpy())
    np.testing.assert_allclose(moves[1], 0.25 * moves[0], rtol=1e-6)
    assert (moves[0] * gradient.numpy() < 0).all()  # downhill


@pytest.mark.parametrize("curvature", [[1.0, 1.0, 1.0], [0.1, 1.0, 10.0]])
def test_converges_on_a_quadratic(curvature):
    start = 4.5 * sum(curvature)
    assert quadratic(AdaSecant(), curvature, 300) < 1e-2 * start


def test_converges_on_a_noisy_quadratic():
    assert quadratic(AdaSecant(), [0.1, 1.0, 10.0], 300, noise=1.0) < 0.05 * 4.5 * 11.1


@pytest.mark.parametrize("jit_compile", [True, False])
def test_learns_digits_with_no_learning_rate_given(jit_compile):
    keras.utils.set_random_seed(0)
    x, y = digits()
    model = classifier(AdaSecant(), jit_compile)
    model.fit(x[:1500], y[:1500], batch_size=50, epochs=4, verbose=0)
    loss, accuracy = model.evaluate(x[1500:], y[1500:], verbose=0)
    assert loss < 0.4  # after as many epochs Keras' SGD() is at 2.09, its Adam() at 1.74
    assert accuracy > 0.89


def test_schedule():
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.5)
    optimizer = AdaSecant(schedule)
    assert quadratic(optimizer, [1.0, 2.0], 50) < 0.1
    clone = AdaSecant.from_config(optimizer.get_config())
    assert clone.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    "options",
    [
        {"clipvalue": 0.01, "use_ema": True, "ema_momentum": 0.9},
        {"global_clipnorm": 0.1, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 10},
        {"clipnorm": 0.1, "weight_decay": 1e-5, "loss_scale_factor": 128.0, "gradient_accumulation_steps": 2},
    ],
    ids=lambda options: "-".join(options),
)
def test_options_of_every_keras_optimizer(options):
    keras.utils.set_random_seed(0)
    x, y = digits()
    model = classifier(AdaSecant(**options))
    model.fit(x, y, batch_size=50, epochs=2, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


def test_clipnorm_changes_nothing():
    gradients = np.random.default_rng(2).normal(size=(5, 4)).astype("float32")
    results = []
    for options in ({}, {"clipnorm": 0.5}):
        x = keras.Variable(np.zeros(4, "float32"))
        optimizer = AdaSecant(**options)
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)], [x])
        results.append(x.numpy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


def test_saved_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    x, y = digits()
    model = classifier(AdaSecant(0.5, gamma_clip=1.5, epsilon=1e-6))
    model.fit(x, y, batch_size=200, epochs=1, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, AdaSecant)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for m in (model, loaded):
        m.fit(x, y, batch_size=200, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], loaded.get_weights()[0], rtol=1e-5, atol=1e-6)


def test_sparse_gradient_of_an_embedding():
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 20, (64, 5)), rng.integers(0, 2, (64, 1))
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile(AdaSecant(), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    losses = model.fit(x, y, batch_size=32, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_half_precision_policy():
    x, y = digits()
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, dtype="mixed_float16")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.LossScaleOptimizer(AdaSecant()), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=50, epochs=2, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma_clip": -1.0}, "gamma_clip must be at least 0, got -1.0"),
        ({"epsilon": 0.0}, "epsilon must be above 0, got 0.0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaSecant(**arguments)

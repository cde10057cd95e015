from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from kapps.create import create_model

SQUARE = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")


def perceptron(classes: int, pixels: int, rate: float = 1.0) -> keras.Model:
    model = create_model("perceptron", num_classes=classes, input_shape=(1, pixels, 1))
    loss = "binary_crossentropy" if classes == 1 else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


def learn(model: keras.Model, x: np.ndarray, y: np.ndarray, epochs: int, batch_size: int = 4) -> list[float]:
    """Corrections in each epoch."""
    images = x.reshape(len(x), 1, -1, 1)
    return model.fit(images, y, batch_size, epochs, verbose=0, shuffle=False).history["corrections"]


def answers(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return model(x.reshape(len(x), 1, -1, 1)).numpy()


def numpy_rule(x: np.ndarray, y: np.ndarray, classes: int, rate: float, epochs: int):
    """Rosenblatt's rule, and Kesler's construction, written out with indices."""
    w, b, corrections = np.zeros((x.shape[1], classes)), np.zeros(classes), []
    for _ in range(epochs):
        corrections.append(0)
        for signal, label in zip(x, y, strict=True):
            net = signal @ w + b
            if classes == 1:
                change = {0: float(label) - float(net[0] > 0)}
            else:
                guess = int(np.argmax(net))
                change = {} if guess == label else {int(label): 1.0, guess: -1.0}
            corrections[-1] += any(change.values())
            for unit, sign in change.items():
                w[:, unit] += rate * sign * signal
                b[unit] += rate * sign
    return w, b, corrections


@pytest.mark.parametrize(("classes", "rate"), [(1, 1.0), (1, 0.5), (3, 1.0), (2, 0.25)])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_rule_is_the_written_out_one_whatever_the_batch(classes, rate, batch_size):
    rng = np.random.default_rng(classes)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.integers(0, max(2, classes), 20)
    model = perceptron(classes, 4, rate)
    corrections = learn(model, x, y, epochs=3, batch_size=batch_size)
    w, b, expected = numpy_rule(x, y, classes, rate, epochs=3)
    assert corrections == expected
    layer = model.get_layer("net_input")
    np.testing.assert_allclose(layer.kernel, w, atol=1e-5)
    np.testing.assert_allclose(layer.bias, b, atol=1e-5)


def test_learns_every_function_of_two_inputs_but_two():
    """14 of the 16 Boolean functions can be separated by a line; AND and OR are among them, XOR is not."""
    model = perceptron(1, 2)
    start = model.get_weights()
    learned = set()
    for targets in itertools.product((0, 1), repeat=4):
        model.set_weights(start)
        twelve_times = np.tile(SQUARE, (12, 1)), np.tile(targets, 12)
        _, corrections = learn(model, *twelve_times, epochs=2, batch_size=48)
        if corrections == 0:
            assert answers(model, SQUARE)[:, 0].tolist() == list(targets)
            learned.add(targets)
    assert len(learned) == 14
    assert not learned & {(0, 1, 1, 0), (1, 0, 0, 1)}


@pytest.mark.parametrize("targets", [(0, 1, 1, 0), (1, 0, 0, 1)], ids=["xor", "equal"])
def test_cycles_on_xor(targets):
    """No line separates them: every epoch has corrections, and the weights come back to where they were."""
    model = perceptron(1, 2)
    seen = []
    for _ in range(5):
        assert learn(model, SQUARE, np.array(targets), epochs=1)[0] > 0
        assert answers(model, SQUARE)[:, 0].tolist() != list(targets)
        seen.append(tuple(np.concatenate([w.ravel() for w in model.get_weights()])))
    assert len(set(seen)) < len(seen)


@pytest.mark.parametrize("seed", range(2))
def test_convergence_theorem(seed):
    """At most (R / gamma)^2 corrections on separable data (Novikoff 1962)."""
    rng = np.random.default_rng(seed)
    separator = rng.normal(size=4) * [1, 1, 1, 0.2]  # three weights and the bias
    separator /= np.linalg.norm(separator)
    x = rng.normal(size=(300, 3)).astype("float32")
    margins = x @ separator[:3] + separator[3]
    keep = np.abs(margins) > 0.2
    x, margins = x[keep], margins[keep]
    assert 20 < (margins > 0).sum() < len(x) - 20
    longest = np.sqrt((x**2).sum(axis=1) + 1).max()
    bound = (longest / np.abs(margins).min()) ** 2
    corrections = learn(perceptron(1, 3), x, (margins > 0).astype(int), epochs=60, batch_size=len(x))
    assert corrections[-1] == 0
    assert 0 < sum(corrections) <= bound


def test_reads_digits():
    """8x8 scans of handwritten digits: ten response units, far above the 10 % of guessing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32").reshape(-1, 8, 8, 1)
    model = create_model("perceptron", input_shape=(8, 8, 1))
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:1300], y[:1300], 64, epochs=8, verbose=0, shuffle=False)
    right = model(x[1300:]).numpy().argmax(axis=1) == y[1300:]
    assert right.mean() > 0.85


def test_net_inputs_without_activation():
    model = create_model("perceptron", num_classes=1, input_shape=(1, 2, 1), classifier_activation=None)
    model.get_layer("net_input").set_weights([np.array([[2.0], [-1.0]]), np.array([0.5])])
    np.testing.assert_allclose(answers(model, SQUARE)[:, 0], [0.5, -0.5, 2.5, 1.5])


def test_metrics_and_evaluation_work_as_for_any_model():
    model = perceptron(2, 2)
    history = model.fit(SQUARE.reshape(4, 1, 2, 1), np.array([0, 0, 0, 1]), epochs=2, verbose=0).history
    assert set(history) == {"accuracy", "corrections", "loss"}
    results = model.evaluate(SQUARE.reshape(4, 1, 2, 1), np.array([0, 0, 0, 1]), verbose=0, return_dict=True)
    assert set(results) == {"accuracy", "loss"}
    assert int(model.optimizer.iterations) == 2


def test_fingerprint(fingerprint):
    fingerprint("perceptron", {"retina": (0.5037, 0.2876)})

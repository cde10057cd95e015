"""Adaptation on made-up images: two classes, told apart by where the light is; the target is darker and reversed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.errors import DataError, RecipeError, UnknownNameError
from kapps.tasks.adaptation.adapt import METHODS, adapt
from kapps.tasks.adaptation.mnist_to_textured import textured


def trunk():
    image = keras.Input((4, 4, 1))
    features = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(image))
    return keras.Model(image, features)


def domains(seed=0, count=200):
    """Source images, their labels, target images and their labels; a shift lies over all of the target's pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (2, count))
    images = rng.normal(scale=0.3, size=(2, count, 4, 4, 1)).astype("float32")
    for side in (0, 1):
        images[side, labels[side] == 0, :2] += 1
        images[side, labels[side] == 1, 2:] += 1
    images[1, :, 0] += 2.0  # as if the light of class 0 were always there
    return images[0], labels[0], images[1], labels[1]


@pytest.fixture(scope="module")
def adapted():
    source, labels, target, _ = domains()
    results = {}
    for method in METHODS:
        keras.utils.set_random_seed(0)
        lines: list[str] = []
        settings = {"num_classes": 2, "method": method, "steps": 60, "batch_size": 32, "learning_rate": 0.02}
        results[method] = adapt(trunk(), (source, labels), target, report=lines.append, **settings), lines
    return results


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_source_and_says_how(adapted, method):
    result, lines = adapted[method]
    history = result.history
    assert history[-1]["step"] == 60
    assert history[-1]["class_loss"] < 0.5 * history[0]["class_loss"]
    assert [row["step"] for row in history] == sorted(row["step"] for row in history)
    assert len(lines) == len(history)
    assert ("domain_loss" in history[-1]) is (method != "source_only")
    probabilities = result.model.predict(domains()[2], verbose=0)
    assert probabilities.shape == (200, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("method", ["coral", "mmd", "dann"])
def test_the_features_of_the_domains_come_nearer(adapted, method):
    """Against training on the source alone, in what each method measures: here the distance of means in deviations."""
    source, _, target, _ = domains()

    def gap(model):
        features = keras.Model(model.input, model.layers[2].output)
        of_source, of_target = (features.predict(some, verbose=0) for some in (source, target))
        if method == "coral":
            difference = np.cov(of_source, rowvar=False) - np.cov(of_target, rowvar=False)
            return (difference**2).sum() / (np.cov(of_source, rowvar=False) ** 2).sum()
        return np.linalg.norm(of_source.mean(0) - of_target.mean(0)) / of_source.std()

    assert gap(adapted[method][0].model) < gap(adapted["source_only"][0].model)


def test_a_seed_gives_the_same_again():
    source, labels, target, _ = domains()
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        result = adapt(trunk(), (source, labels), target, num_classes=2, steps=4, batch_size=8, seed=5)
        weights.append(result.model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"method": "dan"}, UnknownNameError, "did you mean 'dann'"),
        ({"target": np.zeros((3, 4, 4, 3), "float32")}, DataError, "expected target images"),
        ({"target": np.zeros((3, 4, 4, 1), "uint8")}, DataError, "got uint8"),
        ({"target": np.zeros((0, 4, 4, 1), "float32")}, DataError, "expected target images"),
        (
            {"source": (np.zeros((3, 4, 4, 1), "float32"), np.array([0, 1]))},
            DataError,
            "an integer label for each of 3",
        ),
        (
            {"source": (np.zeros((2, 4, 4, 1), "float32"), np.array([0, 2]))},
            DataError,
            "labels from 0 to 1, got 0 to 2",
        ),
        ({"steps": 1}, RecipeError, "at least 2 steps"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(change, error, complaint):
    source, labels, target, _ = domains()
    arguments = {"source": (source, labels), "target": target, "num_classes": 2, **change}
    with pytest.raises(error, match=complaint) as caught:
        adapt(trunk(), **arguments)
    assert "\n" not in str(caught.value)


def test_a_trunk_with_maps_is_refused():
    image = keras.Input((4, 4, 1))
    maps = keras.Model(image, keras.layers.Conv2D(2, 3)(image))
    source, labels, target, _ = domains()
    with pytest.raises(RecipeError, match="pool or flatten"):
        adapt(maps, (source, labels), target, num_classes=2)


def test_textured_digits_are_the_negative_of_the_photograph_where_there_is_ink():
    digits = np.zeros((5, 3, 3, 1), "float32")
    digits[:, 1, 1] = 1
    photographs = [np.full((4, 9, 3), 0.25, "float32"), np.full((7, 5, 3), 0.75, "float32")]
    images = textured(digits, photographs, seed=0)
    assert images.shape == (5, 3, 3, 3)
    grounds = images[:, 0, 0, 0]
    assert set(grounds.tolist()) == {0.25, 0.75}
    np.testing.assert_array_equal(images[:, 1, 1, 0], 1 - grounds)
    np.testing.assert_array_equal(images, textured(digits, photographs, seed=0))

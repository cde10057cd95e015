"""Several questions about made-up rows, some without an answer; and the questions about scenes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.data.scenes import CLASS_NAMES, COLOURS, SIZES, make_scene
from kapps.errors import DataError, RecipeError
from kapps.tasks.multitask import multitask_scenes
from kapps.tasks.multitask.learn import NOT_GIVEN, accuracies, cross_entropy, learn

TASKS = {"sign": 2, "quarter": 4}


def trunk():
    row = keras.Input((2,))
    return keras.Model(row, keras.layers.Dense(16, activation="relu")(row))


def rows(count=400, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 2)).astype("float32")
    left, low = (points[:, axis] < 0 for axis in (0, 1))
    return points, {"sign": left.astype(int), "quarter": 2 * left + low}


def test_cross_entropy_counts_the_given_labels_only():
    scores = np.array([[1.0, 3.0], [0.0, 0.0], [2.0, -1.0]], "float32")
    loss, any_given = cross_entropy(np.array([1, NOT_GIVEN, 1]), scores)
    expected = np.mean([np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(3.0))])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert bool(any_given)
    loss, any_given = cross_entropy(np.array([-1, -1, -1]), scores)
    assert (float(loss), bool(any_given)) == (0, False)


@pytest.fixture(scope="module")
def half_given():
    """What was learned where each task has the labels of another half of the rows, and its lines."""
    keras.utils.set_random_seed(0)
    points, labels = rows()
    labels = {task: some.copy() for task, some in labels.items()}
    labels["sign"][:200] = NOT_GIVEN
    labels["quarter"][200:] = NOT_GIVEN
    lines: list[str] = []
    return learn(trunk(), TASKS, points, labels, steps=150, learning_rate=0.03, report=lines.append), lines


def test_every_task_learns_from_its_own_half(half_given):
    learned, lines = half_given
    points, labels = rows(seed=1)
    right = accuracies(learned.model, points, labels)
    assert list(right) == ["sign", "quarter"]
    assert right["sign"] > 0.93
    assert right["quarter"] > 0.9
    assert len(lines) == 10
    likely = learned.model.predict(points, verbose=0)
    np.testing.assert_allclose(likely["quarter"].sum(axis=1), 1, rtol=1e-5)


def test_the_harder_task_counts_less(half_given):
    learned, _ = half_given
    assert learned.weights["sign"] > learned.weights["quarter"] > 1, "losses under a half count more than one"


def test_accuracy_is_of_the_given_labels():
    row = keras.Input((2,))
    model = keras.Model(row, {"sign": keras.layers.Softmax()(row)})
    points = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert accuracies(model, points, {"sign": np.array([1, 1, NOT_GIVEN])}) == {"sign": 0.5}


def test_summed_losses_have_weights_of_one_and_learn_too():
    keras.utils.set_random_seed(0)
    points, labels = rows()
    learned = learn(trunk(), TASKS, points, labels, weighting="sum", steps=60, learning_rate=0.03)
    assert learned.weights == {"sign": 1, "quarter": 1}
    assert accuracies(learned.model, points, labels)["sign"] > 0.9


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"labels": {"sign": np.zeros(400, int)}}, DataError, "labels for the task 'quarter', got those of sign"),
        ({"labels": {**rows()[1], "sign": np.zeros(3, int)}}, DataError, "an integer of 'sign' for each of 400"),
        ({"labels": {**rows()[1], "sign": np.full(400, -1)}}, DataError, "at least one image with a label of 'sign'"),
        ({"labels": {**rows()[1], "sign": np.full(400, 2)}}, DataError, "labels of 'sign' from 0 to 1"),
        ({"tasks": {}}, RecipeError, "at least one task"),
        ({"weighting": "mean"}, RecipeError, "got 'mean'"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(change, error, complaint):
    points, labels = rows()
    with pytest.raises(error, match=complaint) as caught:
        learn(trunk(), **{"tasks": TASKS, "images": points, "labels": labels, **change})
    assert "\n" not in str(caught.value)


def test_answers_about_a_scene_are_those_of_its_largest_object():
    for index in range(20):
        scene = make_scene(7, index, (48, 48), num_objects=(1, 4))
        seen = [mask.sum() for mask in scene.masks]
        largest = scene.objects[seen.index(max(seen))]
        answers = multitask_scenes.answers(scene)
        assert answers["count"] + 1 == len(scene.objects)
        named = (CLASS_NAMES[answers["class"]], list(COLOURS)[answers["colour"]], list(SIZES)[answers["size"]])
        assert named == (largest.name, largest.colour, largest.size)


def test_one_network_has_as_many_weights_as_four():
    tasks, width = multitask_scenes.TASKS, multitask_scenes.WIDTH

    def weights(width, classes):
        return multitask_scenes.trunk(width).count_params() + (4 * width + 1) * classes

    shared, single = (
        weights(width, sum(tasks.values())),
        sum(weights(width // 2, classes) for classes in tasks.values()),
    )
    assert single == pytest.approx(shared, rel=0.02)

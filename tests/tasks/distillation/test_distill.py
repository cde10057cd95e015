"""Distillation against its formula, and on made-up rows whose labels are mostly wrong while the teacher is right."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.errors import DataError, RecipeError
from kapps.tasks.distillation.distill import answers, distill, distillation_loss, softened


def softmax(scores, temperature=1.0):
    shares = np.exp(scores / temperature)
    return shares / shares.sum(axis=-1, keepdims=True)


def oracle(labels, teacher_scores, scores, temperature, alpha):
    hard = -np.log(softmax(scores)[np.arange(len(labels)), labels])
    soft = -(softmax(teacher_scores, temperature) * np.log(softmax(scores, temperature))).sum(axis=-1)
    return (alpha * temperature**2 * soft + (1 - alpha) * hard).mean()


def student(classes=3):
    row = keras.Input((2,))
    return keras.Model(row, keras.layers.Dense(classes)(keras.layers.Dense(16, activation="relu")(row)))


def rows(count=300, seed=0):
    """Points, and the third of the circle that each lies in."""
    points = np.random.default_rng(seed).normal(size=(count, 2)).astype("float32")
    angle = np.arctan2(points[:, 1], points[:, 0]) + np.pi
    return points, np.minimum(angle // (2 * np.pi / 3), 2).astype(int)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (4.0, 0.9), (2.0, 0.0), (3.0, 1.0)])
def test_loss_against_the_formula_and_by_numerical_gradient(temperature, alpha):
    rng = np.random.default_rng(0)
    labels, teacher, scores = rng.integers(0, 5, 4), rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    variable = tf.Variable(scores)
    with tf.GradientTape() as tape:
        loss = distillation_loss(labels, tf.constant(softmax(teacher)), variable, temperature, alpha)
    assert float(loss) == pytest.approx(oracle(labels, teacher, scores, temperature, alpha))
    gradient = tape.gradient(loss, variable).numpy()
    for index in np.ndindex(scores.shape):
        step = np.zeros_like(scores)
        step[index] = 1e-6
        up, down = (oracle(labels, teacher, scores + way * step, temperature, alpha) for way in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / 2e-6, abs=1e-7)


def test_softening_probabilities_is_softening_scores():
    scores = np.random.default_rng(1).normal(scale=3, size=(6, 4))
    np.testing.assert_allclose(softened(tf.constant(softmax(scores)), 4.0), softmax(scores, 4.0), rtol=1e-10)
    assert np.isfinite(softened(tf.constant([[1.0, 0.0]]), 4.0)).all()


def accuracy(model, points, labels):
    return (model.predict(points, verbose=0).argmax(axis=1) == labels).mean()


def test_the_teacher_is_learned_where_the_labels_are_wrong():
    keras.utils.set_random_seed(0)
    points, right = rows()
    wrong, teacher = (right + 1) % 3, softmax(6.0 * np.eye(3)[right]).astype("float32")
    test = rows(seed=1)
    settings = {"steps": 150, "learning_rate": 0.03}
    lines: list[str] = []
    alone = distill(student(), points, teacher=teacher, report=lines.append, **settings)
    assert accuracy(alone.model, *test) > 0.9
    assert len(alone.history) == len(lines) == 10
    assert accuracy(distill(student(), points, teacher=teacher, labels=wrong, **settings).model, *test) > 0.8
    assert accuracy(distill(student(), points, labels=wrong, **settings).model, *test) < 0.1
    ignored = distill(student(), points, teacher=teacher, labels=wrong, alpha=0.0, **settings)
    assert accuracy(ignored.model, *test) < 0.1


def test_answers_of_a_keras_model_and_of_a_predictor():
    class Reversed:
        """A predictor whose network turns its scaled image round."""

        def preprocess(self, images):
            return images.astype("float32") / 255

        def predict_tensors(self, batch):
            return batch[:, ::-1]

    images = np.random.default_rng(0).integers(0, 256, (7, 3)).astype("uint8")
    np.testing.assert_array_equal(answers(Reversed(), images, batch_size=3), (images.astype("float32") / 255)[:, ::-1])
    row = keras.Input((3,))
    model = keras.Model(row, keras.layers.Softmax()(row))
    np.testing.assert_allclose(answers(model, images / 255.0), softmax(images / 255.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"teacher": None, "labels": None}, RecipeError, "got neither"),
        ({"temperature": 0.0}, RecipeError, "temperature above 0"),
        ({"alpha": 1.5}, RecipeError, "alpha from 0 to 1"),
        ({"teacher": np.ones((300, 2), "float32")}, DataError, r"answers \[300, 3\], got \[300, 2\]"),
        ({"teacher": np.ones((300, 3), "float32")}, DataError, "do not sum to 1"),
        ({"labels": np.zeros(3, int)}, DataError, "label for each of 300"),
        ({"labels": np.full(300, 3)}, DataError, "labels from 0 to 2, got 3 to 3"),
    ],
)
def test_what_cannot_be_distilled_is_refused_in_one_line(change, error, complaint):
    points, labels = rows()
    with pytest.raises(error, match=complaint) as caught:
        distill(student(), points, **{"labels": labels, **change})
    assert "\n" not in str(caught.value)


def test_a_student_with_a_softmax_is_refused():
    points, labels = rows()
    one = student()
    with pytest.raises(RecipeError, match="classifier_activation=None"):
        distill(keras.Model(one.input, keras.layers.Softmax()(one.output)), points, labels=labels)

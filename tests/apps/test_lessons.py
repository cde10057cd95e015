"""The perceptron's lessons against corrections made by hand, and the claims that the page makes about them."""

from __future__ import annotations

import numpy as np
import pytest

from apps import lessons


def by_hand(examples: tuple[lessons.Example, ...], epochs: int = lessons.MOST_EPOCHS) -> lessons.Lesson:
    """Rosenblatt's rule in plain Python."""
    weights, corrections, mistakes = np.zeros(3), [], []
    while len(mistakes) < epochs and (not mistakes or mistakes[-1]):
        mistakes.append(0)
        for index, (x, y, label) in enumerate(examples):
            example = np.array([x, y, 1.0])
            if (weights @ example > 0) != bool(label):
                weights = weights + example if label else weights - example
                mistakes[-1] += 1
                corrections.append(lessons.Correction(len(mistakes), index, tuple(weights.tolist())))
    return lessons.Lesson(tuple(corrections), tuple(mistakes))


def test_gates_are_the_truth_tables() -> None:
    assert lessons.GATES["AND"] == ((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1))
    assert lessons.GATES["XOR"] == ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))


@pytest.mark.parametrize("problem", ["AND", "OR", "XOR"])
def test_the_catalogues_perceptron_makes_the_corrections_of_the_rule(problem: str) -> None:
    assert lessons.learn(lessons.GATES[problem]) == by_hand(lessons.GATES[problem])


def test_blobs_are_learned_after_some_corrections() -> None:
    lesson, hand = lessons.learn(lessons.blobs()), by_hand(lessons.blobs())
    assert lesson.mistakes == hand.mistakes
    assert lesson.mistakes[-1] == 0
    assert len(lesson.corrections) > 5
    np.testing.assert_allclose(lesson.corrections[-1].weights, hand.corrections[-1].weights, rtol=1e-5)


def test_xor_never_ends_and_and_does() -> None:
    assert lessons.learn(lessons.GATES["AND"]).mistakes[-1] == 0
    xor = lessons.learn(lessons.GATES["XOR"])
    assert len(xor.mistakes) == lessons.MOST_EPOCHS
    assert min(xor.mistakes) > 0


@pytest.mark.parametrize(
    ("examples", "answer"),
    [
        (lessons.GATES["AND"], True),
        (lessons.GATES["OR"], True),
        (lessons.GATES["XOR"], False),
        (((0.0, 0.0, 1),), True),
        (((0.0, 0.0, 0), (0.0, 0.0, 1)), False),  # one place, both classes
        (((-1.0, 0.0, 0), (0.0, 0.0, 1), (1.0, 0.0, 0)), False),  # one between two
        (((-1.0, 0.0, 0), (0.0, 0.0, 0), (0.01, 0.0, 1)), True),
    ],
)
def test_separable_says_whether_a_line_exists(examples: tuple[lessons.Example, ...], answer: bool) -> None:
    assert lessons.separable(examples) is answer


def test_two_layers_solve_what_one_cannot() -> None:
    xor = lessons.GATES["XOR"]
    region, outputs, hidden = lessons.learn_two_layers(xor, units=2, start=0, low=-0.6, high=1.6)
    assert [int(output >= 0.5) for output in outputs] == [0, 1, 1, 0]
    assert hidden.shape == (2, 3)
    assert region.shape == (81, 81)
    # The region's corners lie beyond the four examples: row 0 is the top, y = 1.6.
    assert region[0, 0] > 0.5 > region[0, -1]
    assert region[-1, -1] > 0.5 > region[-1, 0]

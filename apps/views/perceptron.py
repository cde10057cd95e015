"""One line that learns from its mistakes, and what it takes when no line will do."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from apps import drawing, layout
from apps.drawing import PlanePoint, PlaneStep
from apps.lessons import (
    GATES,
    STEPS_OF_DESCENT,
    Example,
    Lesson,
    blobs,
    learn,
    learn_two_layers,
    separable,
)

OWN = "Your own"
WAITING = "Choose a class and click into the plane to place examples of it, then some of the other class."
COLOURS = ("blue", "orange")
HALVES = (1, 1.15)


def bounds(problem: str) -> dict[str, float]:
    """The ends of both axes."""
    return {"low": -0.6, "high": 1.6} if problem in GATES else {"low": -3.2, "high": 3.2}


def keep(points: Sequence[PlanePoint]) -> None:
    """Keep the examples that the visitor placed."""
    st.session_state["own"] = tuple((point.x, point.y, int(point.positive)) for point in points)


def mistakes_chart(mistakes: Sequence[int]) -> alt.Chart:
    """The number of mistakes in each epoch."""
    frame = pd.DataFrame({"epoch": range(1, len(mistakes) + 1), "mistakes": mistakes})
    return (
        alt.Chart(frame, title="Mistakes in each epoch")
        .mark_bar(color="#3A7CA5", size=max(4, min(28, 360 // len(mistakes))))
        .encode(
            x=alt.X("epoch:O", title="Epoch", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("mistakes:Q", title=None, axis=alt.Axis(tickMinStep=1, tickCount=4, format="d")),
            tooltip=["epoch", "mistakes"],
        )
        .properties(height=210)
    )


def steps_of(examples: Sequence[Example], lesson: Lesson) -> list[PlaneStep]:
    """What the plane plays: the empty beginning, then every correction with its sentence."""
    steps = [
        PlaneStep((0.0, 0.0, 0.0), None, "All weights are 0: every example is called blue, and there is no line yet.")
    ]
    for correction in lesson.corrections:
        x, y, label = examples[correction.example]
        was, right = (COLOURS[1 - label], COLOURS[label])
        w1, w2, b = correction.weights
        formula = f"{w1:.3g} x {w2:+.3g} y {b:+.3g} > 0".replace("+", "+ ").replace(" -", " − ")
        text = (
            f"Epoch {correction.epoch}: ({x:g}, {y:g}) was called {was} and is {right}, so it is "
            f"{'added to' if label else 'taken off'} the weights. Orange is now where {formula}."
        )
        steps.append(PlaneStep(correction.weights, correction.example, text.replace("-", "−")))
    return steps


def verdict(examples: tuple[Example, ...], lesson: Lesson) -> None:
    """Whether the learning ends."""
    epochs, total = len(lesson.mistakes), len(lesson.corrections)
    if lesson.mistakes[-1] == 0:
        st.success(f"It ends: no mistake in epoch {epochs}, after {total} correction{'s' * (total != 1)}.")
    elif separable(examples):
        st.warning(f"Still mistakes after {epochs} epochs, but a line exists: it will be found later.")
    else:
        st.warning(
            f"It never ends: no line parts these classes. After {epochs} epochs and {total} corrections the line still "
            "swings. Two layers can do it."
        )


def show_perceptron(examples: tuple[Example, ...], problem: str) -> None:
    """The line after each correction, the mistakes of each epoch, and the verdict."""
    left, right = st.columns(HALVES, gap="large")
    with right:
        lesson = learn(examples) if examples else Lesson((), ())
        if len({label for *_, label in examples}) < 2:
            st.info(WAITING)
        else:
            verdict(examples, lesson)
            st.altair_chart(mistakes_chart(lesson.mistakes))
            st.markdown(
                "**The rule.** An example $x$ with target $t$ is answered $y = 1$, orange, where $w \\cdot x + b > 0$, "
                "else $y = 0$, blue. Then $w \\leftarrow w + (t - y)\\,x$ and $b \\leftarrow b + (t - y)$: a right "
                "answer changes nothing. If a line parts the classes, the corrections come to an end (Novikoff 1962)."
            )
    with left:
        drawing.plane(
            f"plane of {problem}",
            [PlanePoint(x, y, bool(label)) for x, y, label in examples],
            **bounds(problem),
            steps=steps_of(examples, lesson) if examples else (),
            keep=keep if problem == OWN else None,
            label="Examples of two classes and the perceptron's line",
        )


def show_two_layers(examples: tuple[Example, ...], problem: str) -> None:
    """The regions of a trained network with one hidden layer, and its hidden units' lines."""
    left, right = st.columns(HALVES, gap="large")
    with right:
        units = st.slider("Hidden units", 1, 8, 2, key="units")
        start = st.session_state.setdefault("start", 0)
        if st.button("Train again from another start"):
            st.session_state["start"] = start + 1
            st.rerun()
    region, hidden, wrong = None, np.zeros((0, 3)), [False] * len(examples)
    if len({label for *_, label in examples}) < 2:
        right.info(WAITING)
    else:
        with right:
            region, outputs, hidden = learn_two_layers(examples, units, start, **bounds(problem))
            wrong = [bool(output >= 0.5) != bool(label) for output, (*_, label) in zip(outputs, examples, strict=True)]
            st.markdown(
                f"{units} sigmoid unit{'s' * (units > 1)}, each with a line of its own (dashed), and one that combines "
                f"them, after {STEPS_OF_DESCENT} steps of back-propagation from start {start + 1}."
            )
            if not any(wrong):
                st.success(f"All {len(examples)} examples are right.")
            elif units == 1:
                st.warning(f"{sum(wrong)} of {len(examples)} are wrong: one hidden unit has one line, as before.")
            else:
                st.warning(
                    f"{sum(wrong)} of {len(examples)} are wrong: gradient descent is stuck in a local minimum, "
                    "or the units are too few. Try another start or more units."
                )
    with left:
        marks = [PlanePoint(x, y, bool(t), wrong=bad) for (x, y, t), bad in zip(examples, wrong, strict=True)]
        drawing.plane(
            f"regions of {problem}",
            marks,
            **bounds(problem),
            hidden=hidden,
            region=region,
            keep=keep if problem == OWN else None,
            label="Two classes, the network's regions and the lines of its hidden units",
        )


layout.header(
    "The perceptron",
    "One unit learns by Rosenblatt's rule: every mistake moves its line, until no example is on the wrong side, or for "
    "ever if no line parts the classes ([Rosenblatt 1958](https://doi.org/10.1037/h0042519); two layers: "
    "[Rumelhart, Hinton and Williams 1986](https://doi.org/10.1038/323533a0)).",
)
which, machine = st.columns(HALVES, gap="large")
with which:
    problem = st.segmented_control(
        "Problem",
        [*GATES, "Blobs", OWN],
        default="AND",
        required=True,
        key="problem",
        label_visibility="collapsed",
    )
with machine:
    network = st.segmented_control(
        "Machine", ["Perceptron", "Two layers"], default="Perceptron", required=True, key="machine",
        label_visibility="collapsed",
    )  # fmt: skip
examples = tuple(st.session_state.get("own", ())) if problem == OWN else GATES.get(problem) or blobs()
if network == "Perceptron":
    show_perceptron(examples, problem)
else:
    show_two_layers(examples, problem)

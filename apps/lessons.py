"""What the perceptron's page shows: examples of two classes, and how one and two layers learn them.

The models are the catalogue's; this module only shows them the examples and writes down what happens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from apps.models import import_kapps

Example = tuple[float, float, int]  # x, y, class 0 or 1

GATES: dict[str, tuple[Example, ...]] = {
    name: tuple((float(a), float(b), int(holds(a, b))) for a in (0, 1) for b in (0, 1))
    for name, holds in {
        "AND": lambda a, b: a and b,
        "OR": lambda a, b: a or b,
        "XOR": lambda a, b: a != b,
    }.items()
}
MOST_EPOCHS = 30
STEPS_OF_DESCENT = 600


@dataclass(frozen=True)
class Correction:
    """One mistake and what it changed.

    Attributes:
        epoch: counted from 1.
        example: the number of the example that was answered wrongly.
        weights: (w1, w2, b) after the correction.
    """

    epoch: int
    example: int
    weights: tuple[float, float, float]


@dataclass(frozen=True)
class Lesson:
    """Everything that one perceptron learned.

    Attributes:
        corrections: in the order in which they were made.
        mistakes: their number in each epoch; the last is 0 if learning has ended.
    """

    corrections: tuple[Correction, ...]
    mistakes: tuple[int, ...]


def blobs(seed: int = 8, count: int = 20) -> tuple[Example, ...]:
    """Two clouds of `count` examples each, in mixed order."""
    draw = np.random.default_rng(seed)
    centres = ((-0.4, -1.1, 0), (1.3, 0.6, 1))
    cloud = [(*draw.normal((x, y), 0.6).round(2).tolist(), label) for x, y, label in centres for _ in range(count)]
    return tuple(cloud[index] for index in draw.permutation(len(cloud)))


@st.cache_data(show_spinner="Learning", max_entries=64)
def learn(examples: tuple[Example, ...]) -> Lesson:
    """The perceptron of the catalogue, shown one example after the other until an epoch brings no mistake."""
    kapps = import_kapps()
    import keras

    model = kapps.create_model("perceptron", num_classes=1, input_shape=(1, 2, 1))
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mean_squared_error")
    layer = model.get_layer("net_input")
    inputs = np.float32([[x, y] for x, y, _ in examples]).reshape(-1, 1, 2, 1)
    targets = np.array([label for *_, label in examples])

    corrections: list[Correction] = []
    mistakes: list[int] = []
    weights = (0.0, 0.0, 0.0)
    while not mistakes or (mistakes[-1] > 0 and len(mistakes) < MOST_EPOCHS):
        mistakes.append(0)
        for index in range(len(examples)):
            model.train_on_batch(inputs[index : index + 1], targets[index : index + 1])
            before, weights = weights, (*layer.kernel.numpy()[:, 0].tolist(), *layer.bias.numpy().tolist())
            if weights != before:  # a mistake always changes the bias
                mistakes[-1] += 1
                corrections.append(Correction(len(mistakes), index, weights))
    return Lesson(tuple(corrections), tuple(mistakes))


@st.cache_data(show_spinner=False, max_entries=64)
def separable(examples: tuple[Example, ...]) -> bool:
    """Whether some line parts the classes: a linear programme looks for w, b with t (w x + b) >= 1 for all."""
    from scipy.optimize import linprog

    rows = [[-(2 * label - 1) * value for value in (x, y, 1.0)] for x, y, label in examples]
    return linprog(np.zeros(3), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=(None, None)).status == 0


@st.cache_data(show_spinner="Back-propagating the error", max_entries=64)
def learn_two_layers(
    examples: tuple[Example, ...], units: int, start: int, low: float, high: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two-layer network of the catalogue, trained on all examples at once.

    Returns:
        its output over the square [81, 81] with the first row on top, its output for the examples [n], and
        (w1, w2, b) of every hidden unit [units, 3].
    """
    kapps = import_kapps()
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(start)
    model = kapps.create_model("xor_net", num_classes=1, classifier_activation="sigmoid", config={"hidden": (units,)})
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy", steps_per_execution=100)
    inputs = np.float32([[x, y] for x, y, _ in examples])
    targets = np.float32([[label] for *_, label in examples])
    # Every step takes all examples, so there is nothing to shuffle.
    model.fit(tf.data.Dataset.from_tensors((inputs, targets)).repeat(STEPS_OF_DESCENT), shuffle=False, verbose=0)

    ticks = np.linspace(low, high, 81, dtype=np.float32)
    square = np.stack(np.meshgrid(ticks, ticks[::-1]), axis=-1).reshape(-1, 2)
    kernel, bias = model.get_layer("hidden1").get_weights()
    return (
        np.asarray(model(square)).reshape(81, 81),
        np.asarray(model(inputs))[:, 0],
        np.concatenate([kernel, bias[None]]).T,
    )

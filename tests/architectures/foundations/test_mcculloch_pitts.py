from __future__ import annotations

import numpy as np
import pytest

from kapps.architectures.foundations.mcculloch_pitts import AND, AND_NOT, NOT, OR, XOR, Gate
from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError

SQUARE = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")


def truth(layers, inputs=SQUARE) -> list[int]:
    model = create_model("mcculloch_pitts", input_shape=(inputs.shape[1],), config={"layers": layers})
    return model(inputs).numpy()[:, 0].astype(int).tolist()


@pytest.mark.parametrize(
    ("gate", "expected"),
    [(AND, [0, 0, 0, 1]), (OR, [0, 1, 1, 1]), (AND_NOT, [0, 0, 1, 0])],
    ids=["and", "or", "and not"],
)
def test_gates_of_figure_1(gate, expected):
    assert truth(((gate,),)) == expected


def test_not():
    assert truth(((NOT,),), np.array([[0.0], [1.0]], "float32")) == [1, 0]


def test_xor_takes_two_rows():
    assert truth(XOR) == [0, 1, 1, 0]


def test_inhibition_is_absolute():
    """One inhibitory synapse silences a unit with any number of active excitatory ones."""
    gate = Gate((5, 5, -1), 1)
    inputs = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], "float32")
    assert truth(((gate,),), inputs) == [1, 0, 0]


def test_default_is_and():
    np.testing.assert_array_equal(create_model("mcculloch_pitts")(SQUARE)[:, 0], [0, 0, 0, 1])


def test_number_of_classes_is_the_last_row():
    config = {"layers": ((AND, OR),)}
    model = create_model("mcculloch_pitts", num_classes=2, config=config)
    np.testing.assert_array_equal(model(SQUARE), [[0, 0], [0, 1], [0, 1], [1, 1]])
    with pytest.raises(RecipeError, match="2 units of its last row, not 1"):
        create_model("mcculloch_pitts", config=config)


def test_wrong_number_of_synapses_is_refused():
    with pytest.raises(RecipeError, match="mcculloch_pitts cannot be built"):
        create_model("mcculloch_pitts", input_shape=(3,))


def test_fingerprint():
    features = create_backbone("mcculloch_pitts", config={"layers": XOR})(SQUARE)
    np.testing.assert_array_equal(features["layer1"], [[0, 0], [0, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(features["layer2"], [[0], [1], [1], [0]])

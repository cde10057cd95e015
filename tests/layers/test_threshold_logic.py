from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from kapps.layers.threshold_logic import ThresholdLogic


def test_equals_the_definition():
    """All inputs of four fibres, for units with excitatory, inhibitory and absent synapses."""
    synapses, thresholds = [(1, 1, 1, 1), (2, 1, 0, -1), (0, -1, -1, 0), (3, 0, 0, 0)], [3, 2, 0, 4]
    inputs = np.array(list(itertools.product((0, 1), repeat=4)), "float32")
    expected = [
        [
            not any(n == -1 and active for n, active in zip(row, x, strict=True))
            and sum(n for n, active in zip(row, x, strict=True) if active and n > 0) >= threshold
            for row, threshold in zip(synapses, thresholds, strict=True)
        ]
        for x in inputs
    ]
    layer = ThresholdLogic(synapses, thresholds)
    np.testing.assert_array_equal(layer(inputs), np.array(expected, float))
    assert layer.count_params() == 0


def test_saving(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, ThresholdLogic([(1, 1), (1, -1)], [2, 1])(inputs))
    assert model.output_shape == (None, 2)
    model.save(tmp_path / "model.keras")
    x = np.array([[1, 1], [1, 0]], "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), [[1, 0], [0, 1]])


@pytest.mark.parametrize("synapses", [[(1, 1)], [(1, 1), (1,)], [(1, -2), (1, 1)], [(1, 0.5), (1, 1)]])
def test_impossible_synapses_are_refused(synapses):
    with pytest.raises(ValueError, match="synapses should be"):
        ThresholdLogic(synapses, [1, 1])


def test_wrong_number_of_fibres_is_refused():
    with pytest.raises(ValueError, match="axis -1"):
        ThresholdLogic([(1, 1)], [1])(np.ones((1, 3), "float32"))

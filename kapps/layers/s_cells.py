"""The S-cells of the neocognitron: feature detectors that compare their inputs with what they have learned."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class SCells(keras.layers.Layer):
    """Planes of cells, all cells of a plane with the same input synapses, excitation divided by inhibition.

    Fukushima: "Neocognitron: a self-organizing neural network model for a mechanism of pattern recognition unaffected
    by shift in position", Biological Cybernetics 36, 1980. For plane k, place n and the offsets o of the input field:

        v(n) = sqrt(sum_j,o c(o) u_j(n + o)^2)
        s_k(n) = r max(0, (1 + sum_j,o a_jk(o) u_j(n + o)) / (1 + 2 r / (1 + r) b_k v(n)) - 1)

    c falls with the distance from the centre and adds up to 1 over all offsets and input planes j. A cell that was
    taught one pattern strongly answers 1 to it, and nothing to patterns whose similarity (the cosine weighted by c) is
    under r / (1 + r).

    `learn` is the paper's learning without a teacher. The cells of all planes with fields around one place form a
    column; the strongest cell of each column is a candidate, and the strongest candidate of a plane represents it. A
    representative at n teaches its plane: `a_jk(o) += q c(o) u_j(n + o)` and `b_k += q / 2 v(n)`. So planes that know
    nothing yet become the detectors of what no other plane answers to.

    Args:
        planes: number of planes.
        side: cells in a row and in a column of a plane, in the middle of the inputs; zeros are around them.
        selectivity: r, above 0.
        reinforcement: q, above 0.
        field: side of the input field.
        decay: c(o) is proportional to decay ** |o|.
        column: side of the columns in which cells compete.

    Call arguments:
        inputs: `[B, H, W, C]` with known H and W, at least 0.

    Returns:
        `[B, side, side, planes]`, at least 0.

    Raises:
        ValueError: H, W or C is not known.
    """

    def __init__(
        self,
        planes: int,
        side: int,
        selectivity: float,
        reinforcement: float,
        field: int = 5,
        decay: float = 0.9,
        column: int = 5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.planes, self.side, self.field, self.column = planes, side, field, column
        self.selectivity, self.reinforcement, self.decay = float(selectivity), float(reinforcement), float(decay)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if None in input_shape[1:]:
            raise ValueError(f"SCells: the size of the inputs must be known, got shape {tuple(input_shape)}")
        channels = input_shape[-1]
        weights = distance_weights(self.field, self.decay) / channels
        self.c = np.repeat(weights[:, :, None, None], channels, axis=2).astype("float32")  # [f, f, C, 1]
        # So small that every learned cell wins against a fresh one that its pattern suits.
        self.a = self.add_weight(
            name="a",
            shape=(self.field, self.field, channels, self.planes),
            initializer=keras.initializers.RandomUniform(0.0, 1e-3),
            trainable=False,
        )
        self.b = self.add_weight(name="b", shape=(self.planes,), initializer="zeros", trainable=False)

    def call(self, inputs):
        x = centre(inputs, self.side, self.field)
        excitation = ops.conv(x, self.a, padding="valid")
        r = self.selectivity
        inhibition = 2 * r / (1 + r) * self.b * self.inhibitory(x)
        return r * ops.relu((1 + excitation) / (1 + inhibition) - 1)

    def inhibitory(self, x):
        """v, `[B, side, side, 1]`, of inputs that `centre` has brought to size."""
        return ops.sqrt(ops.conv(ops.square(x), ops.cast(self.c, x.dtype), padding="valid"))

    def learn(self, inputs):
        """Learn one example `[1, H, W, C]`; returns the number of planes that had a representative."""
        cells = self(inputs)  # [1, side, side, planes]
        strongest = ops.max(cells, axis=-1, keepdims=True)  # at each place
        of_columns = ops.max_pool(strongest, self.column, 1, "same", "channels_last")
        # The strongest cell of some column around it, not only of the column whose centre it is.
        lowest_column = -ops.max_pool(-of_columns, self.column, 1, "same", "channels_last")
        is_candidate = ops.logical_and(cells == strongest, strongest >= lowest_column)
        candidates = ops.reshape(ops.where(is_candidate, cells, 0.0), (-1, self.planes))  # [places, planes]
        place = ops.argmax(candidates, axis=0)  # [planes]
        represented = ops.cast(ops.max(candidates, axis=0) > 0, "float32")

        x = centre(inputs, self.side, self.field)
        fields = ops.image.extract_patches(x, self.field, strides=1, padding="valid", data_format="channels_last")
        fields = ops.reshape(fields, (-1, self.field * self.field * x.shape[-1]))  # [places, field * field * C]
        seen = ops.transpose(ops.take(fields, place, axis=0)) * represented  # [field * field * C, planes]
        v = ops.take(ops.reshape(self.inhibitory(x), (-1,)), place) * represented
        self.a.assign_add(self.reinforcement * self.c * ops.reshape(seen, self.a.shape))
        self.b.assign_add(self.reinforcement / 2 * v)
        return ops.sum(represented)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.side, self.side, self.planes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "planes": self.planes,
            "side": self.side,
            "selectivity": self.selectivity,
            "reinforcement": self.reinforcement,
            "field": self.field,
            "decay": self.decay,
            "column": self.column,
        }


def centre(inputs, side: int, field: int):
    """The middle of the inputs, `[B, side + field - 1, side + field - 1, C]`, with zeros around smaller ones."""
    x = inputs
    for axis in (1, 2):
        missing = side + field - 1 - inputs.shape[axis]
        before = missing // 2
        if missing > 0:
            x = ops.pad(x, [(before, missing - before) if axis == at else (0, 0) for at in range(4)])
        elif missing < 0:
            x = ops.take(x, ops.arange(-before, -before + side + field - 1), axis=axis)
    return x


def distance_weights(field: int, decay: float) -> np.ndarray:
    """`decay ** distance from the centre`, [field, field], with the sum 1."""
    offsets = np.arange(field) - (field - 1) / 2
    weights = decay ** np.hypot(offsets[:, None], offsets[None])
    return weights / weights.sum()

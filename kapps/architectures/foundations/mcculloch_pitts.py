"""The McCulloch-Pitts unit: the first model of a neuron as a logical gate.

Idea: a neuron either fires or not, so it states a proposition, and a net of neurons computes any function of
propositions.

    stage   what                                                                        output
    layer1  units that fire if `threshold` excitatory synapses and no inhibitory one    [units]
            are active
    ...     as many as `layers` has rows; in the paper each takes one synaptic delay

By default a single unit, AND. `config={"layers": XOR}` is the net for "one or the other, not both", and
`config={"layers": ((OR,),)}` the gate OR, and so on. Nothing is learned: the integers are the program.

Paper: McCulloch, Pitts: "A logical calculus of the ideas immanent in nervous activity", Bulletin of Mathematical
Biophysics 5, 1943, section 2 (the assumptions) and figure 1 (b: OR, c: AND, d: AND NOT).

Deviations: all synaptic delays of a layer pass at once, as a feed-forward net has no time. NOT has threshold 0, a
unit that fires by itself; the paper's neurons do not, there it needs a second, always active neuron.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import Activation

from kapps.errors import RecipeError
from kapps.layers.threshold_logic import ThresholdLogic


@dataclass(frozen=True)
class Gate:
    """One unit.

    Attributes:
        synapses: one integer an input: n excitatory synapses, 0 for none, -1 for an inhibitory one.
        threshold: how many active excitatory synapses make it fire.
    """

    synapses: tuple[int, ...]
    threshold: int


# The paper draws every neuron with threshold 2 and as many end feet as it takes.
AND = Gate((1, 1), 2)
OR = Gate((2, 2), 2)
AND_NOT = Gate((2, -1), 2)  # the first and not the second
NOT = Gate((-1,), 0)
XOR = ((AND_NOT, Gate((-1, 2), 2)), (OR,))  # (a and not b) or (b and not a)


@dataclass(frozen=True)
class McCullochPittsConfig:
    """The net.

    Attributes:
        layers: rows of units, from the input on; a unit has one number of synapses for each unit of the row before.
    """

    layers: tuple[tuple[Gate, ...], ...] = ((AND,),)


VARIANTS = {"mcculloch_pitts": McCullochPittsConfig()}


def build(config: McCullochPittsConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The rows of units from propositions [B, inputs], 0 or 1, on."""
    features = {}
    x = image
    for number, gates in enumerate(config.layers, start=1):
        name = f"layer{number}"
        x = ThresholdLogic([gate.synapses for gate in gates], [gate.threshold for gate in gates], name=name)(x)
        features[name] = x
    return features


def classify(
    config: McCullochPittsConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The last row of units is the answer, 0 or 1 each: there is nothing to activate or to normalise."""
    gates = config.layers[-1]
    if num_classes != len(gates):
        raise RecipeError(
            f"mcculloch_pitts: num_classes should be the {len(gates)} units of its last row, not {num_classes}"
        )
    return Activation("linear", name="predictions")(features[f"layer{len(config.layers)}"])

"""What fine-tuning needs beside an optimiser: which layers move, how fast, and how far from where they came.

trunk, model = ...                                    # a backbone of the catalogue and a classifier on top of it
groups = groups_of(model, trunk)                      # from the input to the head: one group a named feature
unfreeze(model, groups, count=2)                      # the head and the last stage move, the rest does not
optimizer = layerwise(AdamW(3e-3), rates_of(groups))  # the head fastest, the stem slowest
hold(model, groups, pull=0.01)                        # pulled back to the weights as they are now
"""

from __future__ import annotations

import re
from typing import Any

import keras

from kapps.errors import RecipeError

Groups = tuple[tuple[str, ...], ...]


def groups_of(model: keras.Model, trunk: keras.Model) -> Groups:
    """The names of the model's layers that have weights, in groups from the input to the output.

    Args:
        model: a functional model that contains the layers of `trunk`.
        trunk: gives `{feature name: tensor}` in reading order, as `kapps.create_backbone` makes it.

    Returns:
        A group for each feature: the layers that it needs and the earlier features do not; last the head: all others.
        Groups without weights are left out.
    """
    seen: set[str] = set()
    groups = []
    for tensor in trunk.output.values():
        layers = [layer.name for layer in keras.Model(trunk.input, tensor).layers if layer.weights]
        groups.append(tuple(name for name in layers if name not in seen))
        seen.update(layers)
    groups.append(tuple(layer.name for layer in model.layers if layer.weights and layer.name not in seen))
    return tuple(group for group in groups if group)


def unfreeze(model: keras.Model, groups: Groups, count: int, *, batch_norm: bool = False) -> None:
    """Let the last `count` groups move and no others; compile the model afterwards.

    Gradual unfreezing (Howard and Ruder 2018, section 3.3) is a call for each phase with one more group.

    Args:
        count: 1 is the head alone, `len(groups)` everything.
        batch_norm: whether batch normalisations that move also normalise by the batch. Otherwise they keep the means
            and variances that the weights came with (Keras' inference mode) and all of their own weights: the few
            images of a small set give worse ones.

    Raises:
        RecipeError: another count.
    """
    if not 1 <= count <= len(groups):
        raise RecipeError(f"expected 1 to {len(groups)} groups to move, got {count}")
    moving = {name for group in groups[-count:] for name in group}
    for layer in model.layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name in moving and (batch_norm or not normalises)


def rates_of(groups: Groups, decay: float = 1 / 2.6) -> dict[str, float]:
    """Factors for `kapps.optimizers.layerwise`: 1 for the head and `decay` times less for each group before it.

    Howard and Ruder 2018, section 3.2, found 1 / 2.6 from layer to layer of a language model.
    """
    last = len(groups) - 1
    return {
        f"({'|'.join(map(re.escape, group))})/.*": decay ** (last - index)
        for index, group in enumerate(groups)
        if index < last
    }


def hold(model: keras.Model, groups: Groups, *, pull: float = 0.01, decay: float = 0.01) -> None:
    """L2-SP: fine-tuned weights are pulled towards where they start, those of the head towards zero.

    X. Li, Y. Grandvalet, F. Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", 2018,
    arXiv:1802.01483, equation 2: pull / 2 |w - w_start|^2 + decay / 2 |w_head|^2 is added to the loss.

    Args:
        groups: as of `groups_of`; the last is the head.
        pull, decay: the paper's alpha and beta; it found 0.1 to 0.001 and 0.01 good.

    Raises:
        RecipeError: a negative number.
    """
    if pull < 0 or decay < 0:
        raise RecipeError(f"expected pull and decay of at least 0, got {pull} and {decay}")
    head = set(groups[-1])
    for layer in model.layers:
        for variable in layer.weights:
            if not layer.trainable or not variable.trainable or (layer.name in head and not _is_kernel(variable)):
                variable.regularizer = None
            elif layer.name in head:
                variable.regularizer = keras.regularizers.L2(decay / 2)
            else:
                variable.regularizer = _Towards(keras.ops.convert_to_numpy(variable), pull)


def let_go(model: keras.Model) -> None:
    """Take out what `hold` put in."""
    for variable in model.weights:
        if isinstance(variable.regularizer, _Towards | keras.regularizers.L2):
            variable.regularizer = None


class _Towards(keras.regularizers.Regularizer):
    def __init__(self, start: Any, pull: float):
        self.start, self.pull = keras.ops.convert_to_tensor(start), pull

    def __call__(self, weights: Any) -> Any:
        return 0.5 * self.pull * keras.ops.sum(keras.ops.square(weights - self.start))


def _is_kernel(variable: keras.Variable) -> bool:
    return len(variable.shape) > 1

"""How near to the exact sparse codes do a few steps come, if the steps are learned?

    kapps train lista_steps --seeds 5

Data: whitened 8x8 patches of photographs, built in; 256 atoms learned from 20,000 of them, lambda is 1. ISTA and FISTA
take 1, 2, 3 and 7 steps; LISTA has as many layers and learns from 20,000 patches and their codes, ten epochs. The error
is |z - z*|^2 over |z*|^2, summed over 2,000 other patches, z* from FISTA to a duality gap of 1e-4 of the objective.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.lista import LISTA
from kapps.architectures.unsupervised.sparse_coding import ALGORITHMS, SparseCoding, SparseCodingConfig
from kapps.data.patches import natural_patches
from kapps.errors import UnknownNameError
from kapps.tasks.experiments import Experiment

SIZES = (1, 2, 3, 7)
CASES = ("ISTA", "FISTA", "LISTA")


def run(
    case: str,
    seed: int,
    *,
    size: int,
    data_dir: Path | None,
    folder: Path,
    report: Callable[[str], None],
    atoms: int = 256,
    taught: int = 20_000,
    epochs: int = 10,
) -> dict[str, Any]:
    """Code other patches in a few steps; `value` is the error of the codes.

    Args:
        case: one of `CASES`.
        size: steps; the first one of LISTA is its W.
        atoms: in the dictionary.
        taught: patches that the dictionary and LISTA learn from.
        epochs: of LISTA.
    """
    coder = dictionary(seed, atoms, taught)
    keras.utils.set_random_seed(seed)  # whether it had to be learned now or not
    others = natural_patches(8, min(2_000, taught), seed=1000 + seed)
    exact = coder.transform(others)
    if case == "LISTA":
        learner = LISTA.of(coder, steps=size - 1)
        x = natural_patches(8, taught, seed=seed)
        falling = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-taught // 100))
        learner.compile(keras.optimizers.Adam(falling))
        history = learner.fit(x, batch_size=100, epochs=epochs, verbose=0).history
        report(" ".join(f"{error:.4f}" for error in history["relative_error"]))
        codes = learner.transform(others)
    elif case in CASES:
        rows, known = tf.constant(others.reshape(len(others), -1)), tf.convert_to_tensor(coder.atoms)
        method = ALGORITHMS[case.lower()]
        codes = method(rows, known, coder.config.penalty, tolerance=0, iterations=size).numpy()
    else:
        raise UnknownNameError("case", case, CASES)
    above = coder.objective(others, codes).mean() / coder.objective(others, exact).mean()
    return {
        "value": float(np.square(codes - exact).sum() / np.square(exact).sum()),
        "parts": {"objective over its minimum": float(above)},
    }


@cache
def dictionary(seed: int, atoms: int, taught: int) -> SparseCoding:
    """A dictionary that has learned from `taught` patches, five epochs; it gives nearly exact codes."""
    keras.utils.set_random_seed(seed)
    coder = SparseCoding((8, 8, 1), SparseCodingConfig(atoms=atoms, tolerance=1e-4, iterations=5_000, seed=seed))
    coder.fit(natural_patches(8, taught, seed=seed), batch_size=256, epochs=5, verbose=0)
    return coder


EXPERIMENT = Experiment(
    title="Sparse codes in a few steps (LISTA)",
    question="How near to the exact codes do as many steps come when they are learned?",
    claim="Learned steps come much nearer than as many of ISTA or FISTA.",
    finding="Holds for few steps: one learned step is nearer than three of ISTA or FISTA. With seven FISTA has caught"
    " up.",
    metric="relative squared error of the codes",
    cases=CASES,
    run=run,
    data="natural patches, 8x8, whitened",
    sizes=SIZES,
    size_name="steps",
)
